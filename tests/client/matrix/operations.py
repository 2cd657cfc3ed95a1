"""The operations of the matrix, and which frames they are made of.

An operation is a generator with two stops: it prepares, and stops for the fault to be planned; it does its work, which
must be done in spite of the fault, and stops until consuming was proven to have resumed; then it looks at what the
broker has. What it may be told on the way is an error that says so (`Case.insist`); it may not hang, nor lie.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final

import leveret
from leveret.errors import CallTimeout, NotConfirmed, Stale, Unroutable

from ...compat.waiting import eventually_async
from .harness import Case
from .link import Side as LinkSide
from .proxy import Point, When

Steps = AsyncGenerator[None, None]
WHENS: Final[tuple[When, ...]] = ("before", "middle", "after")
WINDOW: Final = 60  # messages in flight, where there are many


@dataclass(frozen=True)
class Operation:
    """`points` are the frames that faults come at. `standing`: the standing consumer is there before it begins."""

    name: str
    steps: Callable[[Case], Steps]
    points: tuple[Point, ...]
    standing: bool = True
    closes: bool = False  # the client is closed by it


OPERATIONS: Final[list[Operation]] = []
Make = Callable[[Case], Steps]


def at(side: LinkSide, name: str, nth: int = 1, whens: tuple[When, ...] = WHENS) -> list[Point]:
    return [Point(side, name, when, nth) for when in whens]


def sent(name: str, nth: int = 1) -> list[Point]:
    """Before the client's frame is sent, in its middle, and when the broker has it and has not answered."""
    return at("client", name, nth)


def answered(name: str, nth: int = 1) -> list[Point]:
    """Before the broker's answer comes, in its middle, and after it."""
    return at("server", name, nth)


def operation(*points: list[Point], **options: Any) -> Callable[[Make], Make]:
    def add(steps: Make) -> Make:
        every = tuple(point for some in points for point in some)
        OPERATIONS.append(Operation(steps.__name__, steps, every, **options))
        return steps

    return add


# connecting

HANDSHAKE: Final = [
    at("client", "greeting", whens=("before", "after")),
    answered("connection.start"),
    sent("connection.start_ok"),
    answered("connection.tune"),
    sent("connection.open"),
    answered("connection.open_ok"),
    sent("channel.open"),
    answered("channel.open_ok"),
]


@operation(*HANDSHAKE, standing=False)
async def connect(case: Case) -> Steps:
    yield
    await case.insist(case.client.open, leveret.errors.ConnectFailed)
    await case.standing.start()
    yield


@operation(
    *HANDSHAKE,
    sent("exchange.declare"),
    answered("exchange.declare_ok"),
    sent("queue.declare"),
    answered("queue.declare_ok"),
    sent("queue.bind"),
    answered("queue.bind_ok"),
    sent("basic.consume"),
    answered("basic.consume_ok"),
)
async def reconnect(case: Case) -> Steps:
    yield
    case.proxy.links[0].reset()
    yield


# declaring


@operation(sent("queue.declare"), answered("queue.declare_ok"))
async def declare_queue(case: Case) -> Steps:
    name = case.name("queue")
    yield
    info = await case.insist(lambda: case.client.declare_queue(leveret.Queue(name)))
    assert (info.name, info.messages) == (name, 0)
    yield
    assert case.side.publish(name, b"there")


@operation(sent("exchange.declare"), answered("exchange.declare_ok"))
async def declare_exchange(case: Case) -> Steps:
    name = case.name("exchange-of-its-own")
    yield
    await case.insist(lambda: case.client.declare_exchange(name, "topic"))
    yield
    case.side.channel.exchange_declare(name, "topic", passive=True)


@operation(sent("queue.bind"), answered("queue.bind_ok"))
async def bind(case: Case) -> Steps:
    queue = case.queue()
    yield
    await case.insist(lambda: case.client.bind(queue, "amq.topic", queue))
    yield
    assert case.side.publish(queue, b"through", exchange="amq.topic")


@operation(sent("queue.unbind"), answered("queue.unbind_ok"))
async def unbind(case: Case) -> Steps:
    queue = case.queue()
    await case.client.bind(queue, "amq.topic", queue)
    yield
    await case.insist(lambda: case.client.unbind(queue, "amq.topic", queue))
    yield
    assert not case.side.publish(queue, b"nowhere", exchange="amq.topic")


@operation(sent("queue.delete"), answered("queue.delete_ok"))
async def delete_queue(case: Case) -> Steps:
    name = case.name("queue")
    await case.client.declare_queue(leveret.Queue(name))
    yield
    await case.insist(lambda: case.client.delete_queue(name))
    yield
    assert not case.side.exists(name)


@operation(sent("exchange.delete"), answered("exchange.delete_ok"))
async def delete_exchange(case: Case) -> Steps:
    name = case.name("exchange-to-go")
    await case.client.declare_exchange(name, "fanout")
    yield
    await case.insist(lambda: case.client.delete_exchange(name))
    yield
    assert not case.side.publish("", b"nowhere", exchange=name)


@operation(sent("queue.purge"), answered("queue.purge_ok"))
async def purge(case: Case) -> Steps:
    queue = case.queue()
    case.side.publish(queue, b"1", b"2")
    yield
    await case.insist(lambda: case.client.purge(queue))
    yield
    assert case.side.count(queue) == 0


# publishing


def check_ledger(case: Case, queue: str, sent_: dict[str, bytes], reported: set[str]) -> None:
    """Each is in the broker at least once, or was reported not to be; copies are alike, and nothing else is there."""
    found: dict[str | None, bytes] = {}
    for message_id, body in case.side.take_all(queue):
        assert found.setdefault(message_id, body) == body, f"{message_id} came with two bodies"
    assert found.items() <= sent_.items(), "what is there was sent, under the id that it was sent with"
    assert set(sent_) - reported <= set(found), "what is not there was reported"


@operation(sent("basic.publish"), sent("body"), answered("basic.ack"))
async def publish(case: Case) -> Steps:
    queue = case.queue()
    yield
    await case.insist(lambda: case.client.publish(queue, b"one", message_id="one"), NotConfirmed)
    yield
    check_ledger(case, queue, {"one": b"one"}, set())


@operation(sent("body", 2))
async def publish_large(case: Case) -> Steps:
    queue = case.queue()
    body = bytes(300_000)
    yield
    await case.insist(lambda: case.client.publish(queue, body, message_id="large"))
    yield
    check_ledger(case, queue, {"large": body}, set())


@operation(sent("basic.publish", WINDOW // 2), sent("body", WINDOW), answered("basic.ack"))
async def post(case: Case) -> Steps:
    queue = case.queue()
    yield
    for number in range(WINDOW):
        case.client.post(queue, str(number))
    await case.client.flush()
    yield
    told = {outcome.message_id: bytes(str(outcome.body), "ascii") for outcome in case.outcomes}
    assert len(case.outcomes) == len(told) == WINDOW, "each message has one outcome, and an id of its own"
    reported = {outcome.message_id for outcome in case.outcomes if not outcome.ok}
    check_ledger(case, queue, told, reported)


@operation(sent("basic.publish", WINDOW // 2), answered("basic.ack"))
async def publish_many(case: Case) -> Steps:
    queue = case.queue()
    bodies = [b"%d" % number for number in range(WINDOW)]
    yield
    await case.insist(lambda: case.client.publish_many(queue, bodies), NotConfirmed)
    yield
    found = case.side.take_all(queue)
    assert {body for _, body in found} == set(bodies)
    assert len({message_id for message_id, _ in found}) == WINDOW or case.errors


@operation(sent("basic.publish"), answered("basic.ack"))
async def flush(case: Case) -> Steps:
    queue = case.queue()
    yield
    case.client.post(queue, b"one", message_id="one")
    await asyncio.gather(*[case.client.flush(timeout_s=case.patience_s) for _ in range(3)])
    assert [outcome.message_id for outcome in case.outcomes] == ["one"]
    yield
    check_ledger(
        case, queue, {"one": b"one"}, {outcome.message_id for outcome in case.outcomes if not outcome.ok}
    )


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
