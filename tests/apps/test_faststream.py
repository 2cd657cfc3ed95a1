"""FastStream's RabbitMQ broker: subscribers, publishers, requests by direct reply-to, dead letters, delivery limits,
exclusive queues, single active consumers, priorities, TTL, full queues and the exchange types that it names.

Its source distribution has no tests, so these are ours. Subscribers run in this process, each test in a loop of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.compat.broker import Address

from .looking import take, waiting

faststream = pytest.importorskip("faststream", reason="tests/apps/pinned.txt is not installed")
rabbit = pytest.importorskip("faststream.rabbit")
aio_pika = pytest.importorskip("aio_pika")
aiormq = pytest.importorskip("aiormq")

from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from pydantic import BaseModel

TIMEOUT_S = 20


class Seen:
    """What subscribers were given, waited for by tests."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, what: object) -> None:
        self.all.append(what)
        self._queue.put_nowait(what)

    async def next(self) -> Any:
        return await asyncio.wait_for(self._queue.get(), TIMEOUT_S)

    async def some(self, count: int) -> list[Any]:
        return [await self.next() for _ in range(count)]


@pytest.fixture
def name(fresh: Callable[..., str]) -> str:
    return fresh("faststream", ".dead", ".out", ".2", ".x")


def run(address: Address, test: Callable[[RabbitBroker, Seen], Awaitable[None]]) -> None:
    """Run a test with a broker object that is not connected yet."""

    async def main() -> None:
        broker = RabbitBroker(address.url, logger=None)
        try:
            await test(broker, Seen())
        finally:
            await broker.stop()

    asyncio.run(main())


def dead_lettering(name: str, **more: object) -> dict[str, Any]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}.dead", **more}


def test_a_message_is_what_it_was(address: Address, name: str) -> None:
    class Order(BaseModel):
        number: int
        text: str

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(RabbitQueue(name, durable=True))
        async def handle(order: Order, message: RabbitMessage) -> None:
            seen.put((order, message))

        await broker.start()
        await broker.publish(
            Order(number=7, text="größer"),
            name,
            headers={"from": "a", "count": 3, "list": [1, "b", None]},
            correlation_id="c-1",
            message_id="m-1",
            message_type="order",
            persist=True,
        )
        order, message = await seen.next()
        assert (order.number, order.text) == (7, "größer")
        assert message.headers | {"from": "a", "count": 3, "list": [1, "b", None]} == message.headers
        raw = message.raw_message
        assert (raw.correlation_id, raw.message_id, raw.type, raw.content_type) == (
            "c-1",
            "m-1",
            "order",
            "application/json",
        )
        assert (raw.delivery_mode, raw.redelivered) == (2, False)

    run(address, test)


def test_a_chain_of_publishers(address: Address, name: str) -> None:
    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(name)
        @broker.publisher(f"{name}.out")
        async def double(number: int) -> int:
            return number * 2

        @broker.subscriber(f"{name}.out")
        async def collect(number: int) -> None:
            seen.put(number)

        await broker.start()
        for number in range(20):
            await broker.publish(number, name)
        assert sorted(await seen.some(20)) == [number * 2 for number in range(20)]

    run(address, test)


def test_a_reply_goes_where_it_was_asked_for(address: Address, name: str) -> None:
    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(name)
        async def answer(text: str) -> str:
            return text.upper()

        @broker.subscriber(f"{name}.out")
        async def collect(text: str, message: RabbitMessage) -> None:
            seen.put((text, message.correlation_id))

        await broker.start()
        await broker.publish("abc", name, reply_to=f"{name}.out", correlation_id="c-2")
        assert await seen.next() == ("ABC", "c-2")

    run(address, test)


def test_requests_by_direct_reply_to(address: Address, name: str) -> None:
    """`request` consumes from amq.rabbitmq.reply-to; answers find their questions."""

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(name)
        async def answer(number: int, message: RabbitMessage) -> int:
            seen.put(message.reply_to)
            return number + 1

        await broker.start()
        questions = [broker.request(number, name, timeout=TIMEOUT_S) for number in range(30)]
        answers = await asyncio.gather(*questions)
        assert [await reply.decode() for reply in answers] == list(range(1, 31))
        assert all(to.startswith("amq.rabbitmq.reply-to.") for to in seen.all)

    run(address, test)


def test_what_a_subscriber_refuses_is_dead_lettered(address: Address, name: str) -> None:
    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(
            RabbitQueue(name, durable=True, arguments=dead_lettering(name)),
            ack_policy=AckPolicy.REJECT_ON_ERROR,
        )
        async def fail(text: str) -> None:
            raise ValueError(text)

        @broker.subscriber(RabbitQueue(f"{name}.dead", durable=True))
        async def collect(text: str, message: RabbitMessage) -> None:
            seen.put((text, message))

        await broker.start()
        await broker.publish("bad", name, headers={"kept": 1})
        text, message = await seen.next()
        (death,) = message.headers["x-death"]
        assert (text, message.headers["kept"]) == ("bad", 1)
        assert (death["queue"], death["reason"], death["count"]) == (name, "rejected", 1)

    run(address, test)


def test_what_is_given_back_too_often_is_dead_lettered(address: Address, name: str) -> None:
    """A quorum queue with a delivery limit: the first delivery, and two more. What is rejected counts; what is
    given back by basic.nack does not, since RabbitMQ 4.3."""

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(
            RabbitQueue(
                name,
                queue_type=QueueType.QUORUM,
                arguments=dead_lettering(name, **{"x-delivery-limit": 2}),
            ),
            ack_policy=AckPolicy.MANUAL,
        )
        async def fail(text: str, message: RabbitMessage) -> None:
            seen.put(message.headers.get("x-delivery-count", 0))
            await message.reject(requeue=True)

        dead = Seen()

        @broker.subscriber(RabbitQueue(f"{name}.dead", durable=True))
        async def collect(message: RabbitMessage) -> None:
            dead.put(message.headers["x-first-death-reason"])

        await broker.start()
        await broker.publish("bad", name)
        assert await dead.next() == "delivery_limit"
        assert seen.all == [0, 1, 2]

    run(address, test)


def test_messages_expire_to_the_dead(address: Address, name: str) -> None:
    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(RabbitQueue(f"{name}.dead", durable=True))
        async def collect(text: str, message: RabbitMessage) -> None:
            seen.put((text, message.headers["x-death"][0]))

        await broker.start()
        await broker.declare_queue(RabbitQueue(name, durable=True, arguments=dead_lettering(name)))
        sent = time.monotonic()
        await broker.publish("late", name, expiration=0.3)
        text, death = await seen.next()
        assert time.monotonic() - sent >= 0.3
        assert (text, death["reason"], death["original-expiration"]) == ("late", "expired", "300")

    run(address, test)


def test_a_full_queue_refuses(address: Address, name: str, conn: Any) -> None:
    """The publisher is told: FastStream publishes with confirms."""
    arguments = {"x-max-length": 2, "x-overflow": "reject-publish"}

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        await broker.connect()
        await broker.declare_queue(RabbitQueue(name, durable=True, arguments=arguments))
        await broker.publish("1", name)
        await broker.publish("2", name)
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await broker.publish("3", name)

    run(address, test)
    assert [take(conn, name).body for _ in range(2)] == [b"1", b"2"]
    assert waiting(conn, name) == 0


def test_the_highest_priority_comes_first(address: Address, name: str) -> None:
    queue = RabbitQueue(name, durable=True, arguments={"x-max-priority": 5})
    priorities = [index * 3 % 8 for index in range(24)]  # what is above 5 counts as 5

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(queue, channel=Channel(prefetch_count=1))
        async def collect(number: int) -> None:
            seen.put(number)

        await broker.connect()
        await broker.declare_queue(queue)
        for number, priority in enumerate(priorities):
            await broker.publish(number, name, priority=priority)
        await broker.start()
        expected = sorted(range(24), key=lambda number: (-min(priorities[number], 5), number))
        assert await seen.some(24) == expected

    run(address, test)


def test_an_exclusive_queue_is_its_connections_alone(address: Address, name: str) -> None:
    queue = RabbitQueue(name, durable=False, exclusive=True)

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(queue)
        async def collect(text: str) -> None:
            seen.put(text)

        await broker.start()
        await broker.publish("mine", name)
        assert await seen.next() == "mine"
        other = RabbitBroker(address.url, logger=None)
        try:
            await other.connect()
            with pytest.raises(aiormq.exceptions.ChannelLockedResource):
                await other.declare_queue(queue)
        finally:
            await other.stop()

    run(address, test)


def test_an_exclusive_consumer_is_refused_beside_a_subscriber(address: Address, name: str) -> None:
    async def seen_elsewhere(message: object) -> None:
        raise AssertionError(message)

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(RabbitQueue(name, durable=True))
        async def collect(text: str) -> None:
            seen.put(text)

        await broker.start()
        async with await aio_pika.connect(address.url) as other:
            queue = await (await other.channel()).get_queue(name)
            with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                await queue.consume(seen_elsewhere, exclusive=True)

    run(address, test)


def test_one_of_several_subscribers_is_active(address: Address, name: str) -> None:
    """A single active consumer: another takes over when it goes."""
    queue = RabbitQueue(name, durable=True, arguments={"x-single-active-consumer": True})

    def subscribe(broker: RabbitBroker, seen: Seen, who: str) -> None:
        @broker.subscriber(queue, channel=Channel(prefetch_count=1))
        async def collect(number: int) -> None:
            seen.put((who, number))

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        second = RabbitBroker(address.url, logger=None)
        subscribe(broker, seen, "first")
        subscribe(second, seen, "second")
        await broker.start()
        await second.start()
        try:
            for number in range(10):
                await second.publish(number, name)
            assert await seen.some(10) == [("first", number) for number in range(10)]
            await broker.stop()
            await second.publish(10, name)
            assert await seen.next() == ("second", 10)
        finally:
            await second.stop()

    run(address, test)


@pytest.mark.parametrize("kind", ["topic", "fanout", "headers", "direct"])
def test_exchanges(address: Address, name: str, kind: str) -> None:
    """Two queues, the second of which is not meant, except with fanout."""
    keys = {"topic": ("logs.*.error", "logs.*.info"), "direct": ("error", "info")}.get(kind, ("", ""))
    matches: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    if kind == "headers":
        matches = ({"x-match": "all", "level": "error"}, {"x-match": "all", "level": "info"})
    exchange = RabbitExchange(f"{name}.x", type=ExchangeType(kind))

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        for index, queue in enumerate((name, f"{name}.2")):

            @broker.subscriber(
                RabbitQueue(queue, routing_key=keys[index], bind_arguments=matches[index]), exchange
            )
            async def collect(text: str, message: RabbitMessage) -> None:
                seen.put((text, message.raw_message.consumer_tag))

        await broker.start()
        sent = {"topic": "logs.db.error", "direct": "error"}.get(kind, "")
        await broker.publish("a", exchange=exchange, routing_key=sent, headers={"level": "error"})
        if kind == "fanout":
            assert [text for text, _ in await seen.some(2)] == ["a", "a"]
        else:
            await broker.publish("b", name, exchange="")
            # subscribers are tasks: two messages that arrive together may be handled in either order
            assert sorted(text for text, _ in await seen.some(2)) == ["a", "b"]

    run(address, test)


async def start_or_skip(broker: RabbitBroker, product: str, plugin: str) -> None:
    try:
        await broker.start()
    except aio_pika.exceptions.AMQPError:
        if product == "RabbitMQ":
            pytest.skip(f"RabbitMQ needs {plugin} for this exchange type")
        raise


@pytest.mark.parametrize("kind", ["x-consistent-hash", "x-modulus-hash"])
def test_hashing_exchanges(address: Address, name: str, product: str, kind: str) -> None:
    """Every message goes to one of the queues, those of a key to the same."""
    exchange = RabbitExchange(f"{name}.x", type=ExchangeType(kind))

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        def subscribe(queue: str) -> None:
            @broker.subscriber(RabbitQueue(queue, routing_key="1"), exchange)
            async def collect(key: str) -> None:
                seen.put((key, queue))

        subscribe(name)
        subscribe(f"{name}.2")
        plugin = {
            "x-consistent-hash": "rabbitmq_consistent_hash_exchange",
            "x-modulus-hash": "rabbitmq_sharding",
        }
        await start_or_skip(broker, product, plugin[kind])
        keys = [f"key-{number % 50}" for number in range(200)]
        for key in keys:
            await broker.publish(key, exchange=exchange, routing_key=key)
        got = await seen.some(len(keys))
        assert sorted(key for key, _ in got) == sorted(keys)
        homes = {key: {queue for other, queue in got if other == key} for key in keys}
        assert all(len(queues) == 1 for queues in homes.values())
        assert {queue for queues in homes.values() for queue in queues} == {name, f"{name}.2"}

    run(address, test)


def test_a_delaying_exchange(address: Address, name: str, product: str) -> None:
    exchange = RabbitExchange(
        f"{name}.x", type=ExchangeType.X_DELAYED_MESSAGE, arguments={"x-delayed-type": "direct"}
    )

    async def test(broker: RabbitBroker, seen: Seen) -> None:
        @broker.subscriber(RabbitQueue(name, durable=True), exchange)
        async def collect(delay_ms: int) -> None:
            seen.put((delay_ms, time.monotonic()))

        await start_or_skip(broker, product, "rabbitmq_delayed_message_exchange")
        sent = time.monotonic()
        for delay_ms in (900, 300, 0, 600):
            await broker.publish(delay_ms, name, exchange, headers={"x-delay": delay_ms})
        got = await seen.some(4)
        assert [delay_ms for delay_ms, _ in got] == [0, 300, 600, 900]
        assert all(when - sent >= delay_ms / 1000 for delay_ms, when in got)

    run(address, test)
