"""Connections that are cut: what the broker does with what they held, and clients that come back."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest
from pika import spec

from .broker import Address
from .clients import Inbox, await_count, connection, count, drain, get, must_get, publish_all
from .proxy import Proxy
from .raw import RawConnection, header_frame, method_frame, publish
from .waiting import eventually

Fresh = Callable[..., str]


def reset(raw: RawConnection) -> None:
    """End the TCP connection with a reset instead of an orderly end."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.socket.close()


def shut(raw: RawConnection) -> None:
    raw.socket.close()


@pytest.mark.parametrize("drop", [shut, reset])
def test_what_was_out_comes_back_in_order_and_marked(
    ch: Any, address: Address, fresh: Fresh, drop: Callable[[RawConnection], None]
) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    publish_all(ch, queue, [b"1", b"2", b"3"])
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.call(1, spec.Basic.Qos(prefetch_count=2))
        raw.call(1, spec.Basic.Consume(queue=queue))
        assert [raw.read_content(1).body for _ in range(2)] == [b"1", b"2"]
        drop(raw)
    await_count(ch, queue, 3)
    found = [must_get(ch, queue, auto_ack=True) for _ in range(3)]
    assert [(each.body, each.redelivered) for each in found] == [(b"1", True), (b"2", True), (b"3", False)]


def test_the_next_consumer_takes_over(ch: Any, proxy: Proxy, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    with connection(proxy.address) as doomed:
        held = Inbox(doomed.channel(), queue)
        publish_all_waiting(ch, queue, 5)
        held.wait(5)
        heir = Inbox(ch, queue)
        proxy.cut()
        heir.wait(5)
        assert [each.redelivered for each in heir.received] == [True] * 5
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            doomed.process_data_events(5)


def publish_all_waiting(ch: Any, queue: str, total: int) -> None:
    for number in range(total):
        ch.basic_publish("", queue, str(number).encode())


def test_half_a_publish_is_no_publish(ch: Any, address: Address, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    whole = publish(1, queue, b"whole")
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(whole + whole[:-3])
        shut(raw)
    await_count(ch, queue, 1)
    with RawConnection(address) as raw:
        raw.login().open_channel(1).send(
            method_frame(1, spec.Basic.Publish(routing_key=queue)) + header_frame(1, 100)
        )
        shut(raw)
    assert drain(ch, queue) == [b"whole"]


def test_an_uncommitted_transaction_is_forgotten(ch: Any, proxy: Proxy, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    publish_all(ch, queue, [b"held"])
    with connection(proxy.address) as doomed:
        tx = doomed.channel()
        tx.tx_select()
        tx.basic_publish("", queue, b"never")
        found = get(tx, queue)
        assert found is not None
        tx.basic_ack(found.tag)
        proxy.cut()
    await_count(ch, queue, 1)
    assert drain(ch, queue) == [b"held"]


def test_exclusive_and_auto_delete_queues_go(ch: Any, proxy: Proxy, fresh: Fresh) -> None:
    exclusive, auto_delete = fresh(), fresh()
    with connection(proxy.address) as doomed:
        channel = doomed.channel()
        channel.queue_declare(exclusive, exclusive=True)
        channel.queue_declare(auto_delete, auto_delete=True)
        Inbox(channel, auto_delete)
        proxy.cut()
    for queue in (exclusive, auto_delete):
        eventually(lambda queue=queue: not is_there(ch, queue), f"{queue} is gone")  # type: ignore[misc]


def is_there(ch: Any, queue: str) -> bool:
    channel = ch.connection.channel()
    try:
        count(channel, queue)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    channel.close()
    return True


def test_confirmed_messages_survive_a_publisher_that_is_cut_again_and_again(
    ch: Any, proxy: Proxy, fresh: Fresh
) -> None:
    """Everything confirmed is there; what was sent again may be there twice, in order otherwise."""
    queue = fresh()
    ch.queue_declare(queue, durable=True)
    total, number, cuts = 300, 0, 0
    while number < total:
        with connection(proxy.address) as conn:
            channel = conn.channel()
            channel.confirm_delivery()
            try:
                while number < total:
                    channel.basic_publish(
                        "", queue, str(number).encode(), pika.BasicProperties(delivery_mode=2)
                    )
                    number += 1
                    if number % 50 == 0 and cuts < 5:
                        cuts += 1
                        proxy.cut()
            except pika.exceptions.AMQPError:
                continue
    assert cuts == 5
    found = [int(body) for body in drain(ch, queue)]
    assert sorted(set(found)) == list(range(total))
    assert found == sorted(found)


def test_a_worker_that_is_cut_loses_nothing(ch: Any, proxy: Proxy, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue, durable=True)
    publish_all_waiting(ch, queue, 100)
    done: list[int] = []
    for _ in range(20):
        with connection(proxy.address) as conn:
            channel = conn.channel()
            channel.basic_qos(prefetch_count=10)
            try:
                for method, _, body in channel.consume(queue, inactivity_timeout=5):
                    if body is None:
                        break
                    done.append(int(body))
                    channel.basic_ack(method.delivery_tag)
                    if len(done) % 30 == 0:
                        proxy.cut()
                    if set(done) == set(range(100)):
                        break
            except pika.exceptions.AMQPError:
                continue
        if set(done) == set(range(100)):
            break
    assert set(done) == set(range(100))


def test_hundreds_of_connections_come_and_go(address: Address) -> None:
    for number in range(300):
        raw = RawConnection(address)
        if number % 3:
            raw.handshake()
        (reset if number % 2 else shut)(raw)
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
