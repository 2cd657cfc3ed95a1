"""Queues: names, counts, life times (through pika)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika.exceptions
import pytest
from pika import spec

from .broker import Address
from .clients import (
    Inbox,
    await_count,
    connection,
    count,
    drain,
    expect_channel_error,
    get,
    must_get,
    publish_all,
    run_until,
    settle,
)
from .error_cases import LOCKED, cut
from .raw import RawConnection
from .waiting import eventually

Fresh = Callable[..., str]


def is_gone(conn: Any, queue: str) -> bool:
    channel = conn.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return True
    channel.close()
    return False


def test_server_named_queues_are_all_different(ch: Any) -> None:
    names = {ch.queue_declare("", exclusive=True).method.queue for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("amq.gen-") for name in names)


def test_a_server_named_queue_may_be_declared_again_passively_only(ch: Any) -> None:
    name = ch.queue_declare("", exclusive=True).method.queue
    assert ch.queue_declare(name, passive=True).method.queue == name
    with expect_channel_error(403, f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'"):
        ch.queue_declare(name, exclusive=True)


def test_the_empty_name_means_the_queue_last_declared(ch: Any) -> None:
    name = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind("", "amq.direct", routing_key="")  # the key then is the queue's name
    ch.basic_publish("amq.direct", name, b"bound")
    assert must_get(ch, "", auto_ack=True).body == b"bound"
    ch.basic_publish("", name, b"purged")
    await_count(ch, name, 1)
    assert ch.queue_purge("").method.message_count == 1
    ch.queue_delete("")


def test_the_queue_last_declared_is_the_channels_own(conn: Any, ch: Any) -> None:
    ch.queue_declare("", exclusive=True)
    with expect_channel_error(404, "NOT_FOUND - no previously declared queue"):
        conn.channel().basic_get("")


@pytest.mark.parametrize("name", ["with space", "ünïcödé ☃", "a" * 255, "slash/and?query=1", "emoji 🐇"])
def test_names(ch: Any, name: str) -> None:
    assert ch.queue_declare(name, exclusive=True).method.queue == name
    ch.basic_publish("", name, b"x")
    found = must_get(ch, name, auto_ack=True)
    assert (found.method.routing_key, found.body) == (name, b"x")


def test_line_ends_are_taken_out_of_names(address: Address, fresh: Fresh) -> None:
    name = fresh()
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        assert raw.call(1, spec.Queue.Declare(queue=name + "\r\n", exclusive=True)).queue == name


def test_declare_counts_what_is_ready_and_who_consumes(ch: Any, other: Any) -> None:
    name = ch.queue_declare("", auto_delete=True).method.queue
    publish_all(ch, name, [b"1", b"2", b"3"])
    assert get(ch, name) is not None
    reply = other.channel().queue_declare(name, passive=True).method
    assert (reply.queue, reply.message_count, reply.consumer_count) == (name, 2, 0)
    inboxes = [Inbox(ch, name), Inbox(ch, name)]
    reply = other.channel().queue_declare(name, passive=True).method
    assert (reply.message_count, reply.consumer_count) == (0, len(inboxes))


def test_declaring_again_changes_nothing(ch: Any, fresh: Fresh) -> None:
    name = fresh()
    for _ in range(2):
        ch.queue_declare(name, durable=True, arguments={"x-unknown": "ignored"})
    ch.basic_publish("", name, b"x")
    await_count(ch, name, 1)
    assert ch.queue_declare(name, durable=True).method.message_count == 1


def test_passive_declare_looks_at_nothing_but_the_name(ch: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name, durable=True)
    reply = ch.queue_declare(
        name, passive=True, durable=False, auto_delete=True, arguments={"x-max-length": 1}
    )
    assert reply.method.queue == name


def test_exclusive_and_durable_are_no_contradiction(ch: Any, fresh: Fresh) -> None:
    """An exclusive queue goes with its connection, so RabbitMQ takes it for transient either way."""
    name = fresh()
    ch.queue_declare(name, durable=True, exclusive=True)
    ch.queue_declare(name, durable=False, exclusive=True)


def test_queue_types_classic_and_quorum(ch: Any, fresh: Fresh) -> None:
    for kind in ("classic", "quorum"):
        name = fresh()
        ch.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
        publish_all(ch, name, [b"x"])
        assert drain(ch, name) == [b"x"]


def test_purge_takes_what_is_ready_and_leaves_what_is_out(ch: Any) -> None:
    name = ch.queue_declare("", exclusive=True).method.queue
    publish_all(ch, name, [b"1", b"2", b"3"])
    taken = get(ch, name)
    assert taken is not None
    assert ch.queue_purge(name).method.message_count == 2
    assert count(ch, name) == 0
    ch.basic_nack(taken.tag)
    assert must_get(ch, name).body == b"1"


def test_delete_tells_how_many_were_ready(ch: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name)
    publish_all(ch, name, [b"1", b"2"])
    assert ch.queue_delete(name).method.message_count == 2
    assert ch.queue_delete(name).method.message_count == 0  # what is not there may be deleted


def test_delete_if_unused_and_if_empty_when_they_hold(ch: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name)
    ch.queue_delete(name, if_unused=True, if_empty=True)
    with expect_channel_error(404, f"NOT_FOUND - no queue '{name}' in vhost '/'"):
        ch.queue_declare(name, passive=True)


def test_unbinding_what_is_not_bound_is_no_error(ch: Any, fresh: Fresh) -> None:
    name = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_unbind(name, "amq.direct", "never")
    ch.queue_unbind(fresh(), "amq.direct", "never")
    ch.queue_unbind(name, fresh("x"), "never")


def test_auto_delete_goes_with_its_last_consumer(ch: Any, other: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name, auto_delete=True)
    assert not is_gone(other, name)  # it has had no consumer yet
    first, second = Inbox(ch, name), Inbox(ch, name)
    ch.basic_cancel(first.tag)
    assert not is_gone(other, name)
    ch.basic_cancel(second.tag)
    eventually(lambda: is_gone(other, name), "the queue is gone")


def test_auto_delete_goes_when_the_consumers_connection_goes(
    address: Address, conn: Any, fresh: Fresh
) -> None:
    name = fresh()
    conn.channel().queue_declare(name, auto_delete=True)
    with connection(address) as brief:
        Inbox(brief.channel(), name)
    eventually(lambda: is_gone(conn, name), "the queue is gone")


def test_an_exclusive_queue_goes_with_its_connection(address: Address, conn: Any, fresh: Fresh) -> None:
    name = fresh()
    with connection(address) as owner:
        owner.channel().queue_declare(name, exclusive=True)
        with expect_channel_error(405, cut(LOCKED.replace("{q}", name))):
            conn.channel().queue_declare(name, passive=True)
    eventually(lambda: is_gone(conn, name), "the queue is gone")


def test_an_exclusive_queue_survives_its_channel_and_serves_others_of_the_connection(conn: Any) -> None:
    first = conn.channel()
    name = first.queue_declare("", exclusive=True).method.queue
    first.close()
    assert count(conn.channel(), name) == 0


def test_anybody_may_publish_to_an_exclusive_queue(ch: Any, other: Any) -> None:
    name = ch.queue_declare("", exclusive=True).method.queue
    other.channel().basic_publish("", name, b"x")
    assert must_get(ch, name).body == b"x"


def test_consumers_are_told_when_their_queue_is_deleted(conn: Any, ch: Any, other: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name)
    cancelled: list[str] = []
    ch.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tags = [ch.basic_consume(name, lambda *_: None) for _ in range(2)]
    other.channel().queue_delete(name)
    run_until(ch, lambda: len(cancelled) == 2, "both consumers are told")
    assert sorted(cancelled) == sorted(tags)
    assert conn.is_open
    ch.basic_cancel(tags[0])


def test_the_deleter_is_told_too(ch: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name)
    cancelled: list[Any] = []
    ch.add_on_cancel_callback(cancelled.append)
    Inbox(ch, name)
    ch.queue_delete(name)
    settle(ch)
    run_until(ch, lambda: cancelled, "the consumer is told")


def test_unacked_messages_of_a_deleted_queue_may_be_settled(ch: Any, other: Any, fresh: Fresh) -> None:
    name = fresh()
    ch.queue_declare(name)
    publish_all(ch, name, [b"1", b"2", b"3"])
    tags = [must_get(ch, name).tag for _ in range(3)]
    other.channel().queue_delete(name)
    ch.basic_ack(tags[0])
    ch.basic_nack(tags[1])
    ch.basic_reject(tags[2], requeue=False)
    settle(ch)
    assert ch.is_open
