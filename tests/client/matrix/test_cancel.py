"""Every wait of the client is cancelled, at every step that it has: nothing is lost, and the client goes on.

A step is a frame of the conversation (the task is cancelled when it passes the proxy), or a turn of the loop after the
call began. What is cancelled is a generator's first value; after it comes what must be true then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final

import pytest

import leveret
from leveret.errors import Closed

from ...compat.broker import Address
from ...compat.waiting import eventually_async
from .brokers import Side
from .harness import Case, deadline, nothing_left, run
from .link import Heard, Link
from .proxy import Point, Proxy

TURNS: Final = 6  # of the loop; no call has more before it waits for the broker
Wait = Callable[[], Coroutine[Any, Any, object]]
Steps = AsyncGenerator[Wait, None]
WAITS: Final[dict[str, tuple[Callable[[Case], Steps], list[Point | int]]]] = {}


def frames(*names: str) -> list[Point | int]:
    """Steps: the frames of a call (those of the broker's answers end in _ok, or are named 'server basic.ack')."""
    found: list[Point | int] = list(range(TURNS))
    for name in names:
        side, _, method = name.rpartition(" ")
        for when in ("before", "after"):
            answer = method.endswith(("_ok", "_empty"))
            found.append(
                Point("server" if side == "server" or (answer and not side) else "client", method, when)
            )
    return found


def wait(*names: str) -> Callable[[Callable[[Case], Steps]], Callable[[Case], Steps]]:
    def add(steps: Callable[[Case], Steps]) -> Callable[[Case], Steps]:
        WAITS[steps.__name__] = (steps, frames(*names))
        return steps

    return add


@wait("queue.declare", "queue.declare_ok")
async def declare(case: Case) -> Steps:
    yield lambda: case.client.declare_queue(leveret.Queue(case.name("first")))
    second = case.name("second")
    assert (await case.client.declare_queue(leveret.Queue(second))).name == second


@wait("queue.bind", "queue.bind_ok")
async def bind(case: Case) -> Steps:
    queue = case.queue()
    yield lambda: case.client.bind(queue, "amq.topic", queue)
    await case.client.bind(queue, "amq.topic", queue)
    assert case.side.publish(queue, b"1", exchange="amq.topic")


@wait("basic.publish", "server basic.ack")
async def publish(case: Case) -> Steps:
    queue = case.queue()
    yield lambda: case.client.publish(queue, b"one")
    await case.client.publish(queue, b"two")
    bodies = [body for _, body in case.side.take_all(queue)]
    assert bodies in ([b"one", b"two"], [b"two"])


@wait("basic.publish", "server basic.ack")
async def publish_many(case: Case) -> Steps:
    queue = case.queue()
    bodies = [b"%d" % number for number in range(20)]
    yield lambda: case.client.publish_many(queue, bodies)
    await case.client.publish(queue, b"later")
    await case.client.flush()
    found = [body for _, body in case.side.take_all(queue)]
    assert found.count(b"later") == 1
    assert len(found) == len(set(found))


@wait("basic.publish", "server basic.ack")
async def flush(case: Case) -> Steps:
    queue = case.queue()

    async def post_and_flush() -> None:
        case.client.post(queue, b"one")
        await case.client.flush()

    yield post_and_flush
    await case.client.flush()
    assert len(case.outcomes) == (case.side.count(queue) or 0) <= 1


@wait("basic.get", "basic.get_ok", "server body")
async def get(case: Case) -> Steps:
    queue = case.queue()
    case.side.publish(queue, b"one")
    yield lambda: case.client.get(queue)
    await _find(case, queue, [b"one"])


@wait("basic.get", "basic.get_empty")
async def get_in_time(case: Case) -> Steps:
    queue = case.queue()
    yield lambda: case.client.get(queue, timeout_s=5)
    case.side.publish(queue, b"one")
    await _find(case, queue, [b"one"])


async def _find(case: Case, queue: str, bodies: list[bytes]) -> None:
    """All of them, however often: what was taken by the cancelled call has come back."""
    found: set[bytes] = set()
    while found != set(bodies):
        message = await case.client.get(queue, timeout_s=0.1)
        if message is not None:
            found.add(message.body)
            message.ack()


BODIES: Final = [b"%d" % number for number in range(6)]


@wait("server basic.deliver", "server body")
async def next_message(case: Case) -> Steps:
    queue = case.queue()
    async with case.client.consume(queue, prefetch=2) as messages:
        stream = aiter(messages)
        case.side.publish(queue, b"0")
        seen: list[leveret.Message] = []

        async def take() -> None:
            seen.append(await anext(stream))

        yield take
        case.side.publish(queue, *BODIES[1:])
        while len(seen) < len(BODIES):
            await take()
            seen[-1].ack()
        assert [message.body for message in seen] == BODIES
        if not seen[0].settled:
            seen[0].ack()


@wait("basic.get", "basic.get_ok")
async def drain(case: Case) -> Steps:
    queue = case.queue()
    case.side.publish(queue, *BODIES)

    seen: set[bytes] = set()

    async def drain_all() -> None:
        async for message in case.client.drain(queue):
            seen.add(message.body)
            message.ack()

    yield drain_all
    while seen != set(BODIES):  # what was taken for the cancelled loop is on its way back
        await drain_all()


@wait("basic.consume", "basic.consume_ok")
async def consume(case: Case) -> Steps:
    queue = case.queue()

    async def begin() -> None:
        async with case.client.consume(queue):
            await asyncio.Event().wait()

    yield begin
    await eventually_async(lambda: case.side.consumers(queue) == 0, "nobody consumes")
    case.side.publish(queue, b"one")
    async with case.client.consume(queue) as messages:
        (await anext(aiter(messages))).ack()


@wait("queue.declare", "queue.bind_ok", "basic.consume_ok")
async def subscribe(case: Case) -> Steps:
    key, name = case.name("key"), case.name("name")

    async def begin() -> None:
        async with case.client.subscribe(key, name=name):
            await asyncio.Event().wait()

    yield begin
    await eventually_async(lambda: case.side.consumers(name) <= 0, "nobody consumes")
    async with case.client.subscribe(key, name=name) as messages:
        assert case.side.publish(key, b"one", exchange="amq.topic")
        (await anext(aiter(messages))).ack()


@wait("basic.publish", "server basic.ack", "server basic.deliver")
async def call(case: Case) -> Steps:
    queue = case.queue()
    ready = asyncio.Event()

    async def answer() -> None:
        async with case.client.consume(queue) as messages:
            ready.set()
            async for message in messages:
                async with message:
                    await message.reply(message.body.upper())

    answering = asyncio.ensure_future(answer())
    await ready.wait()
    yield lambda: case.client.call(queue, b"one", timeout_s=5)
    assert (await case.client.call(queue, b"two", timeout_s=5)).body == b"TWO"
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering


async def _cancel_at(case: Case, step: Point | int, wait_: Wait) -> None:
    """Cancels it there, or sees it end before."""
    task = asyncio.ensure_future(wait_())
    if isinstance(step, Point):

        def cancel(link: Link, frame: Heard) -> None:
            task.cancel()

        case.proxy.at(step, cancel)
    else:
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _play(address: Address, side: Side, steps: Callable[[Case], Steps], step: Point | int) -> None:
    async with Proxy(address) as proxy:
        case = Case(proxy, side, {})
        try:
            async with deadline(case), case.client:
                await case.standing.start()
                async with contextlib.aclosing(steps(case)) as going:
                    await _cancel_at(case, step, await anext(going))
                    assert await anext(going, None) is None
                await case.standing.resumed()
                await case.standing.stop()
                assert case.client.stats.reconnects == 0
        finally:
            case.clean()


@pytest.mark.parametrize(
    ("name", "step"), [(name, step) for name, (_, steps) in WAITS.items() for step in steps], ids=str
)
def test_cancelled(address: Address, side: Side, name: str, step: Point | int) -> None:
    async def main() -> None:
        async with nothing_left():
            await _play(address, side, WAITS[name][0], step)

    run(main())


OPENING: Final = frames(
    "greeting",
    "server connection.start",
    "client connection.start_ok",
    "server connection.tune",
    "connection.open",
    "connection.open_ok",
    "channel.open_ok",
)


@pytest.mark.parametrize("step", OPENING, ids=str)
def test_opening_is_cancelled(address: Address, side: Side, step: Point | int) -> None:
    async def main() -> None:
        async with nothing_left(), Proxy(address) as proxy:
            case = Case(proxy, side, {})
            async with deadline(case):
                await _cancel_at(case, step, case.client.open)
                async with case.client:
                    queue = case.queue()
                    await case.client.publish(queue, b"one")
                    assert case.side.count(queue) == 1
            case.clean()

    run(main())


@pytest.mark.parametrize("step", frames("connection.close", "connection.close_ok"), ids=str)
def test_closing_is_cancelled(address: Address, side: Side, step: Point | int) -> None:
    async def main() -> None:
        async with nothing_left(), Proxy(address) as proxy:
            case = Case(proxy, side, {})
            async with deadline(case):
                await case.client.open()
                await _cancel_at(case, step, case.client.close)
                await case.client.close()
                with pytest.raises(Closed):
                    await case.client.publish("anywhere", b"1")
                await asyncio.gather(*[link.ends["client"].left.wait() for link in proxy.links])

    run(main())
