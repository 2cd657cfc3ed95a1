"""Time that is moved: what expires, falls due, is given up or retried by it, and what is not touched by it."""

from __future__ import annotations

import asyncio

import pytest

from leveret.clock import FakeClock
from leveret.embed import Broker, MovableClock
from leveret.errors import ClientError
from leveret.wire import requests
from leveret.wire.properties import Properties, encode_properties
from leveret.wire.table import encode_table

from ..protocol.talker import opening, publish, request
from .dialled import Dialled, dial, opened, run


async def declared(client: Dialled, queue: str, **arguments: object) -> None:
    table = encode_table({name.replace("_", "-"): value for name, value in arguments.items()})
    assert (await client.asks(requests.queue_declare, 1, queue, arguments=table)).name == "queue.declare_ok"


def test_messages_expire() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await declared(client, "dead")
            await declared(
                client,
                "q",
                x_message_ttl=3_600_000,
                x_dead_letter_exchange="",
                x_dead_letter_routing_key="dead",
            )
            await client.publishes("q", b"one")
            await broker.advance(3_599)
            assert len(broker.messages("q")) == 1
            await broker.advance(2)
            assert broker.messages("q") == []
            assert [each.body for each in broker.messages("dead")] == [b"one"]

    run(main())


def test_delayed_messages_fall_due() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await declared(client, "q")
            await client.asks(requests.basic_consume, 1, "q", "c", no_ack=True)
            properties = encode_properties(Properties(headers={"x-deliver-after": 86_400_000}))
            client.transport.write(publish(1, "q", b"tomorrow", properties))
            await declared(client, "q")
            await broker.advance(86_399)
            assert not client.waiting
            await broker.advance(1)
            assert (await client.hears("basic.deliver")).body == b"tomorrow"

    run(main())


def test_queues_that_nobody_uses_go() -> None:
    async def main() -> None:
        async with Broker() as broker:
            await declared(await opened(broker), "q", x_expires=60_000)
            await broker.advance(59)
            assert broker.queues() == ["q"]
            await broker.advance(2)
            assert broker.queues() == []

    run(main())


def test_deliveries_that_are_not_settled_go_back() -> None:
    """They are looked at now and then: moved in one go they grow old all the same."""

    async def main() -> None:
        async with Broker(consumer_timeout_ms=1_800_000) as broker:
            client = await opened(broker)
            await declared(client, "q")
            await client.asks(requests.basic_qos, 1, 1)
            await client.asks(requests.basic_consume, 1, "q", "c")
            client.transport.write(publish(1, "q", b"one"))
            await client.hears("basic.deliver")
            await broker.advance(1_700)
            assert broker.messages("q") == []
            await broker.advance(300)
            assert [(each.body, each.redelivered) for each in broker.messages("q")] == [(b"one", True)]

    run(main())


def test_connections_keep_to_the_time_of_the_system() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = dial(broker)
            client.transport.write(opening(heartbeat_s=1))
            await client.hears("connection.start", "connection.tune", "connection.open_ok")
            slow = dial(broker)  # in its handshake
            await broker.advance(7 * 86_400)
            broker.server.tick()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not client.lost.done()
            assert not slow.lost.done()

    run(main())


def test_a_busy_broker_does_not_keep_time_from_moving() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await declared(client, "q")
            over = False

            async def publish_on_and_on() -> None:
                while not over:
                    client.transport.write(publish(1, "q", b"x"))
                    await asyncio.sleep(0)

            busy = asyncio.create_task(publish_on_and_on())
            await broker.advance(60)
            over = True
            await busy

    run(main())


def test_time_goes_forward_only() -> None:
    with pytest.raises(ValueError, match="goes forward only"):
        MovableClock().move(-1)


def test_a_clock_of_ones_own() -> None:
    """It is what the broker takes for the time."""

    async def main() -> None:
        clock = FakeClock(1_000_000)
        async with Broker(clock=clock) as broker:
            client = await opened(broker)
            await declared(client, "q", x_message_ttl=1_000)
            await client.publishes("q", b"one")
            clock.advance(999)
            client.transport.write(request(requests.queue_declare, 1, "q", passive=True))
            assert (await client.next()).fields["message_count"] == 1
            clock.advance(1)
            client.transport.write(request(requests.queue_declare, 1, "q", passive=True))
            assert (await client.next()).fields["message_count"] == 0
            with pytest.raises(ClientError, match="give the broker a MovableClock"):
                await broker.advance(1)

    run(main())
