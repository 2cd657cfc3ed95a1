"""pika, in the forms that are fastest.

post-blocking  BlockingConnection without confirms: nobody says whether the messages arrived
post-select    SelectConnection with confirms, so many on the way at a time
consume        BlockingConnection, a callback that acks
"""

from __future__ import annotations

import argparse
from typing import Any

import pika

from bench.sides import window as w
from bench.sides.window import Window


def parameters(o: argparse.Namespace) -> pika.ConnectionParameters:
    return pika.ConnectionParameters("127.0.0.1", o.port, heartbeat=0)


def properties(o: argparse.Namespace) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=1 if o.transient else 2)


def post_blocking(o: argparse.Namespace) -> None:
    connection = pika.BlockingConnection(parameters(o))
    channel = connection.channel()
    channel.queue_declare(o.queue, durable=True)
    content, body = properties(o), b"x" * o.size
    window = Window(o.warmup, o.seconds)
    while window.step():
        channel.basic_publish("", o.queue, body, content)
    w.say(window.figures())
    connection.close()


class Confirmed:
    """Publishes as long as not too many are unconfirmed."""

    def __init__(self, o: argparse.Namespace) -> None:
        self.o = o
        self.content, self.body = properties(o), b"x" * o.size
        self.window = Window(o.warmup, o.seconds)
        self.sent = self.confirmed = 0
        self.channel: Any = None
        self.connection = pika.SelectConnection(
            parameters(o),
            on_open_callback=self.opened,
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )

    def opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self.with_channel)

    def with_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.confirm_delivery(self.settled)
        channel.queue_declare(self.o.queue, durable=True, callback=lambda _: self.publish())

    def publish(self) -> None:
        while self.sent - self.confirmed < self.o.window:
            self.sent += 1
            self.channel.basic_publish("", self.o.queue, self.body, self.content)

    def settled(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        more = tag - self.confirmed
        self.confirmed = tag
        if self.window.closed:
            return
        if self.window.step(more):
            self.publish()
        else:
            self.connection.close()


def post_select(o: argparse.Namespace) -> None:
    publisher = Confirmed(o)
    publisher.connection.ioloop.start()
    w.say(publisher.window.figures())


def consume(o: argparse.Namespace) -> None:
    connection = pika.BlockingConnection(parameters(o))
    channel = connection.channel()
    channel.queue_declare(o.queue, durable=True)
    channel.basic_qos(prefetch_count=o.window)
    window = Window(o.warmup, o.seconds, o.expected)

    def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if not window.closed and not window.step():
            channel.stop_consuming()

    channel.basic_consume(o.queue, handle)
    channel.start_consuming()
    w.say(window.figures())
    connection.close()


if __name__ == "__main__":
    w.choose({"post-blocking": post_blocking, "post-select": post_select, "consume": consume})
