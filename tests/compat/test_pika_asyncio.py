"""pika's asyncio adapter: the callback way of doing the same, with errors and cancels in callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection

from .broker import Address
from .clients import parameters
from .waiting import DEADLINE_S

Fresh = Callable[..., str]


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, DEADLINE_S)

    asyncio.run(bounded())


def open_connection(address: Address, **changes: Any) -> asyncio.Future[Any]:
    """A future of the open connection, or of the exception that it failed with."""
    opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        parameters(address, **changes),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _conn, error: opened.set_exception(error),
        on_close_callback=lambda conn, error: conn.ended.set_result(error),
    )
    opened.add_done_callback(_add_ended)
    return opened


def _add_ended(opened: asyncio.Future[Any]) -> None:
    if opened.exception() is None:
        opened.result().ended = asyncio.get_running_loop().create_future()


async def call(method: Callable[..., Any], **args: Any) -> Any:
    """The reply to a method that takes a callback."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    method(**args, callback=done.set_result)
    return await done


async def open_channel(conn: Any) -> Any:
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    conn.channel(on_open_callback=done.set_result)
    channel = await done
    channel.ended = asyncio.get_running_loop().create_future()
    channel.add_on_close_callback(lambda _channel, error: channel.ended.set_result(error))
    return channel


async def close(conn: Any) -> None:
    conn.close()
    assert isinstance(await conn.ended, pika.exceptions.ConnectionClosedByClient)


def test_publish_confirm_consume_ack_cancel(address: Address) -> None:
    async def test() -> None:
        conn = await open_connection(address)
        channel = await open_channel(conn)
        queue = (await call(channel.queue_declare, queue="", exclusive=True)).method.queue
        confirms: asyncio.Queue[Any] = asyncio.Queue()
        await call(channel.confirm_delivery, ack_nack_callback=confirms.put_nowait)
        deliveries: asyncio.Queue[Any] = asyncio.Queue()
        await call(channel.basic_qos, prefetch_count=2)
        tag = channel.basic_consume(queue, lambda *args: deliveries.put_nowait(args))
        for number in range(10):
            channel.basic_publish("", queue, str(number).encode())
        bodies = []
        for _ in range(10):
            _, method, _, body = await deliveries.get()
            bodies.append(body)
            channel.basic_ack(method.delivery_tag)
        assert bodies == [str(number).encode() for number in range(10)]
        confirmed = 0
        while confirmed < 10:
            method = (await confirms.get()).method
            confirmed = method.delivery_tag if method.multiple else confirmed + 1
        await call(channel.basic_cancel, consumer_tag=tag)
        await call(channel.queue_delete, queue=queue)
        await close(conn)

    run(test())


def test_topology_and_transactions(address: Address, fresh: Fresh) -> None:
    async def test() -> None:
        conn = await open_connection(address)
        channel = await open_channel(conn)
        exchange, second, queue = fresh("x"), fresh("x"), fresh()
        await call(channel.exchange_declare, exchange=exchange, exchange_type="topic")
        await call(channel.exchange_declare, exchange=second, exchange_type="fanout")
        await call(channel.queue_declare, queue=queue)
        await call(channel.exchange_bind, destination=second, source=exchange, routing_key="a.#")
        await call(channel.queue_bind, queue=queue, exchange=second)
        await call(channel.tx_select)
        channel.basic_publish(exchange, "a.b", b"1")
        await call(channel.tx_rollback)
        channel.basic_publish(exchange, "a.b", b"2")
        await call(channel.tx_commit)
        assert (await call(channel.queue_purge, queue=queue)).method.message_count == 1
        await call(channel.queue_unbind, queue=queue, exchange=second)
        await call(channel.exchange_unbind, destination=second, source=exchange, routing_key="a.#")
        await call(channel.flow, active=True)
        await call(channel.basic_recover, requeue=True)
        await call(channel.exchange_delete, exchange=exchange)
        await close(conn)

    run(test())


def test_channel_error_comes_to_the_callback(address: Address, fresh: Fresh) -> None:
    async def test() -> None:
        conn = await open_connection(address)
        channel = await open_channel(conn)
        name = fresh()
        channel.queue_declare(name, passive=True)
        error = await channel.ended
        assert (error.reply_code, error.reply_text) == (404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        assert (await open_channel(conn)).is_open
        await close(conn)

    run(test())


def test_connection_error_comes_to_the_callback(address: Address) -> None:
    async def test() -> None:
        conn = await open_connection(address)
        channel = await open_channel(conn)
        channel.basic_qos(prefetch_size=10)
        error = await conn.ended
        assert (error.reply_code, error.reply_text) == (540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)")

    run(test())


def test_cancel_of_the_broker_comes_to_the_callback(address: Address, fresh: Fresh) -> None:
    async def test() -> None:
        conn = await open_connection(address)
        first, second = await open_channel(conn), await open_channel(conn)
        name = fresh()
        await call(first.queue_declare, queue=name)
        cancelled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        first.add_on_cancel_callback(cancelled.set_result)
        consuming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        tag = first.basic_consume(name, lambda *_: None, callback=consuming.set_result)
        await consuming
        await call(second.queue_delete, queue=name)
        assert (await cancelled).method.consumer_tag == tag
        await close(conn)

    run(test())


def test_wrong_password_is_told(address: Address) -> None:
    async def test() -> None:
        try:
            await open_connection(address, credentials=pika.PlainCredentials(address.user, "wrong"))
        except pika.exceptions.ProbableAuthenticationError as error:
            assert "(403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN." in str(
                error
            )
        else:
            raise AssertionError("the wrong password was let in")

    run(test())


def test_missing_vhost_is_told(address: Address) -> None:
    async def test() -> None:
        try:
            await open_connection(address, virtual_host="nowhere")
        except pika.exceptions.ProbableAccessDeniedError as error:
            assert "(530) 'NOT_ALLOWED - vhost nowhere not found'" in str(error)
        else:
            raise AssertionError("there is no such vhost")

    run(test())


def test_many_connections_at_once(address: Address) -> None:
    async def test() -> None:
        conns = await asyncio.gather(*(open_connection(address) for _ in range(50)))
        channels = await asyncio.gather(*(open_channel(conn) for conn in conns))
        replies = await asyncio.gather(
            *(call(each.queue_declare, queue="", exclusive=True) for each in channels)
        )
        assert len({reply.method.queue for reply in replies}) == 50
        await asyncio.gather(*(close(conn) for conn in conns))

    run(test())
