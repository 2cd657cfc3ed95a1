"""leveret.client, as its documentation says to use it.

post          post() as fast as there is room, counted by what was confirmed
publish-one   await publish(), one at a time
consume       async for, ack
consume-sync  the same, with connect_sync
answer, call  a responder that replies, and a caller of one call at a time
fixture       what the fixture leveret_broker takes
spool-memory  the broker goes away, then so many messages are posted to a client with a spool
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import leveret
from bench.sides import window as w
from bench.sides.window import Window

FIXTURES = 30
AT_ONCE = 64  # posts between two looks at the clock


def url(o: argparse.Namespace) -> str:
    return f"amqp://guest:guest@127.0.0.1:{o.port}/"


async def _post(o: argparse.Namespace) -> None:
    body = b"x" * o.size
    async with leveret.connect(url(o)) as broker:
        await broker.declare_queue(leveret.Queue(o.queue))
        window = Window(o.warmup, o.seconds)
        going = True
        confirmed = broker.stats.confirmed
        while going:
            for _ in range(AT_ONCE):
                await broker.post(o.queue, body)  # persistent, unless one says otherwise
            now = broker.stats.confirmed
            going = window.step(now - confirmed) if now > confirmed else window.look()
            confirmed = now
        w.say(window.figures())
        await broker.flush()


def post(o: argparse.Namespace) -> None:
    w.run(lambda: _post(o), o.loop)


async def _publish_one(o: argparse.Namespace) -> None:
    body = b"x" * o.size
    async with leveret.connect(url(o)) as broker:
        await broker.declare_queue(leveret.Queue(o.queue))
        window = Window(o.warmup, o.seconds)
        while window.step():
            await broker.publish(o.queue, body, persistent=not o.transient)
        w.say(window.figures())


def publish_one(o: argparse.Namespace) -> None:
    w.run(lambda: _publish_one(o), o.loop)


async def _consume(o: argparse.Namespace) -> None:
    async with leveret.connect(url(o)) as broker:
        window = Window(o.warmup, o.seconds, o.expected)
        async for message in broker.consume(o.queue):
            message.ack()
            if not window.step():
                break
        w.say(window.figures())


def consume(o: argparse.Namespace) -> None:
    w.run(lambda: _consume(o), o.loop)


def consume_sync(o: argparse.Namespace) -> None:
    with leveret.connect_sync(url(o)) as broker:
        window = Window(o.warmup, o.seconds, o.expected)
        for message in broker.consume(o.queue):
            message.ack()
            if not window.step():
                break
        w.say(window.figures())


async def _answer(o: argparse.Namespace) -> None:
    async with leveret.connect(url(o)) as broker:
        await broker.declare_queue(leveret.Queue(o.queue))
        consumer = broker.consume(o.queue)
        w.said("ready")
        async for message in consumer:
            async with message:
                await message.reply(message.body)


def answer(o: argparse.Namespace) -> None:
    w.run(lambda: _answer(o), o.loop)


async def _call(o: argparse.Namespace) -> None:
    body = b"x" * o.size
    took: list[float] = []
    async with leveret.connect(url(o)) as broker:
        window = Window(o.warmup, o.seconds)
        going = True
        while going:
            began = time.perf_counter()
            await broker.call(o.queue, body)
            took.append(time.perf_counter() - began)
            going = window.step()
    took = sorted(took[window.first :])
    w.say(
        window.figures() | {"p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[len(took) * 99 // 100] * 1e3}
    )


def call(o: argparse.Namespace) -> None:
    w.run(lambda: _call(o), o.loop)


async def _spool_memory(o: argparse.Namespace) -> None:
    body = b"x" * o.size
    client = leveret.connect(url(o), spool=o.path)
    await client.open()
    await client.declare_queue(leveret.Queue(o.queue))
    await client.publish(o.queue, body)
    w.said("ready")
    while client.connected:
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    for _ in range(o.expected):
        await client.post(o.queue, body)
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    w.say({"messages": o.expected, "seconds": seconds, "peak_mb": peak_kb / 1024})


def fixture(o: argparse.Namespace) -> None:
    """As the plugin makes it: a thread for the session, a broker for each test."""
    from leveret.embed.thread import LoopThread
    from leveret.testing.broker import LeveretBroker

    thread = LoopThread()
    took: list[float] = []
    for _ in range(FIXTURES):
        began = time.perf_counter()
        broker = LeveretBroker(thread)
        assert broker.url
        broker.close()
        took.append((time.perf_counter() - began) * 1e3)
    thread.stop()
    w.say({"first_ms": took[0], "p50_ms": sorted(took)[len(took) // 2]})


def spool_memory(o: argparse.Namespace) -> None:
    w.run(lambda: _spool_memory(o), o.loop)


if __name__ == "__main__":
    w.choose(
        {
            "post": post,
            "publish-one": publish_one,
            "consume": consume,
            "consume-sync": consume_sync,
            "answer": answer,
            "call": call,
            "fixture": fixture,
            "spool-memory": spool_memory,
        }
    )
