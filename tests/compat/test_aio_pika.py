"""aio-pika as its users write it: plain and robust connections, patterns, returns, transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import aio_pika.exceptions
import aiormq.exceptions
import pytest
from aio_pika.patterns import RPC, Master

from .broker import Address
from .proxy import Proxy

Fresh = Callable[..., str]
LIMIT_S = 30


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, LIMIT_S)

    asyncio.run(bounded())


def message(body: bytes, **properties: Any) -> aio_pika.Message:
    return aio_pika.Message(body, **properties)


def test_publish_get_and_consume(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            channel = await conn.channel()
            await channel.set_qos(prefetch_count=10)
            queue = await channel.declare_queue(exclusive=True)
            assert await queue.get(fail=False) is None
            with pytest.raises(aio_pika.exceptions.QueueEmpty):
                await queue.get()
            for number in range(5):
                await channel.default_exchange.publish(message(str(number).encode()), queue.name)
            first = await queue.get()
            assert (first.body, first.message_count, first.redelivered) == (b"0", 4, False)
            await first.nack(requeue=True)
            bodies = []
            async with queue.iterator() as incoming:
                async for each in incoming:
                    async with each.process():
                        bodies.append((each.body, each.redelivered))
                    if len(bodies) == 5:
                        break
            assert sorted(bodies) == [(b"0", True)] + [
                (str(number).encode(), False) for number in range(1, 5)
            ]

    run(test())


def test_headers_and_properties(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            channel = await conn.channel()
            queue = await channel.declare_queue(exclusive=True)
            headers = {"int": 1, "text": "x", "yes": True, "none": None, "list": [1, {"a": 2}], "half": 0.5}
            sent = message(
                b"body",
                headers=headers,
                content_type="text/plain",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                priority=3,
                correlation_id="c",
                reply_to="r",
                message_id="m",
                timestamp=1_700_000_000,
                type="t",
                app_id="a",
            )
            await channel.default_exchange.publish(sent, queue.name)
            found = await queue.get()
            for name in (
                "content_type",
                "delivery_mode",
                "priority",
                "correlation_id",
                "reply_to",
                "message_id",
            ):
                assert getattr(found, name) == getattr(sent, name), name
            assert (found.timestamp, found.type, found.app_id) == (sent.timestamp, "t", "a")
            assert found.headers == headers

    run(test())


def test_confirms_and_returns(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            channel = await conn.channel(publisher_confirms=True, on_return_raises=True)
            with pytest.raises(aio_pika.exceptions.DeliveryError) as caught:
                await channel.default_exchange.publish(message(b"x"), "compat.nobody", mandatory=True)
            assert "NO_ROUTE" in str(caught.value) or "compat.nobody" in str(caught.value)
            queue = await channel.declare_queue(exclusive=True)
            publish = channel.default_exchange.publish
            await asyncio.gather(*(publish(message(b"x"), queue.name, mandatory=True) for _ in range(300)))
            assert (
                await channel.declare_queue(queue.name, passive=True)
            ).declaration_result.message_count == 300

    run(test())


def test_transaction(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            channel = await conn.channel(publisher_confirms=False)
            queue = await channel.declare_queue(exclusive=True)
            async with channel.transaction():
                await channel.default_exchange.publish(message(b"kept"), queue.name)
            with pytest.raises(ValueError):
                async with channel.transaction():
                    await channel.default_exchange.publish(message(b"dropped"), queue.name)
                    raise ValueError
            assert (await queue.get()).body == b"kept"
            assert await queue.get(fail=False) is None

    run(test())


def test_exchanges_and_bindings(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            channel = await conn.channel()
            queue = await channel.declare_queue(exclusive=True)
            assert channel.default_exchange.name == ""
            source = await channel.declare_exchange(
                "compat.aio.source", aio_pika.ExchangeType.TOPIC, auto_delete=True
            )
            sink = await channel.declare_exchange(
                "compat.aio.sink", aio_pika.ExchangeType.FANOUT, auto_delete=True
            )
            await sink.bind(source, "a.#")
            await queue.bind(sink)
            await source.publish(message(b"x"), "a.b")
            assert (await queue.get()).routing_key == "a.b"
            await queue.unbind(sink)
            await source.delete()

    run(test())


def test_errors_have_their_own_classes(address: Address, fresh: Fresh) -> None:
    async def test() -> None:
        name = fresh()
        async with await aio_pika.connect(address.url) as conn:
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await (await conn.channel()).declare_queue(name, passive=True)
            channel = await conn.channel()
            await channel.declare_queue(name)
            with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed):
                await channel.declare_queue(name, durable=True)
            owner = await conn.channel()
            mine = await owner.declare_queue(exclusive=True)
            async with await aio_pika.connect(address.url) as other:
                with pytest.raises(aiormq.exceptions.ChannelLockedResource):
                    await (await other.channel()).declare_queue(mine.name, passive=True)
            with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                await (await conn.channel()).declare_queue("amq.reserved")

    run(test())


def test_a_wrong_password(address: Address) -> None:
    async def test() -> None:
        with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
            await aio_pika.connect(address.url.replace(f":{address.password}@", ":wrong@"))

    run(test())


def test_update_secret(address: Address) -> None:
    async def test() -> None:
        async with await aio_pika.connect(address.url) as conn:
            await conn.update_secret(address.password, reason="rotation")
            await conn.channel()

    run(test())


def test_rpc_pattern(address: Address) -> None:
    async def test() -> None:
        async def multiply(*, x: int, y: int) -> int:
            return x * y

        async with (
            await aio_pika.connect(address.url) as server,
            await aio_pika.connect(address.url) as client,
        ):
            serving = await RPC.create(await server.channel())
            await serving.register("compat.multiply", multiply, auto_delete=True)
            calling = await RPC.create(await client.channel())
            results = await asyncio.gather(
                *(calling.call("compat.multiply", {"x": x, "y": 2}) for x in range(50))
            )
            assert results == [2 * x for x in range(50)]
            await serving.close()
            await calling.close()

    run(test())


def test_worker_pattern(address: Address, fresh: Fresh) -> None:
    async def test() -> None:
        done: asyncio.Queue[int] = asyncio.Queue()

        async def work(*, number: int) -> None:
            await done.put(number)

        async with await aio_pika.connect(address.url) as conn:
            master = Master(await conn.channel())
            name = fresh()
            worker = await master.create_worker(name, work, auto_delete=True)
            for number in range(20):
                await master.create_task(name, {"number": number})
            assert sorted([await done.get() for _ in range(20)]) == list(range(20))
            await worker.close()

    run(test())


# -- robust connections: everything comes back after the line was cut -------------------------------------


async def publish_until(channel: Any, queue: str, body: bytes, seen: asyncio.Queue[bytes]) -> None:
    """Publish `body` again and again, through lost connections, until it arrives."""
    while True:
        try:
            await channel.default_exchange.publish(message(body), queue, timeout=1)
        except (TimeoutError, aio_pika.exceptions.AMQPError, ConnectionError, RuntimeError):
            await asyncio.sleep(0.05)
            continue
        while True:
            if await asyncio.wait_for(seen.get(), LIMIT_S) == body:
                return


@pytest.mark.parametrize("exclusive", [False, True])
def test_robust_connection_restores_queues_bindings_and_consumers(
    proxy: Proxy, fresh: Fresh, exclusive: bool
) -> None:
    async def test() -> None:
        conn = await aio_pika.connect_robust(proxy.address.url, reconnect_interval=0.1)
        async with conn:
            channel = await conn.channel()
            await channel.set_qos(prefetch_count=5)
            exchange = await channel.declare_exchange(
                fresh("x"), aio_pika.ExchangeType.FANOUT, auto_delete=True
            )
            queue = await channel.declare_queue(fresh(), auto_delete=not exclusive, exclusive=exclusive)
            await queue.bind(exchange)
            seen: asyncio.Queue[bytes] = asyncio.Queue()

            async def take(incoming: aio_pika.abc.AbstractIncomingMessage) -> None:
                async with incoming.process():
                    await seen.put(incoming.body)

            await queue.consume(take)
            for round_number in range(3):
                await publish_until(channel, queue.name, f"round {round_number}".encode(), seen)
                restored = asyncio.Event()
                conn.reconnect_callbacks.add(lambda *_, restored=restored: restored.set())
                proxy.cut()
                await restored.wait()
            await publish_until(channel, queue.name, b"last", seen)
            await exchange.publish(message(b"through the binding"), "")
            while await seen.get() != b"through the binding":
                pass

    run(test())


def test_robust_connection_waits_for_the_broker(proxy: Proxy, fresh: Fresh) -> None:
    async def test() -> None:
        conn = await aio_pika.connect_robust(proxy.address.url, reconnect_interval=0.05)
        async with conn:
            channel = await conn.channel()
            queue = await channel.declare_queue(fresh(), durable=True)
            seen: asyncio.Queue[bytes] = asyncio.Queue()

            async def take(incoming: aio_pika.abc.AbstractIncomingMessage) -> None:
                async with incoming.process():
                    await seen.put(incoming.body)

            await queue.consume(take)
            before = proxy.accepted
            with proxy.refusing():
                proxy.cut()
                while proxy.accepted < before + 3:
                    await asyncio.sleep(0.01)
            await publish_until(channel, queue.name, b"after", seen)

    run(test())
