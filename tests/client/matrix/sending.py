"""The operations of the matrix: connecting, declaring and publishing."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

import leveret
from leveret.errors import NotConfirmed, Unroutable

from .harness import Case
from .operations import WINDOW, Steps, answered, at, operation, sent

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


@operation(sent("basic.publish"), answered("basic.return"), answered("basic.ack"))
async def publish_to_nobody(case: Case) -> Steps:
    queue = case.name("nowhere")
    yield

    async def ask() -> None:
        with pytest.raises(Unroutable, match=queue):
            await case.client.publish(queue, b"one")

    await case.insist(ask, NotConfirmed)
    case.client.post(queue, "two")
    await case.client.flush()
    assert [type(outcome.error) for outcome in case.outcomes] == [Unroutable]
    yield
    assert not case.side.exists(queue)
