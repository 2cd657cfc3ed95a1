"""`leveret_broker` and `leveret_clock`, used as any project would."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import leveret
from leveret.errors import ClientError, PreconditionFailed
from leveret.testing import ANY, BrokerClock, LeveretBroker
from leveret.testing.tap import KEPT

from ..embed.dialled import run

pika = pytest.importorskip("pika")


class Sender:
    """A client that is not ours."""

    def __init__(self, broker: LeveretBroker) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        self.channel = self.connection.channel()

    def send(self, queue: str, body: bytes, exchange: str = "", **properties: Any) -> None:
        self.channel.basic_publish(exchange, queue, body, pika.BasicProperties(**properties))

    def flush(self) -> None:
        self.channel.queue_declare("flushed")


@pytest.fixture
def sender(leveret_broker: LeveretBroker) -> Iterator[Sender]:
    made = Sender(leveret_broker)
    made.channel.queue_declare("emails")
    yield made
    made.connection.close()


@pytest.mark.parametrize("turn", range(2))
def test_each_test_has_a_fresh_one(turn: int, leveret_broker: LeveretBroker) -> None:
    assert leveret_broker.queues() == []
    assert leveret_broker.published() == []
    sender = Sender(leveret_broker)
    sender.channel.queue_declare("emails")
    sender.send("emails", b"hello")
    leveret_broker.assert_published("emails", b"hello")
    sender.connection.close()


def test_nothing_listens_before_it_is_asked_to(leveret_broker: LeveretBroker) -> None:
    assert not leveret_broker.broker.listening
    assert leveret_broker.url.startswith("amqp://guest:guest@127.0.0.1:")
    assert leveret_broker.broker.listening


def test_what_was_published_stays_known_when_it_is_consumed(
    leveret_broker: LeveretBroker, sender: Sender
) -> None:
    sender.send("emails", b"one", headers={"n": 1}, correlation_id="7")
    assert sender.channel.basic_get("emails", auto_ack=True)[2] == b"one"
    assert leveret_broker.messages("emails") == []
    found = leveret_broker.assert_published("emails", "one", headers={"n": 1}, correlation_id="7", count=1)
    assert (found.queues, found.vhost, found.headers) == (("emails",), "/", {"n": 1})


def test_queues_can_be_declared_for_the_code_under_test(
    leveret_broker: LeveretBroker, sender: Sender
) -> None:
    leveret_broker.declare("one", "two", x_max_priority=5)
    assert leveret_broker.queues() == ["emails", "one", "two"]
    sender.channel.queue_declare("two", durable=True, arguments={"x-max-priority": 5})  # as it is
    with pytest.raises(PreconditionFailed):
        leveret_broker.declare("one")


def test_messages_shows_what_waits(leveret_broker: LeveretBroker, sender: Sender) -> None:
    sender.send("emails", b"one", type="t")
    sender.flush()
    (waiting,) = leveret_broker.messages("emails")
    assert (waiting.body, waiting.key, waiting.properties.type) == (b"one", "emails", "t")
    with pytest.raises(ClientError, match="there are: 'emails', 'flushed'"):
        leveret_broker.messages("mails")


def test_where_a_message_was_routed_to(leveret_broker: LeveretBroker, sender: Sender) -> None:
    channel = sender.channel
    channel.exchange_declare("by-headers", "headers")
    for queue, exchange, key, arguments in (
        ("all", "amq.topic", "#", None),
        ("eu", "amq.topic", "orders.eu.*", None),
        ("red", "by-headers", "", {"colour": "red"}),
    ):
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange, key, arguments)
    sender.send("orders.eu.created", b"1", "amq.topic")
    sender.send("", b"2", "by-headers", headers={"colour": "red"})
    sender.send("", b"3", "by-headers", headers={"colour": "blue"})
    sender.send("nobody", b"4")
    sender.send("emails", b"5", headers={"CC": ["red"]})
    sender.flush()
    assert [set(each.queues) for each in leveret_broker.published()] == [
        {"all", "eu"}, {"red"}, set(), set(), {"emails", "red"},
    ]  # fmt: skip
    assert leveret_broker.assert_published("orders.*.created").body == b"1"
    assert leveret_broker.assert_published(leveret.topic("orders.eu.created")).body == b"1"
    assert [each.body for each in leveret_broker.published("red")] == [b"2", b"5"]
    assert [each.body for each in leveret_broker.published("by-headers")] == [b"2", b"3"]


def test_a_change_of_bindings_is_seen(leveret_broker: LeveretBroker, sender: Sender) -> None:
    """Looking at routes leaves the broker's own alone."""
    channel = sender.channel
    sender.send("k", b"1", "amq.direct")
    sender.flush()
    channel.queue_bind("emails", "amq.direct", "k")
    sender.send("k", b"2", "amq.direct")
    sender.flush()
    channel.queue_unbind("emails", "amq.direct", "k")
    sender.send("k", b"3", "amq.direct")
    sender.flush()
    assert [each.queues for each in leveret_broker.published("amq.direct")] == [(), ("emails",), ()]
    assert [each.body for each in leveret_broker.messages("emails")] == [b"2"]


def test_what_is_published_later_is_waited_for(leveret_broker: LeveretBroker, sender: Sender) -> None:
    asked = threading.Event()

    def send_later() -> None:
        asked.wait()
        sender.send("emails", b"late")
        sender.flush()

    thread = threading.Thread(target=send_later)
    thread.start()
    with pytest.raises(AssertionError, match="nothing at all was published"):
        leveret_broker.assert_published("emails", timeout_s=0)
    asked.set()
    leveret_broker.assert_published("emails", b"late", timeout_s=20)
    thread.join()


def test_on_a_loop_it_is_not_waited_for_but_by_wait_published(leveret_broker: LeveretBroker) -> None:
    async def main() -> None:
        async with leveret_broker.connect() as client:
            await client.declare_queue(leveret.Queue("emails"))
            with pytest.raises(AssertionError, match="it was not waited for: flush the client first"):
                leveret_broker.assert_published("emails")
            client.post("emails", {"to": "x"})
            assert (await leveret_broker.wait_published("emails", {"to": "x"})).key == "emails"
            await client.publish("emails", b"2")
            leveret_broker.assert_published("emails", b"2")

    run(main())


def test_the_failure_says_what_there_was(leveret_broker: LeveretBroker, sender: Sender) -> None:
    sender.send("emails", b'{"to": "a"}')
    with pytest.raises(AssertionError) as caught:
        leveret_broker.assert_published("emails", {"to": "b"}, timeout_s=0)
    assert "1. the body is {'to': 'a'}, not {'to': 'b'}" in str(caught.value)
    with pytest.raises(AssertionError, match="did you mean 'emails'"):
        leveret_broker.assert_published("email", timeout_s=0)
    with pytest.raises(AssertionError, match="1 messages, not 2,"):
        leveret_broker.assert_published("emails", count=2, timeout_s=0)


def test_nothing_like_it_was_published(leveret_broker: LeveretBroker, sender: Sender) -> None:
    leveret_broker.assert_not_published()
    sender.send("emails", b"one")
    sender.flush()
    leveret_broker.assert_not_published("other")
    leveret_broker.assert_not_published("emails", b"two")
    with pytest.raises(
        AssertionError, match=r"1 messages were published with body b'one':\n  1. to queue 'emails'"
    ):
        leveret_broker.assert_not_published("emails", b"one")
    with pytest.raises(ValueError, match="use assert_not_published"):
        leveret_broker.assert_published("emails", ANY, count=0)


def test_large_messages_and_pieces_of_frames(leveret_broker: LeveretBroker, sender: Sender) -> None:
    body = bytes(range(256)) * 4_000
    sender.send("emails", body)
    sender.send("emails", b"")
    sender.flush()
    assert [each.body for each in leveret_broker.published("emails")] == [body, b""]


def test_only_the_last_are_kept(leveret_broker: LeveretBroker, sender: Sender) -> None:
    for n in range(KEPT + 5):
        sender.send("emails", b"%d" % n)
    sender.flush()
    found = leveret_broker.published()
    assert (len(found), found[0].body, leveret_broker.tap.dropped) == (KEPT, b"5", 5)
    leveret_broker.tap.clear()
    assert leveret_broker.published() == []


def test_a_client_that_talks_nonsense(leveret_broker: LeveretBroker, sender: Sender) -> None:
    host, port = leveret_broker.broker.address
    with socket.create_connection((host, port)) as sock:
        sock.sendall(b"AMQP\0\0\x09\x01" + b"\x01\0\0\0\0\0\x04abcdX")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    sender.send("emails", b"one")
    leveret_broker.assert_published("emails")


SETTINGS = {"message_size_max_bytes": 2_000_000, "users": {"me": {"password": "secret"}}}


@pytest.mark.parametrize("leveret_settings", [SETTINGS])
def test_a_project_may_have_settings_of_its_own(leveret_broker: LeveretBroker) -> None:
    assert leveret_broker.url.startswith("amqp://me:secret@")

    async def main() -> None:
        async with leveret_broker.connect() as client:
            await client.declare_queue(leveret.Queue("q"))

    run(main())
    assert leveret_broker.queues() == ["q"]


def test_time_is_moved(leveret_broker: LeveretBroker, leveret_clock: BrokerClock, sender: Sender) -> None:
    sender.send("emails", b"one", expiration="3600000")
    sender.flush()
    before = leveret_clock.now()
    leveret_clock.advance(59, minutes=58)
    assert len(leveret_broker.messages("emails")) == 1
    leveret_clock.advance(timedelta(seconds=62))
    assert leveret_broker.messages("emails") == []
    assert (
        timedelta(0)
        <= leveret_clock.now() - before - timedelta(minutes=59, seconds=59)
        < timedelta(minutes=1)
    )
    leveret_clock.advance(days=1)
    assert abs(datetime.now(UTC) - leveret_clock.now()) > timedelta(hours=24)


def test_time_is_moved_to(leveret_clock: BrokerClock) -> None:
    there = datetime(2100, 1, 1, tzinfo=UTC)
    leveret_clock.move_to(there)
    assert timedelta(0) <= leveret_clock.now() - there < timedelta(minutes=1)
    with pytest.raises(ValueError, match="goes forward only"):
        leveret_clock.move_to(datetime(2099, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="has no time zone"):
        leveret_clock.move_to(datetime(2101, 1, 1))
    with pytest.raises(ValueError, match="goes forward only"):
        leveret_clock.advance(-1)


def test_a_delayed_message_comes_when_its_time_has(
    leveret_broker: LeveretBroker, leveret_clock: BrokerClock
) -> None:
    async def main() -> None:
        async with leveret_broker.connect() as client:
            await client.declare_queue(leveret.Queue("emails"))
            await client.publish("emails", b"tomorrow", delay_s=86_400)
            assert await client.get("emails", timeout_s=0) is None
            await asyncio.to_thread(leveret_clock.advance, days=1)
            message = await client.get("emails", timeout_s=10)
            assert message is not None and message.body == b"tomorrow"

    run(main())
