"""A Dramatiq application with one actor that does nothing, and a program that posts to it as fast as Dramatiq can.

DRAMATIQ_PORT and DRAMATIQ_QUEUE configure it. Its middleware is what a worker needs to be one, no more.
"""

from __future__ import annotations

import argparse
import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries, ShutdownNotifications

from bench.sides import window as w
from bench.sides.window import Window

broker = RabbitmqBroker(
    url=f"amqp://guest:guest@127.0.0.1:{os.environ.get('DRAMATIQ_PORT', '5672')}/",
    middleware=[Retries(), ShutdownNotifications()],
)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=os.environ.get("DRAMATIQ_QUEUE", "dramatiq"))  # type: ignore[untyped-decorator]
def noop(body: str) -> None:
    pass


def post(o: argparse.Namespace) -> None:
    window = Window(0.0, o.seconds)
    body = "x" * o.size
    while window.step():
        noop.send(body)
    w.say({"messages": window.done})


if __name__ == "__main__":
    w.choose({"post": post})
