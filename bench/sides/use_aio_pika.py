"""aio-pika, as fast as it gets: one connection, one Message for all, `connect` instead of `connect_robust`.

post          many coroutines publish, each awaits its confirm: the form that was fastest
publish-one   one at a time
consume       a callback that acks
answer, call  a responder, and a caller that sends one request at a time and gets the answer by direct reply-to
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.sides import window as w
from bench.sides.window import Window


def url(o: argparse.Namespace) -> str:
    return f"amqp://guest:guest@127.0.0.1:{o.port}/"


def message(o: argparse.Namespace) -> aio_pika.Message:
    mode = aio_pika.DeliveryMode.NOT_PERSISTENT if o.transient else aio_pika.DeliveryMode.PERSISTENT
    return aio_pika.Message(b"x" * o.size, delivery_mode=mode)


async def _publish(o: argparse.Namespace, publishers: int) -> None:
    connection = await aio_pika.connect(url(o))
    channel = await connection.channel()
    await channel.declare_queue(o.queue, durable=True)
    exchange = channel.default_exchange
    content = message(o)
    window = Window(o.warmup, o.seconds)

    async def publish() -> None:
        while True:
            await exchange.publish(content, o.queue)
            if not window.step() or window.closed:
                return

    await asyncio.gather(*[publish() for _ in range(publishers)])
    w.say(window.figures())
    await connection.close()


def post(o: argparse.Namespace) -> None:
    w.run(lambda: _publish(o, o.window), o.loop)


def publish_one(o: argparse.Namespace) -> None:
    w.run(lambda: _publish(o, 1), o.loop)


async def _consume(o: argparse.Namespace) -> None:
    connection = await aio_pika.connect(url(o))
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=o.window)
    queue = await channel.declare_queue(o.queue, durable=True)
    ended = asyncio.Event()
    window = Window(o.warmup, o.seconds, o.expected)

    async def handle(incoming: AbstractIncomingMessage) -> None:
        await incoming.ack()
        if not window.closed and not window.step():
            ended.set()

    await queue.consume(handle)
    await ended.wait()
    w.say(window.figures())
    await connection.close()


def consume(o: argparse.Namespace) -> None:
    w.run(lambda: _consume(o), o.loop)


async def _answer(o: argparse.Namespace) -> None:
    connection = await aio_pika.connect(url(o))
    channel = await connection.channel(publisher_confirms=False)
    queue = await channel.declare_queue(o.queue, durable=True)
    exchange = channel.default_exchange

    async def handle(incoming: AbstractIncomingMessage) -> None:
        answer = aio_pika.Message(incoming.body, correlation_id=incoming.correlation_id)
        await exchange.publish(answer, incoming.reply_to or "")
        await incoming.ack()

    await queue.consume(handle)
    w.said("ready")
    await asyncio.Event().wait()


def answer(o: argparse.Namespace) -> None:
    w.run(lambda: _answer(o), o.loop)


async def _call(o: argparse.Namespace) -> None:
    connection = await aio_pika.connect(url(o))
    channel = await connection.channel(publisher_confirms=False)
    exchange = channel.default_exchange
    waiting: dict[str, asyncio.Future[bytes]] = {}

    async def answered(incoming: AbstractIncomingMessage) -> None:
        waiting.pop(incoming.correlation_id or "").set_result(incoming.body)

    replies: Any = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await replies.consume(answered, no_ack=True)
    loop = asyncio.get_running_loop()
    window = Window(o.warmup, o.seconds)
    took: list[float] = []
    going = True
    number = 0
    while going:
        number += 1
        began = time.perf_counter()
        waiting[str(number)] = future = loop.create_future()
        request = aio_pika.Message(
            b"x" * o.size, correlation_id=str(number), reply_to="amq.rabbitmq.reply-to"
        )
        await exchange.publish(request, o.queue)
        await future
        took.append(time.perf_counter() - began)
        going = window.step()
    took = sorted(took[window.first :])
    w.say(
        window.figures() | {"p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[len(took) * 99 // 100] * 1e3}
    )
    await connection.close()


def call(o: argparse.Namespace) -> None:
    w.run(lambda: _call(o), o.loop)


if __name__ == "__main__":
    w.choose({"post": post, "publish-one": publish_one, "consume": consume, "answer": answer, "call": call})
