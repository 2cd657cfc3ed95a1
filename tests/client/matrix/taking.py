"""The operations of the matrix: consuming, pulling, asking for answers, subscribing, and leaving."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any, Final

import leveret
from leveret.errors import CallTimeout, NotConfirmed, Stale, Unroutable

from ...compat.waiting import eventually_async
from .harness import Case
from .operations import WHENS, Steps, answered, at, operation, sent

# consuming


Settle = Callable[[leveret.Message], bool]  # whether it is settled for good


def acked(message: leveret.Message) -> bool:
    message.ack()
    return True


class Taker:
    """Consumes a queue and settles as it is told to. `done` are the bodies that are settled for good."""

    def __init__(self, case: Case, queue: Any, settle: Settle, **options: Any) -> None:
        self.case = case
        self.done: list[bytes] = []
        self._task = asyncio.ensure_future(self._take(queue, settle, options))

    async def _take(self, queue: Any, settle: Settle, options: Any) -> None:
        messages = self.case.client.consume(queue, **{"prefetch": 3, **options})
        await self.case.insist(messages.start)
        try:
            async for message in messages:
                with contextlib.suppress(Stale):
                    if settle(message):
                        self.done.append(message.body)
        finally:
            await messages.close()

    async def settled(self, bodies: set[bytes]) -> None:
        await self.until(lambda: bodies <= set(self.done), f"all of {sorted(bodies)} are settled")

    async def until(self, there: Callable[[], bool], what: str) -> None:
        def ask() -> bool:
            if self._task.done():
                self._task.result()
                raise AssertionError("the consumer ended by itself")
            return there()

        await eventually_async(ask, f"{what}; those that are: {self.done}", self.case.patience_s)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


BODIES: Final = [b"%d" % number for number in range(10)]


async def _consume(case: Case, settle: Settle, **arguments: Any) -> Steps:
    queue = case.queue(**arguments)
    case.side.publish(queue, *BODIES)
    yield
    taker = Taker(case, queue, settle)
    await taker.settled(set(BODIES))
    yield
    await taker.until(lambda: case.side.count(queue) == 0, "the queue is empty")
    case.side.publish(queue, b"later")
    await taker.settled({b"later"})
    await taker.stop()
    assert case.side.take_all(queue) == [], "all was acked"


@operation(
    sent("channel.open"),
    sent("basic.qos"),
    sent("basic.consume"),
    answered("basic.consume_ok"),
    answered("basic.deliver", 2),
    at("server", "body", 2, ("middle", "after")),
)
async def consume(case: Case) -> Steps:
    async for _ in _consume(case, acked):
        yield


@operation(sent("basic.ack"))
async def ack(case: Case) -> Steps:
    async for _ in _consume(case, acked):
        yield


@operation(sent("basic.nack"))
async def release(case: Case) -> Steps:
    def settle(message: leveret.Message) -> bool:
        if message.redelivered:
            return acked(message)
        message.release()
        return False

    async for _ in _consume(case, settle):
        yield


@operation(answered("basic.deliver"), at("server", "body", 2, WHENS))
async def consume_large(case: Case) -> Steps:
    queue = case.queue()
    body = os.urandom(400_000)
    case.side.publish(queue, body)
    yield
    taker = Taker(case, queue, acked)
    await taker.settled({body})
    yield
    assert set(taker.done) == {body}
    await taker.stop()
    assert case.side.take_all(queue) == []


@operation(
    sent("basic.qos", 2),
    sent("basic.consume", 2),
    answered("basic.consume_ok", 2),
    sent("basic.cancel"),
    answered("basic.cancel_ok"),
)
async def consume_more_ahead(case: Case) -> Steps:
    """Who holds all that was prefetched and waits for more gets a larger prefetch: by another consumer on the channel."""
    queue = case.queue()
    bodies = {b"%d" % number for number in range(30)}
    case.side.publish(queue, *bodies)
    yield
    held: dict[bytes, leveret.Message] = {}
    done: set[bytes] = set()

    def settle(message: leveret.Message) -> bool:
        held[message.body] = message
        if held.keys() | done == bodies:
            for body, one in held.items():
                with contextlib.suppress(Stale):
                    one.ack()
                    done.add(body)
            held.clear()
        return False

    taker = Taker(case, queue, settle, prefetch="auto")
    await taker.until(lambda: done == bodies, "all were there at once, and are acked")
    yield
    await taker.stop()
    again = {body for _, body in case.side.take_all(queue)}
    assert again <= done, "what is left was acked on a channel that went before its acks did"


@operation(
    sent("basic.cancel"), answered("basic.cancel_ok"), sent("channel.close"), answered("channel.close_ok")
)
async def stop_consuming(case: Case) -> Steps:
    """What was handed out can still be settled where its connection is there; all else is back in the queue."""
    queue = case.queue()
    case.side.publish(queue, *BODIES)
    consumer = case.client.consume(queue, prefetch=5)
    taken = [await anext(aiter(consumer)) for _ in range(2)]
    yield
    await case.insist(consumer.close)
    acked_ = 0
    for message in taken:
        with contextlib.suppress(Stale):
            message.ack()
            acked_ += 1
    yield
    await eventually_async(lambda: case.side.consumers(queue) == 0, "nobody consumes")
    await eventually_async(
        lambda: (case.side.count(queue) or 0) in range(len(BODIES) - acked_, len(BODIES) + 1), "all is back"
    )


async def _move(case: Case, settle: Settle, attempts: int) -> Steps:
    """Messages are published again, and acked when that is confirmed."""
    queue = case.queue()
    dead = case.queue("dead")
    spec = leveret.Queue(queue, dead_letter=dead)
    case.side.publish(queue, *BODIES)
    yield
    taker = Taker(case, spec, settle, declare=False)
    expected, buried = set(BODIES), set[bytes]()

    def all_are_buried() -> bool:
        buried.update(body for _, body in case.side.take_all(dead))
        return buried == expected

    if attempts > 1:
        await taker.settled(expected)
    else:
        await taker.until(all_are_buried, "all are among the dead letters")
    yield
    await taker.until(lambda: case.side.count(queue) == 0, "the queue is empty")
    await taker.stop()  # a copy of what was delivered twice may not be confirmed yet
    assert {body for _, body in case.side.take_all(queue)} <= expected
    assert attempts == 1 or case.side.take_all(dead) == []


@operation(sent("basic.publish", 3), answered("basic.ack"), sent("basic.ack"))
async def reject(case: Case) -> Steps:
    def settle(message: leveret.Message) -> bool:
        message.reject("will never do")
        return False

    async for _ in _move(case, settle, 1):
        yield


@operation(sent("basic.publish", 3), answered("basic.ack"), sent("basic.ack"))
async def retry(case: Case) -> Steps:
    def settle(message: leveret.Message) -> bool:
        if message.attempts > 1:
            return acked(message)
        message.retry(delay_s=0.05)
        return False

    async for _ in _move(case, settle, 2):
        yield


@operation(
    sent("basic.get", 3),
    answered("basic.get_ok", 3),
    at("server", "body", 3, ("middle", "after")),
    answered("basic.get_empty"),
    sent("basic.ack"),
)
async def drain(case: Case) -> Steps:
    queue = case.queue()
    case.side.publish(queue, *BODIES)
    yield
    done: set[bytes] = set()

    async def drain_all() -> None:
        async for message in case.client.drain(queue):
            with contextlib.suppress(Stale):
                message.ack()
                done.add(message.body)

    async def drain_until_all_are_done() -> None:
        while done != set(BODIES):
            await drain_all()

    await case.insist(drain_until_all_are_done)
    yield
    await drain_all()
    assert case.side.take_all(queue) == []


@operation(sent("basic.get"), answered("basic.get_ok"), at("server", "body", 1, ("middle", "after")))
async def get(case: Case) -> Steps:
    queue = case.queue()
    case.side.publish(queue, b"one")
    yield

    async def take() -> bool:
        message = await case.client.get(queue)
        if message is None:  # on its way back from a connection that the broker still thinks to be there
            return False
        assert message.body == b"one"
        with contextlib.suppress(Stale):
            message.ack()
            return True
        return False

    while not await case.insist(take):
        await asyncio.sleep(0)
    yield


@operation(sent("basic.get"), answered("basic.get_empty"))
async def get_nothing(case: Case) -> Steps:
    queue = case.queue()
    yield
    assert await case.insist(lambda: case.client.get(queue)) is None
    yield


# asking


@operation(
    sent("basic.publish", 1),
    sent("body", 1),
    answered("basic.ack", 1),
    at("server", "basic.deliver", 1),
    sent("basic.publish", 2),
    at("server", "basic.deliver", 2),
)
async def call(case: Case) -> Steps:
    queue = case.queue()
    ready = asyncio.Event()

    async def answer() -> None:
        async with case.client.consume(queue) as messages:
            ready.set()
            async for message in messages:
                with contextlib.suppress(Stale):
                    await message.reply(message.body.upper())
                    message.ack()

    answering = asyncio.ensure_future(answer())
    await ready.wait()
    await eventually_async(lambda: case.side.consumers(queue) == 1, "somebody answers")
    yield
    reply = await case.insist(
        lambda: case.client.call(queue, b"question", timeout_s=2), CallTimeout, Unroutable
    )
    assert reply.body == b"QUESTION"
    yield
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering


@operation(
    sent("basic.publish"),
    answered("basic.ack"),
    answered("basic.deliver"),
    sent("basic.publish", 2),
    answered("basic.deliver", 2),
    sent("basic.ack"),
)
async def request(case: Case) -> Steps:
    """By a durable reply queue: the answer comes at least once, however often the work is done."""
    queue, replies = case.queue(), case.queue("replies")

    def settle(message: leveret.Message) -> bool:
        message.reply(message.body.upper())
        return acked(message)

    taker = Taker(case, queue, settle)
    answers: list[bytes] = []
    await case.client.on_reply(replies, lambda message: answers.append(message.body))
    await eventually_async(lambda: case.side.consumers(queue) == 1, "somebody answers")
    yield
    while not answers:  # again, where the answer was reported not to be taken
        refused = len([outcome for outcome in case.outcomes if not outcome.ok])
        await case.insist(
            lambda: case.client.request(
                queue, b"question", reply_queue=replies, on_reply=lambda message: answers.append(message.body)
            ),
            NotConfirmed,
        )
        await taker.until(
            lambda: bool(answers) or len([one for one in case.outcomes if not one.ok]) > refused,  # noqa: B023
            "the answer has come, or was reported not to be taken",
        )
    yield
    assert set(answers) == {b"QUESTION"}
    await taker.stop()
    await eventually_async(lambda: case.side.count(replies) == 0, "the answers are taken")


# topics


async def _subscribe(case: Case, name: str | None) -> Steps:
    key = case.name("key")
    yield
    seen: set[bytes] = set()

    async def take() -> None:
        messages = case.client.subscribe(key + ".*", name=name)
        await case.insist(messages.start)
        try:
            async for message in messages:
                seen.add(message.body)
                with contextlib.suppress(Stale):
                    message.ack()
        finally:
            await messages.close()

    task = asyncio.ensure_future(take())

    def probe(body: bytes) -> bool:
        assert not task.done(), task
        return body in seen or (case.side.publish(key + ".x", body, exchange="amq.topic") and body in seen)

    await eventually_async(
        lambda: probe(b"first"), "the subscription gets what is published", case.patience_s
    )
    yield
    await eventually_async(
        lambda: probe(b"second"), "the subscription still gets what is published", case.patience_s
    )
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


SUBSCRIBING: Final = [
    sent("queue.declare"),
    answered("queue.declare_ok"),
    sent("queue.bind"),
    answered("queue.bind_ok"),
    sent("basic.consume"),
    answered("basic.consume_ok"),
]


@operation(*SUBSCRIBING)
async def subscribe_durable(case: Case) -> Steps:
    async for _ in _subscribe(case, case.name("subscription")):
        yield


@operation(*SUBSCRIBING)
async def subscribe_ephemeral(case: Case) -> Steps:
    async for _ in _subscribe(case, None):
        yield


# leaving


@operation(sent("connection.close"), answered("connection.close_ok"), closes=True)
async def close(case: Case) -> Steps:
    queue = case.queue()
    await case.client.publish(queue, b"one")
    yield
    await case.client.close()
    yield
    assert [body for _, body in case.side.take_all(queue)] == [b"one"]
