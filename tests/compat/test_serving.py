"""Who is served: priorities of consumers, a single active one, and direct reply-to (through pika)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pytest

from .broker import Address
from .clients import (
    Inbox,
    Received,
    connection,
    drain,
    expect_channel_error,
    must_get,
    publish_all,
    run_until,
    settle,
)

Fresh = Callable[..., str]
REPLY_TO = "amq.rabbitmq.reply-to"
SINGLE = {"x-single-active-consumer": True}


@pytest.fixture(params=["classic", "quorum"])
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"x-queue-type": request.param}


def numbered(first: int, last: int) -> list[bytes]:
    return [str(number).encode() for number in range(first, last + 1)]


def publish(channel: Any, queue: str, bodies: list[bytes]) -> None:
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body)


def inbox(conn: Any, queue: str, prefetch: int, priority: int | None = None) -> Inbox:
    channel = conn.channel()
    channel.basic_qos(prefetch_count=prefetch)
    return Inbox(channel, queue, arguments=None if priority is None else {"x-priority": priority})


def await_all(conn: Any, inboxes: list[Inbox], total: int) -> list[list[bytes]]:
    """What each has got, once it is so many together, and no more came with it."""
    run_until(
        conn.channel(), lambda: sum(len(each.received) for each in inboxes) >= total, f"{total} deliveries"
    )
    settle(conn.channel())
    return [each.bodies for each in inboxes]


def end(inbox: Inbox) -> None:
    """Have the broker close the channel: pika cancels its consumers first, which is something else."""
    inbox.channel.basic_ack(1_000)


# ---- priorities


def test_a_lower_priority_is_served_while_no_higher_one_has_credit(
    conn: Any, fresh: Fresh, kind: dict[str, Any]
) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True, arguments=kind)
    inboxes = [inbox(conn, queue, 2, priority) for priority in (-5, None, 10)]
    publish(ch, queue, numbered(1, 5))
    assert await_all(conn, inboxes, 5) == [[b"5"], [b"3", b"4"], [b"1", b"2"]]
    inboxes[2].channel.basic_ack(2, multiple=True)
    publish(ch, queue, numbered(6, 9))
    assert await_all(conn, inboxes, 8) == [[b"5", b"8"], [b"3", b"4"], [b"1", b"2", b"6", b"7"]]


def test_equal_priorities_take_turns(conn: Any, fresh: Fresh) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True)
    inboxes = [inbox(conn, queue, 10, priority) for priority in (3, 3, 1)]
    publish(ch, queue, numbered(1, 6))
    assert await_all(conn, inboxes, 6) == [[b"1", b"3", b"5"], [b"2", b"4", b"6"], []]


def test_who_comes_last_is_served_last(conn: Any, fresh: Fresh) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True)
    inboxes = [inbox(conn, queue, 10), inbox(conn, queue, 10)]
    publish(ch, queue, numbered(1, 1))
    await_all(conn, inboxes, 1)
    inboxes.append(inbox(conn, queue, 10))
    publish(ch, queue, numbered(2, 4))
    assert await_all(conn, inboxes, 4) == [[b"1", b"3"], [b"2"], [b"4"]]


# ---- single active consumer


def test_the_next_takes_over_when_the_active_one_is_cancelled(
    conn: Any, fresh: Fresh, kind: dict[str, Any]
) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True, arguments=SINGLE | kind)
    one, two, three = (inbox(conn, queue, 2) for _ in range(3))
    publish(ch, queue, numbered(1, 4))
    assert await_all(conn, [one, two, three], 2) == [[b"1", b"2"], [], []]
    one.channel.basic_cancel(one.tag)
    assert await_all(conn, [one, two, three], 4) == [[b"1", b"2"], [b"3", b"4"], []]
    one.channel.basic_nack(1, requeue=True)
    two.channel.basic_ack(1)
    assert await_all(conn, [one, two, three], 5)[1] == [b"3", b"4", b"1"]


def test_the_next_takes_over_when_the_active_ones_channel_ends(
    conn: Any, fresh: Fresh, kind: dict[str, Any]
) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True, arguments=SINGLE | kind)
    one, two = inbox(conn, queue, 2), inbox(conn, queue, 3)
    publish(ch, queue, numbered(1, 4))
    await_all(conn, [one, two], 2)
    end(one)
    assert await_all(conn, [two], 3) == [[b"1", b"2", b"3"]]
    assert [each.method.redelivered for each in two.received] == [True, True, False]


def test_a_higher_priority_waits_for_its_turn_in_a_classic_queue(conn: Any, fresh: Fresh) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True, arguments=SINGLE)
    one = inbox(conn, queue, 1)
    publish(ch, queue, numbered(1, 4))
    low, high = inbox(conn, queue, 1, 1), inbox(conn, queue, 1, 2)
    await_all(conn, [one, low, high], 1)
    one.channel.basic_ack(1)
    assert await_all(conn, [one, low, high], 2) == [[b"1", b"2"], [], []]
    end(one)
    assert await_all(conn, [low, high], 1) == [[], [b"2"]]


def test_a_higher_priority_takes_over_in_a_quorum_queue(conn: Any, fresh: Fresh) -> None:
    ch, queue = conn.channel(), fresh()
    ch.queue_declare(queue, durable=True, arguments=SINGLE | {"x-queue-type": "quorum"})
    one = inbox(conn, queue, 2)
    publish(ch, queue, numbered(1, 5))
    await_all(conn, [one], 2)
    high = inbox(conn, queue, 1, 1)
    one.channel.basic_ack(1)
    assert await_all(conn, [one, high], 2) == [[b"1", b"2"], []]
    one.channel.basic_ack(2)
    assert await_all(conn, [one, high], 3) == [[b"1", b"2"], [b"3"]]
    end(high)
    assert await_all(conn, [one], 4) == [[b"1", b"2", b"3", b"4"]]


def test_gets_beside_a_single_active_consumer(conn: Any, ch: Any, fresh: Fresh) -> None:
    classic, quorum = fresh(), fresh()
    ch.queue_declare(classic, durable=True, arguments=SINGLE)
    ch.queue_declare(quorum, durable=True, arguments=SINGLE | {"x-queue-type": "quorum"})
    publish_all(ch, classic, [b"1"])
    assert must_get(ch, classic).body == b"1"
    with expect_channel_error(
        405,
        f"RESOURCE_LOCKED - cannot obtain access to locked queue '{quorum}' in vhost '/'. basic.get operations are "
        'not supported by <<"quorum">> queues with single active consumer',
    ):
        ch.basic_get(quorum)


def test_an_exclusive_consumer_of_a_queue_with_a_single_active_one(ch: Any, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue, durable=True, arguments=SINGLE)
    with expect_channel_error(403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"):
        ch.basic_consume(queue, lambda *found: None, exclusive=True)


# ---- direct reply-to


class Asker:
    """A client with a reply consumer, and the name that its requests carry."""

    def __init__(self, conn: Any, requests: str) -> None:
        self.channel = conn.channel()
        self.channel.queue_declare(requests)
        self.replies = Inbox(self.channel, REPLY_TO, auto_ack=True)
        self.requests = requests
        self.name = str(self.ask().properties.reply_to)

    def ask(self) -> Received:
        self.channel.basic_publish("", self.requests, b"question", pika.BasicProperties(reply_to=REPLY_TO))
        return must_get(self.channel, self.requests, auto_ack=True)


@pytest.fixture
def asker(conn: Any, fresh: Fresh) -> Asker:
    return Asker(conn, fresh())


def test_a_request_and_its_replies(asker: Asker, other: Any) -> None:
    assert asker.name.startswith(REPLY_TO + ".")
    server = other.channel()
    server.confirm_delivery()
    for number in range(3):
        server.basic_publish(
            "",
            asker.name,
            b"%d" % number,
            pika.BasicProperties(correlation_id="c", delivery_mode=2),
            mandatory=True,
        )
    for number, reply in enumerate(asker.replies.wait(3)):
        assert (reply.body, reply.properties.correlation_id, reply.properties.delivery_mode) == (
            b"%d" % number,
            "c",
            2,
        )
        assert (reply.method.consumer_tag, reply.method.redelivered) == (asker.replies.tag, False)
        assert (reply.method.exchange, reply.method.routing_key) == ("", asker.name)


def test_a_name_is_there_as_long_as_its_consumer(asker: Asker, other: Any) -> None:
    server = other.channel()
    for name in (asker.name, REPLY_TO):
        declared = server.queue_declare(name, passive=True).method
        assert (declared.queue, declared.message_count, declared.consumer_count) == (name, 0, 1)
    asker.channel.basic_cancel(asker.replies.tag)
    with expect_channel_error(404, f"NOT_FOUND - no queue '{asker.name}' in vhost '/'"):
        server.queue_declare(asker.name, passive=True)


def test_each_reply_consumer_has_its_own_name(asker: Asker, address: Address, fresh: Fresh) -> None:
    with connection(address) as conn:
        second = Asker(conn, fresh())
        assert second.name != asker.name
        second.channel.basic_publish("", asker.name, b"to the first")
        assert asker.replies.wait(1)[0].body == b"to the first"
        settle(second.channel)
        assert second.replies.bodies == []


def test_publishing_a_request_without_a_reply_consumer(ch: Any, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    with expect_channel_error(406, "PRECONDITION_FAILED - fast reply consumer does not exist"):
        ch.basic_publish("", queue, b"", pika.BasicProperties(reply_to=REPLY_TO))
        settle(ch)


@pytest.mark.parametrize(
    ("auto_ack", "text"),
    [(False, "reply consumer cannot acknowledge"), (True, "reply consumer already set")],
    ids=["with acks", "twice"],
)
def test_a_reply_consumer_is_refused(ch: Any, auto_ack: bool, text: str) -> None:
    if auto_ack:
        Inbox(ch, REPLY_TO, auto_ack=True)
    with expect_channel_error(406, f"PRECONDITION_FAILED - {text}"):
        Inbox(ch, REPLY_TO, auto_ack=auto_ack)


def test_a_reply_queue_is_none(asker: Asker, other: Any) -> None:
    server = other.channel()
    assert server.queue_purge(asker.name).method.message_count == 0
    assert server.queue_delete(asker.name).method.message_count == 0
    server.basic_publish("", asker.name, b"still there")
    assert asker.replies.wait(1)[0].body == b"still there"
    with expect_channel_error(
        403, "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue"
    ):
        server.queue_bind(asker.name, "amq.direct", "key")
    with expect_channel_error(
        406,
        f"PRECONDITION_FAILED - only creator channel may consume from queue '{asker.name}' in vhost '/'",
    ):
        Inbox(other.channel(), asker.name, auto_ack=True)


def test_requests_wait_like_any_message(asker: Asker) -> None:
    asker.channel.basic_publish("", asker.requests, b"1", pika.BasicProperties(reply_to="some.queue"))
    found = must_get(asker.channel, asker.requests, auto_ack=True)
    assert found.properties.reply_to == "some.queue"
    assert drain(asker.channel, asker.requests) == []
