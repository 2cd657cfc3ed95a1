"""A Celery application with one task that does nothing, and a program that posts it as fast as Celery can.

CELERY_PORT, CELERY_QUEUE and CELERY_LATE (1: tasks are acked when they are done) configure it. What costs time and is
not asked for is off: results, events, rate limits.
"""

from __future__ import annotations

import argparse
import os

from celery import Celery
from kombu import Queue

from bench.sides import window as w
from bench.sides.window import Window

QUEUE = os.environ.get("CELERY_QUEUE", "celery")

app = Celery("bench", broker=f"amqp://guest:guest@127.0.0.1:{os.environ.get('CELERY_PORT', '5672')}//")
app.conf.update(
    task_queues=[Queue(QUEUE, durable=True)],
    task_default_queue=QUEUE,
    task_acks_late=os.environ.get("CELERY_LATE", "0") == "1",
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop(body: str) -> None:
    pass


def post(o: argparse.Namespace) -> None:
    window = Window(0.0, o.seconds)
    body = "x" * o.size
    with app.producer_or_acquire() as producer:
        while window.step():
            noop.apply_async((body,), producer=producer)
    w.say({"messages": window.done})


if __name__ == "__main__":
    w.choose({"post": post})
