"""Sending: what is confirmed, what comes back, what is refused, and what each of them tells the sender."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret.client import Buffer, Client, Message, Outcome, Queue, connect, exchange, topic
from leveret.client.publisher import delay_of
from leveret.embed import Broker
from leveret.errors import (
    BufferFull,
    Closed,
    ConnectFailed,
    Disconnected,
    InvalidMessage,
    NotConfirmed,
    Refused,
    Unroutable,
    Unsupported,
)
from tests.client.inside import QUICKLY, cut, run, run_with_broker, until


async def only(client: Client, queue: str = "q") -> Message:
    message = await client.get(queue)
    assert message is not None
    assert await client.get(queue) is None
    await message.ack()
    return message


def test_a_published_message_is_there_when_publish_returns() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish("q", b"body")
        assert (await client.look_at_queue("q")).messages == 1
        message = await only(client)
        assert (message.body, message.persistent, message.redelivered) == (b"body", True, False)
        assert len(message.message_id or "") == 20
        assert client.stats.confirmed == 1

    run(work)


@pytest.mark.parametrize(
    "body, content_type, raw",
    [
        (b"\0\xff", "application/octet-stream", b"\0\xff"),
        ("grün", "text/plain; charset=utf-8", "grün".encode()),
        ({"a": [1, None]}, "application/json", b'{"a":[1,null]}'),
        (None, "application/json", b"null"),
        (b"", "application/octet-stream", b""),
    ],
)
def test_bodies_come_back_as_they_were(body: object, content_type: str, raw: bytes) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish("q", body)
        message = await only(client)
        assert (message.data, message.content_type, message.raw) == (body, content_type, raw)

    run(work)


def test_what_a_message_says_of_itself_arrives() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish(
            "q",
            "x",
            headers={"n": 1, "t": {"deep": ["list"]}},
            persistent=False,
            message_id="mine",
            correlation_id="c",
            reply_to="r",
            content_type="text/x",
            type="kind",
            priority=7,
            expires_s=60,
            app_id="app",
            timestamp=1_700_000_000,
        )
        message = await only(client)
        assert message.headers == {"n": 1, "t": {"deep": ["list"]}}
        assert (message.message_id, message.correlation_id, message.reply_to) == ("mine", "c", "r")
        assert (message.content_type, message.type, message.priority) == ("text/x", "kind", 7)
        assert (message.persistent, message.app_id, message.timestamp) == (False, "app", 1_700_000_000)
        assert message.properties.expiration == "60000"

    run(work)


@pytest.mark.parametrize("compress", [None, "gzip", "deflate"])
@pytest.mark.parametrize("post", [False, True])
def test_what_was_sent_before_does_not_matter(compress: str | None, post: bool) -> None:
    """Options and bodies of every kind among each other: each message is what it would be alone."""
    bodies: list[object] = [b"b" * 5000, b"c" * 5000, b"s", "long " * 1000, "t", ["j"] * 1000, ["j"]]
    options: list[dict[str, Any]] = [
        {}, {"compress": None}, {"compress": "gzip"}, {"compress": "deflate"}, {"persistent": False},
        {"persistent": False, "compress": "gzip"}, {"priority": 3}, {"headers": {"a": 1}}, {"type": "t"},
    ]  # fmt: skip

    async def work(client: Client) -> None:
        await client.declare_queue("q")
        for _ in range(2):
            for option in options:
                for body in bodies:
                    if post:
                        await client.post("q", body, **option)
                    else:
                        await client.publish("q", body, **option)
        await client.flush()
        for _ in range(2):
            for option in options:
                for body in bodies:
                    message = await client.get("q")
                    assert message is not None
                    packs = option.get("compress", compress)
                    encoding = packs if packs and len(message.body) >= 1024 else None
                    assert (message.data, message.content_encoding) == (body, encoding), option
                    assert message.headers == option.get("headers", {})
                    assert message.properties.delivery_mode == (1 if option.get("persistent") is False else 2)
                    assert (message.properties.priority, message.type) == (
                        option.get("priority"),
                        option.get("type"),
                    )
                    message.ack()

    run(work, compress=compress)


@pytest.mark.parametrize("compress", ["gzip", "deflate"])
def test_bodies_are_packed_on_the_way(compress: str) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish("q", "long " * 1000)
        await client.publish("q", "long " * 1000, compress=None)
        packed, plain = await client.get("q"), await client.get("q")
        assert packed is not None and plain is not None
        assert packed.data == plain.data == "long " * 1000
        assert packed.size_bytes < 500 < plain.size_bytes
        assert (packed.content_encoding, plain.content_encoding) == (compress, None)

    run(work, compress=compress)


def test_a_message_that_no_queue_gets_is_an_error_where_it_was_meant_for_one() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(Unroutable, match=r"'nowhere'.*declare the queue first"):
            await client.publish("nowhere", "x")
        await client.publish(topic("nobody.listens"), "x")  # a topic without subscribers is none
        with pytest.raises(Unroutable):
            await client.publish(topic("nobody.listens"), "x", mandatory=True)
        await client.publish("nowhere", "x", mandatory=False)
        assert (client.stats.unroutable, client.stats.confirmed) == (2, 2)

    run(work)


def test_a_full_queue_that_rejects_is_told() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(Queue("q", max_length=1, arguments={"x-overflow": "reject-publish"}))
        await client.publish("q", "first")
        with pytest.raises(NotConfirmed, match="queue 'q'"):
            await client.publish("q", "second")
        assert client.stats.refused == 1

    run(work)


def test_the_guilty_message_is_told_and_the_others_arrive() -> None:
    """The broker closes the channel for one of many, and does not say which."""

    async def work(client: Client) -> None:
        await client.declare_queue("q")
        sent = [asyncio.create_task(client.publish("q", f"{n}")) for n in range(5)]
        guilty = asyncio.create_task(client.publish(exchange("missing", "key"), "bad"))
        sent += [asyncio.create_task(client.publish("q", f"{n}")) for n in range(5, 10)]
        await asyncio.gather(*sent)
        with pytest.raises(Refused, match="no exchange 'missing'") as caught:
            await guilty
        assert caught.value.code == 404
        bodies = {message.data async for message in client.drain("q")}
        assert bodies == {f"{n}" for n in range(10)}
        await client.publish("q", "goes on")

    run(work)


def test_posting_returns_at_once_and_flush_waits() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        for number in range(1000):
            client.post("q", number)
        assert client.stats.buffered == 1000
        assert client.stats.buffered_bytes > 50_000
        await client.flush()
        assert (await client.look_at_queue("q")).messages == 1000
        stats = client.stats
        assert (stats.posted, stats.confirmed, stats.buffered, stats.buffered_bytes) == (1000, 1000, 0, 0)
        assert [message.data async for message in client.drain("q")] == list(range(1000))

    run(work)


def test_every_outcome_is_told() -> None:
    told: list[Outcome] = []
    special: list[Outcome] = []

    async def work(client: Client) -> None:
        await client.declare_queue("q")
        client.post("q", "good", message_id="one")
        client.post("nowhere", "lost")
        client.post(exchange("missing"), "bad", on_outcome=special.append)
        await client.flush()

    run(work, on_outcome=told.append)
    good, lost = told
    assert (good.ok, good.message_id, good.to, good.body, good.error) == (True, "one", "q", "good", None)
    assert not lost.ok and isinstance(lost.error, Unroutable)
    (bad,) = special
    assert isinstance(bad.error, Refused) and len(bad.message_id) == 20


def test_a_callback_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def bad(outcome: Outcome) -> None:
        raise RuntimeError("of the application")

    async def work(client: Client) -> None:
        await client.declare_queue("q")
        client.post("q", 1, on_outcome=bad)
        client.post("q", 2)
        await client.flush()
        assert client.stats.confirmed == 2

    run(work)
    assert "callback" in caplog.text


def test_many_at_once() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish_many("q", (f"{n}" for n in range(2500)), type="batch")
        await client.publish_many("q", [])
        one: Any
        for one in ("abc", b"abc", bytearray(b"abc"), {"a": 1}):
            with pytest.raises(
                TypeError, match=r"several messages, such as a list, and not one .*: use publish"
            ):
                await client.publish_many("q", one)
        assert (await client.look_at_queue("q")).messages == 2500
        with pytest.raises(Unroutable):
            await client.publish_many("nowhere", ["a", "b"])

    run(work, buffer=Buffer(messages=100))


@pytest.mark.parametrize("buffer", [Buffer(messages=10), Buffer(size_bytes=2000)])
def test_a_full_buffer_makes_who_awaits_wait(buffer: Buffer) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        most = 0
        for number in range(200):
            await client.post("q", b"x" * 50, correlation_id=f"{number}")
            most = max(most, client.stats.buffered)
        await client.flush()
        assert 5 <= most <= 30
        assert (await client.look_at_queue("q")).messages == 200

    run(work, buffer=buffer)


def test_a_full_buffer_refuses_who_does_not_wait() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        with pytest.raises(BufferFull, match="await post"):
            for _ in range(100):
                client.post("q", b"x")
        assert client.stats.buffered == 20
        await client.flush()
        client.post("q", b"x")

    run(work, buffer=Buffer(messages=10))


def test_a_full_buffer_raises_or_drops_where_it_is_told_to() -> None:
    async def raises(client: Client) -> None:
        await client.declare_queue("q")
        with pytest.raises(BufferFull):
            for _ in range(100):
                client.post("q", b"x")
        assert client.stats.buffered == 10

    async def drops(client: Client) -> None:
        await client.declare_queue("q")
        for _ in range(100):
            client.post("q", b"x")
        await client.flush()
        assert (client.stats.dropped, client.stats.confirmed) == (90, 10)

    run(raises, buffer=Buffer(messages=10, full="raise"))
    run(drops, buffer=Buffer(messages=10, full="drop"))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"priority": 256}, "priority"),
        ({"expires_s": -1}, "expires_s"),
        ({"delay_s": -1}, "delay_s"),
        ({"delay_s": 1, "at": datetime.now(UTC)}, "exclude"),
        ({"headers": {"x": object()}}, "cannot be encoded"),
        ({"type": "t" * 256}, "cannot be encoded"),
        ({"type": ["t"]}, r"type is a text \(str\), not \['t'\] \(list\)"),
        ({"message_id": 5}, "message_id is a text"),
        ({"correlation_id": b"x"}, "correlation_id is a text"),
        ({"priority": "high"}, "priority is a whole number"),
        ({"priority": 1.5}, "priority is a whole number"),
        ({"expires_s": timedelta(seconds=5)}, "expires_s is a number of seconds"),
        ({"expires_s": float("inf")}, "expires_s is a number of seconds"),
        ({"delay_s": float("nan")}, "delay_s is a number of seconds"),
        ({"at": "tomorrow"}, "at is a datetime"),
        ({"timestamp": datetime.now(UTC)}, "timestamp is whole seconds"),
        ({"headers": [1]}, "headers is a mapping"),
        ({"headers": {1: "x"}}, "name of a header is a text"),
        ({"persistent": 2}, "persistent is True or False"),
    ],
)
def test_what_makes_no_message_is_refused_before_it_leaves(options: Any, text: str) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        with pytest.raises(InvalidMessage, match=text):
            await client.publish("q", "x", **options)
        with pytest.raises(InvalidMessage, match=text):
            client.post("q", "x", **options)
        await client.publish("q", "fine")
        assert client.stats.buffered == 0

    run(work)


def test_an_option_that_there_is_not_is_no_message() -> None:
    async def work(client: Client) -> None:
        wrong: Any = {"delay": 5}
        await client.declare_queue("q")
        for send in (client.publish, client.call):
            with pytest.raises(TypeError, match="no option 'delay'; 'delay_s' is meant"):
                await send("q", b"x", **wrong)
        with pytest.raises(TypeError, match="no option 'xyz'; there are headers, "):
            client.post("q", b"x", xyz=1)  # type: ignore[call-arg]
        assert (await client.look_at_queue("q")).messages == 0

    run(work)


@pytest.mark.parametrize("to", [None, 5, b"q", Queue("q")])
def test_what_is_no_place_to_send_to_is_refused(to: Any) -> None:
    async def work(client: Client) -> None:
        for send in (client.publish, client.call):
            with pytest.raises(InvalidMessage, match="goes to the name of a queue"):
                await send(to, b"x")
        with pytest.raises(InvalidMessage, match="goes to the name of a queue"):
            client.post(to, b"x", persistent=False)

    run(work)


def test_delays() -> None:
    assert delay_of({}) == 0
    assert delay_of({"delay_s": 1.5}) == 1500
    assert 59_000 < delay_of({"at": datetime.now(UTC) + timedelta(minutes=1)}) <= 60_000
    assert 59_000 < delay_of({"at": datetime.now() + timedelta(minutes=1)}) <= 60_000  # local time
    assert delay_of({"at": datetime(2020, 1, 1, tzinfo=UTC)}) == 0


def test_a_delayed_message_waits_in_the_broker() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            await client.declare_queue("q")
            await client.publish("q", "later", delay_s=60)
            assert await client.get("q") is None
            await broker.advance(61)
            message = await client.get("q", timeout_s=5)
            assert message is not None and message.data == "later"

    run_with_broker(work)


def test_groups_and_unique_messages_are_leverets_own() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(Queue("g", groups=True))
        await client.publish("g", "x", group="customer-1")
        assert (await only(client, "g")).headers["x-group-id"] == "customer-1"
        await client.declare_queue(Queue("u", unique="refuse"))
        await client.publish("u", "x", unique="key")
        with pytest.raises(NotConfirmed):
            await client.publish("u", "y", unique="key")

    run(work)


def test_what_the_broker_does_not_have_is_refused() -> None:
    async def work(client: Client) -> None:
        client.features = type(client.features)()  # as of another broker
        for options in ({"group": "g"}, {"unique": "u"}):
            with pytest.raises(Unsupported, match="does not offer"):
                await client.publish("q", "x", **options)  # type: ignore[arg-type]
        for queue in (Queue("g", groups=True), Queue("u", unique="refuse"), Queue("d", deduplicate_s=5)):
            with pytest.raises(Unsupported):
                await client.declare_queue(queue)

    run(work)


def test_unconfirmed_messages_are_sent_again_with_their_ids() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        for number in range(50):
            client.post("q", number)
        tasks = [asyncio.create_task(client.publish("q", number)) for number in range(50, 60)]
        await asyncio.sleep(0)
        await cut(client)
        client.post("q", 60)
        await asyncio.gather(*tasks)
        await client.flush()
        found = [(message.data, message.message_id) async for message in client.drain("q")]
        assert {data for data, _ in found} == set(range(61))
        assert len(set(found)) == 61  # what came twice has one id
        assert client.stats.reconnects == 1

    run(work)


def test_without_reconnecting_who_waits_is_told() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        told: list[Outcome] = []
        client.post("q", "x", on_outcome=told.append)
        task = asyncio.create_task(client.publish("q", "y"))
        await asyncio.sleep(0)
        await cut(client)
        with pytest.raises(Disconnected):
            await task
        assert isinstance(told[0].error, Disconnected)
        with pytest.raises(Disconnected):
            await client.publish("q", "z")

    run(work, reconnect=False)


def test_a_closed_client_says_so() -> None:
    async def work(broker: Broker) -> None:
        client = broker.connect()
        with pytest.raises(Closed, match="not open"):
            client.post("q", "x")
        async with client:
            await client.declare_queue("q")
            client.post("q", "last words")
        with pytest.raises(Closed):
            await client.publish("q", "x")
        with pytest.raises(Closed):
            await client.open()
        await client.close()
        async with broker.connect() as other:
            assert (await only(other)).data == "last words"

    run_with_broker(work)


def test_nobody_there_is_told_for_every_address() -> None:
    async def main() -> None:
        with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:1: .*; 127\.0\.0\.1:2: "):
            await connect("amqp://127.0.0.1:1", "amqp://127.0.0.1:2").open()

    asyncio.run(main())


def test_a_wrong_password_is_told() -> None:
    async def work(broker: Broker) -> None:
        with pytest.raises(ConnectFailed, match="refused") as caught:
            await connect(broker, credentials=("guest", "wrong")).open()
        assert caught.value.code == 403
        assert "wrong" not in str(caught.value)

    run_with_broker(work)


def test_publishing_may_be_given_up() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect(reconnect=QUICKLY) as client:
            await client.declare_queue("q")
            assert client.link is not None
            client.link.blocked = "as if the disk were full"
            with pytest.raises(TimeoutError):
                await client.publish("q", "x", timeout_s=0.01)
            with pytest.raises(TimeoutError):
                await client.flush(timeout_s=0.01)
            assert client.stats.blocked
            client.link.blocked = ""
            await client.publish("q", "y")
            assert [message.data async for message in client.drain("q")] == ["x", "y"]

    run_with_broker(work)


def test_a_broker_that_takes_no_messages_for_a_while_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            await client.declare_queue("q")
            server = broker._server
            assert server is not None and client.link is not None
            for link in server.links.values():
                link.connection.block("low on disk")
            server.schedule()
            link_of_client = client.link
            await until(lambda: client.stats.blocked == "low on disk")
            for number in range(10):
                client.post("q", number)
            await asyncio.sleep(0)
            assert client.stats.buffered == 10
            assert (await client.look_at_queue("q")).messages == 0
            for link in server.links.values():
                link.connection.unblock()
            server.schedule()
            await client.flush()
            assert (await client.look_at_queue("q")).messages == 10
            assert client.link is link_of_client and client.stats.blocked == ""

    run_with_broker(work)
    assert "low on disk" in caplog.text
