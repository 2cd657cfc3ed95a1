"""A broker on a thread of its own, for code without a loop, and from loops of others."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import leveret
from leveret.embed import ThreadedBroker, run_in_thread
from leveret.errors import ClientError, ConfigError, DirectoryLocked

from ..protocol.talker import opening
from .dialled import Dialled, run

pika = pytest.importorskip("pika")


def connect(broker: ThreadedBroker) -> Any:
    return pika.BlockingConnection(pika.URLParameters(broker.url))


def put(broker: ThreadedBroker, queue: str, *bodies: bytes, ttl_ms: int = 0) -> None:
    connection = connect(broker)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, expiration=str(ttl_ms) if ttl_ms else None)
    for body in bodies:
        channel.basic_publish("", queue, body, properties)
    connection.close()


def bodies(broker: ThreadedBroker, queue: str) -> list[bytes]:
    return [each.body for each in broker.messages(queue)]


def test_any_client_can_connect() -> None:
    with run_in_thread() as broker:
        put(broker, "q", b"one", b"two")
        assert broker.queues() == ["q"]
        assert bodies(broker, "q") == [b"one", b"two"]


def test_what_is_durable_comes_back(tmp_path: Path) -> None:
    with run_in_thread(tmp_path) as broker:
        put(broker, "q", b"one")
    with run_in_thread(tmp_path) as broker:
        assert bodies(broker, "q") == [b"one"]


def test_its_threads_end_with_it(tmp_path: Path) -> None:
    before = threading.enumerate()
    broker = run_in_thread(tmp_path)
    assert broker.running
    broker.stop()
    assert not broker.running
    assert threading.enumerate() == before
    broker.stop()  # again


def test_who_is_connected_is_not_waited_for_when_told_so() -> None:
    broker = run_in_thread()
    connection = connect(broker)
    broker.stop(0)
    with pytest.raises(pika.exceptions.AMQPError):
        connection.process_data_events(None)


def test_what_keeps_it_from_starting_is_raised_here(tmp_path: Path) -> None:
    before = threading.enumerate()
    with pytest.raises(ConfigError):
        run_in_thread(message_size_max_bytes=0)
    with run_in_thread(tmp_path):
        inside = threading.enumerate()
        with pytest.raises(DirectoryLocked):
            run_in_thread(tmp_path)
        assert threading.enumerate() == inside
    assert threading.enumerate() == before


def test_it_listens_from_the_first_use_of_its_url_on() -> None:
    with run_in_thread(listen=None) as broker:
        assert not broker.broker.listening
        url = broker.url
        assert broker.broker.listening
        assert broker.url == url
        put(broker, "q", b"one")


def test_another_loop_is_connected_by_a_socket() -> None:
    async def main(broker: ThreadedBroker) -> None:
        client = Dialled()
        connected = broker.dial(lambda: client)
        assert not isinstance(connected, asyncio.BaseTransport)
        transport = await connected
        assert transport.get_extra_info("socket") is not None
        client.transport = transport
        client.transport.write(opening())
        await client.hears("connection.start", "connection.tune", "connection.open_ok")
        transport.close()

    with run_in_thread(listen=None) as broker:
        run(main(broker))


def test_its_own_loop_is_connected_without_one() -> None:
    async def main(broker: ThreadedBroker) -> None:
        client = Dialled()
        client.transport = broker.dial(lambda: client)
        client.transport.write(opening())
        await client.hears("connection.start", "connection.tune", "connection.open_ok")

    with run_in_thread(listen=None) as broker:
        broker.do(main(broker))
        assert not broker.broker.listening


def test_waiting_for_oneself_is_refused() -> None:
    with run_in_thread() as broker, pytest.raises(ClientError, match="would wait for itself"):
        broker.call(broker.queues)


def test_its_time_can_be_moved() -> None:
    with run_in_thread() as broker:
        put(broker, "q", b"short", ttl_ms=60_000)
        broker.advance(59)
        assert bodies(broker, "q") == [b"short"]
        broker.advance(2)
        assert bodies(broker, "q") == []


def test_a_thread_that_has_ended_is_not_waited_for() -> None:
    broker = run_in_thread()
    broker.stop()
    with pytest.raises(ClientError, match="has ended"):
        broker.queues()


def test_what_runs_on_the_thread_ends_with_it() -> None:
    ended = threading.Event()

    async def go_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def begin() -> None:
        tasks.append(asyncio.create_task(go_on()))

    tasks: list[asyncio.Task[None]] = []
    with run_in_thread() as broker:
        broker.do(begin())
    assert ended.is_set()


def test_our_clients_connect_from_any_loop_and_from_none() -> None:
    async def main(broker: ThreadedBroker) -> None:
        async with broker.connect() as client, leveret.connect(broker) as other:
            await client.declare_queue(leveret.Queue("q"))
            await other.publish("q", b"one")

    users = {"me": {"password": "a/b"}}
    refused = pytest.raises(leveret.ConnectFailed, match="refused")
    with run_in_thread(vhosts=["shop", "/"], users=users) as broker, refused:
        run(main(broker))  # the second is guest, by its own word
    with run_in_thread() as broker:
        run(main(broker))
        with broker.connect_sync() as client:
            client.publish("q", b"two")
        assert bodies(broker, "q") == [b"one", b"two"]
