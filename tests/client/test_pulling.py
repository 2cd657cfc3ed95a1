"""The end of a client that takes messages: what it has not handed out goes back untouched, and a broker that hangs does not
hold it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from leveret.client import Client, Message, Queue, Retry, consumer, leading, link
from leveret.embed import Broker
from leveret.errors import Closed, Disconnected
from tests.client.fake_server import Peer, fake_server
from tests.client.inside import QUICKLY, cut, run, run_with_broker, until, until_async
from tests.client.matrix.harness import make_client, nothing_left
from tests.client.test_consuming import getting

QUEUE = Queue("q", retry=Retry(max=3, delay_s=0.01, jitter=False))
COUNT = 100


async def fill(client: Client) -> None:
    await client.declare_queue(QUEUE)
    await client.publish_many("q", range(COUNT))


async def untouched(broker: Broker, count: int) -> None:
    """So many messages are in the queue, none of which was tried before."""
    async with broker.connect() as client:

        async def there() -> bool:
            return (await client.look_at_queue("q")).messages == count

        await until_async(there)
        assert [message.headers async for message in client.drain("q")] == [{}] * count


async def begun(client: Client) -> tuple[AsyncIterator[Message], Message]:
    """A drain that has handed out one message, and has asked for many more."""
    messages = client.drain(QUEUE)
    return messages, await anext(messages)


def test_closing_gives_back_what_a_drain_asked_for_and_did_not_hand_out() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect(reconnect=QUICKLY) as client:
            await fill(client)
            messages, first = await begun(client)
            first.ack()
        await untouched(broker, COUNT - 1)
        with pytest.raises(Closed):
            await anext(messages)

    run_with_broker(work)


def test_closing_waits_for_what_a_drain_that_was_left_gives_back() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect(reconnect=QUICKLY) as client:
            await fill(client)
            async for message in client.drain(QUEUE):
                message.ack()
                break
        await untouched(broker, COUNT - 1)

    run_with_broker(work)


def test_closing_waits_for_what_a_get_that_was_cancelled_gives_back() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect(reconnect=QUICKLY) as client:
            await fill(client)
            message = await client.get(QUEUE)
            assert message is not None
            await message.release()
            task = asyncio.create_task(client.get(QUEUE))
            await asyncio.sleep(0)  # it has asked
            task.cancel()
        await untouched(broker, COUNT)

    run_with_broker(work)


def test_who_waits_in_a_get_is_told_that_the_client_was_closed() -> None:
    async def work(client: Client) -> None:
        task = await getting(client)
        await client.close()
        with pytest.raises(Closed):
            await task

    run(work)


def test_a_drain_ends_with_its_connection_and_another_goes_on() -> None:
    async def work(client: Client) -> None:
        await fill(client)
        messages, first = await begun(client)
        first.ack()
        await cut(client)
        with pytest.raises(Disconnected):
            while True:
                await anext(messages)
        async for message in client.drain(QUEUE):
            message.ack()

    run(work)


async def consuming(peer: Peer, *silent: str) -> None:
    """Until there are two consumers; from then on the server says nothing to these."""
    await peer.handshake()
    for _ in range(2):
        await peer.skip_to("basic.consume")
    for name in silent:
        peer.server.answers.pop(name)


def test_closing_ends_all_consumers_at_the_same_time() -> None:
    async def script(peer: Peer) -> None:
        await consuming(peer, "basic.cancel")
        cancels = [await peer.skip_to("basic.cancel") for _ in range(2)]
        for cancel in cancels:
            peer.send("basic.cancel_ok", cancel.channel, consumer_tag=cancel["consumer_tag"])

    async def main() -> None:
        async with nothing_left(), fake_server(script) as listener, make_client(listener.url) as client:
            for queue in ("a", "b"):
                await client.consume(queue).start()

    asyncio.run(asyncio.wait_for(main(), 20.0))


@pytest.mark.parametrize("silent", ["basic.cancel", "channel.close", "connection.close"])
def test_a_broker_that_hangs_holds_nobody_who_closes(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than once: neither for each consumer, nor for the goodbye after that."""
    monkeypatch.setattr(leading, "CLOSE_TIMEOUT_S", 0.02)
    monkeypatch.setattr(consumer, "CLOSE_TIMEOUT_S", 60.0)
    monkeypatch.setattr(link, "CLOSE_TIMEOUT_S", 60.0)

    async def script(peer: Peer) -> None:
        await consuming(peer, *{silent, "connection.close"})

    async def main() -> None:
        async with nothing_left(), fake_server(script) as listener:
            client = make_client(listener.url)
            await client.open()
            for queue in ("a", "b"):
                await client.consume(queue).start()
            await until(lambda: silent not in listener.peers[0].server.answers)
            await client.close()
            with pytest.raises(Closed):
                client.check_open()

    asyncio.run(asyncio.wait_for(main(), 10.0))


def test_a_broker_that_hangs_does_not_hold_what_a_drain_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "CLOSE_TIMEOUT_S", 0.02)

    async def script(peer: Peer) -> None:
        peer.server.answers.pop("basic.get")
        await peer.handshake()
        await peer.skip_to("basic.get")

    async def main() -> None:
        async with nothing_left(), fake_server(script) as listener:
            client = make_client(listener.url)
            await client.open()
            waiting = asyncio.ensure_future(anext(client.drain("q")))
            await until(lambda: any(c.name == "basic.get" for c in listener.peers[0].server.received))
            await client.close()
            with pytest.raises(Closed):
                await waiting

    asyncio.run(asyncio.wait_for(main(), 10.0))
