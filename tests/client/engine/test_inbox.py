"""Bytes from a broker become messages, confirms and events, however they are cut; and messages say what they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from librt.strings import BytesWriter

from leveret.client.engine.inbox import Channel, Event, Inbox
from leveret.client.engine.message import READY, Handling, Message
from leveret.client.engine.outbox import Outbox
from leveret.client.engine.output import Output
from leveret.errors import (
    AlreadySettled,
    FrameError,
    LeveretError,
    MalformedFrame,
    Reject,
    RetryLater,
    Stale,
    UnexpectedFrame,
)
from leveret.wire import methods
from leveret.wire.frames import HEARTBEAT, FrameSplitter, body_frames, content_header
from leveret.wire.properties import Properties, encode_properties
from leveret.wire.signatures import decode_method
from tests.client.engine.test_outbox import template


class Recorder(Handling):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.queue = "jobs"
        self.asked: list[tuple[str, object]] = []

    def decode(self, message: Message, into: object) -> object:
        return message.body.decode()

    def expand(self, message: Message) -> bytes:
        return message.raw[::-1]

    def retry(self, message: Message, delay_s: float | None) -> Awaitable[None]:
        self.asked.append(("retry", delay_s))
        return message.drop()

    def reject(self, message: Message, reason: str) -> Awaitable[None]:
        self.asked.append(("reject", reason))
        return message.drop()

    def reply(self, message: Message, body: object, options: dict[str, object]) -> Awaitable[None]:
        self.asked.append(("reply", body))
        return READY


def content(
    out: BytesWriter, channel: int, body: bytes, properties: Properties | None = None, frame_max: int = 4096
) -> None:
    content_header(out, channel, len(body), encode_properties(properties or Properties()))
    body_frames(out, channel, body, frame_max)


def delivery(tag: int, body: bytes, properties: Properties | None = None, redelivered: bool = False) -> bytes:
    out = BytesWriter()
    methods.basic_deliver_raw(out, 1, "tag", tag, redelivered, methods.route_bytes("amq.topic", "a.b"))
    content(out, 1, body, properties)
    return out.getvalue()


def opened(outbox: Outbox | None = None, no_ack: bool = False) -> tuple[Inbox, Channel, Recorder, Output]:
    inbox, recorder, output = Inbox(), Recorder(), Output(lambda: None)
    channel = Channel(1, output, recorder, outbox, no_ack)
    inbox.channels[1] = channel
    return inbox, channel, recorder, output


def one_message(
    properties: Properties | None = None, redelivered: bool = False
) -> tuple[Message, Channel, Recorder, Output]:
    inbox, channel, recorder, output = opened()
    assert inbox.receive(delivery(1, b"body", properties, redelivered)) == []
    (message,) = channel.take()
    return message, channel, recorder, output


STREAM = b"".join(
    [
        delivery(1, b"first"),
        HEARTBEAT,
        delivery(2, b"", redelivered=True),
        delivery(3, b"z" * 10_000),  # three frames
    ]
)


@pytest.mark.parametrize("step", [1, 2, 7, 1000, len(STREAM)])
def test_deliveries_are_whole_however_they_are_cut(step: int) -> None:
    inbox, channel, _, _ = opened()
    events: list[Event] = []
    for at in range(0, len(STREAM), step):
        events += inbox.receive(STREAM[at : at + step])
    assert events == []
    messages = channel.take()
    assert [one.body for one in messages] == [b"first", b"", b"z" * 10_000]
    assert [one.redelivered for one in messages] == [False, True, False]
    assert {(one.exchange, one.key, one.queue) for one in messages} == {("amq.topic", "a.b", "jobs")}
    assert channel.settling.unsettled == 3
    assert inbox.touched == [channel]


def test_confirms_and_returns_go_to_the_outbox_in_their_order() -> None:
    outbox = Outbox(1, b"0123456789")
    inbox, _, _, _ = opened(outbox)
    for name in "abc":
        outbox.add(template(), b"x", name)
    outbox.take(1_000_000)
    out = BytesWriter()
    methods.basic_ack(out, 1, 1, False)
    methods.basic_return_raw(out, 1, 312, "NO_ROUTE", methods.route_bytes("", "q"))
    content(out, 1, b"x", Properties(message_id="01234567890000000001"))
    methods.basic_ack(out, 1, 2, False)
    methods.basic_nack(out, 1, 3, False, False)
    assert inbox.receive(out.getvalue()) == []
    assert inbox.confirms
    assert [(one.owner, one.verdict, one.text) for one in outbox.done] == [
        ("a", 0, ""),
        ("b", 2, "312 NO_ROUTE"),
        ("c", 1, ""),
    ]


def test_everything_else_is_an_event() -> None:
    inbox, channel, _, _ = opened()
    out = BytesWriter()
    methods.queue_declare_ok(out, 1, "q", 5, 2)
    methods.basic_get_ok_raw(out, 1, 9, True, methods.route_bytes("", "jobs"), 3)
    content(out, 1, b"got")
    methods.connection_blocked(out, "low on disk")
    declared, got, blocked = inbox.receive(out.getvalue())
    assert decode_method(declared.payload).fields["message_count"] == 5
    message = channel.got(got)
    assert (message.body, message.redelivered, message.key) == (b"got", True, "jobs")
    assert (blocked.channel, blocked.method) == (0, methods.CONNECTION_BLOCKED)


def test_what_comes_by_a_closed_channel_is_dropped() -> None:
    inbox, channel, _, _ = opened()
    inbox.forget(1)
    assert inbox.receive(delivery(1, b"late")) == []
    assert channel.take() == []


@pytest.mark.parametrize(
    "data, error",
    [
        (delivery(1, b"x")[:-1] + b"\0", FrameError),
        (b"\x09\0\1\0\0\0\0\xce", LeveretError),
        (b"\2\0\1\0\0\0\3abc\xce", UnexpectedFrame),
        (b"\3\0\1\0\0\0\1a\xce", UnexpectedFrame),
        (b"\1\0\1\0\0\0\2ab\xce", MalformedFrame),
        (delivery(1, b"xy")[:-3] + b"y\xce" + b"\3\0\1\0\0\0\1a\xce", LeveretError),
    ],
)
def test_frames_that_cannot_be_are_errors(data: bytes, error: type[LeveretError]) -> None:
    inbox, _, _, _ = opened()
    with pytest.raises(error):
        inbox.receive(data)


def test_a_frame_beyond_what_was_agreed_is_an_error_before_it_is_here() -> None:
    inbox, _, _, _ = opened()
    inbox.frame_max_bytes = 4096
    with pytest.raises(FrameError, match="frame_too_large"):
        inbox.receive(b"\3\0\1\0\1\0\0")


def test_properties_are_there_when_asked_for() -> None:
    properties = Properties(
        content_type="text/plain",
        headers={"x": 1},
        delivery_mode=2,
        priority=4,
        correlation_id="c",
        reply_to="r",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        app_id="a",
    )
    message, *_ = one_message(properties)
    assert (message.content_type, message.headers, message.persistent) == ("text/plain", {"x": 1}, True)
    assert (message.priority, message.correlation_id, message.reply_to) == (4, "c", "r")
    assert (message.message_id, message.timestamp, message.type, message.app_id) == (
        "m",
        1_700_000_000,
        "t",
        "a",
    )
    assert (message.data, message.size_bytes, message.error) == ("body", 4, None)


def test_properties_that_are_not_there_are_none() -> None:
    message, *_ = one_message()
    assert (message.content_type, message.headers, message.persistent) == (None, {}, False)
    assert (message.message_id, message.type, message.reply_to, message.priority) == (None, None, None, None)
    assert message.body == b"body"


def test_a_body_that_was_packed_is_unpacked_once() -> None:
    message, *_ = one_message(Properties(content_encoding="reversed"))
    assert (message.body, message.raw) == (b"ydob", b"body")


@pytest.mark.parametrize(
    "headers, redelivered, attempts",
    [
        (None, False, 1),
        (None, True, 2),
        ({"x-retry-count": 3}, True, 4),
        ({"x-delivery-count": 1}, True, 2),
        ({"x-attempts": 2, "x-delivery-count": 0}, False, 3),
        ({"x-retry-count": "many"}, True, 2),
        ({"other": 1}, False, 1),
    ],
)
def test_attempts(headers: dict[str, object] | None, redelivered: bool, attempts: int) -> None:
    message, *_ = one_message(Properties(headers=headers), redelivered)
    assert message.attempts == attempts


def said(output: Output) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for frame in FrameSplitter().feed(output.take()):
        method = decode_method(frame.payload)
        found.append((method.name, bool(method.fields.get("requeue"))))
    return found


def test_a_message_is_settled_once() -> None:
    message, _, _, output = one_message()
    message.ack()
    assert message.settled
    for settle in (message.ack, message.release, message.drop, message.hold):
        with pytest.raises(AlreadySettled, match="jobs"):
            settle()
    assert said(output) == [("basic.ack", False)]


def test_a_message_of_a_channel_that_is_gone_cannot_be_settled() -> None:
    message, channel, _, output = one_message()
    assert not message.stale
    channel.lose()
    assert message.stale
    for settle in (message.ack, message.release, message.drop):
        with pytest.raises(Stale, match="again"):
            settle()
    assert not message.settled
    assert said(output) == []


def test_a_message_that_is_held_is_finished_or_undone() -> None:
    first, _, _, output = one_message()
    first.hold()
    assert said(output) == []
    first.finish()
    assert said(output) == [("basic.ack", False)]
    second, channel, _, output = one_message()
    second.hold()
    second.undo()
    assert said(output) == [("basic.nack", True)]
    channel.lose()
    second.finish()
    assert said(output) == []


def test_without_acks_there_is_nothing_to_settle() -> None:
    inbox, channel, _, _ = opened(no_ack=True)
    inbox.receive(delivery(1, b"x"))
    (message,) = channel.take()
    assert message.settled
    with pytest.raises(AlreadySettled):
        message.ack()


@pytest.mark.parametrize(
    "error, asked, wire",
    [
        (None, [], [("basic.ack", False)]),
        (Reject("bad"), [("reject", "bad")], [("basic.nack", False)]),
        (RetryLater("busy", 5.0), [("retry", 5.0)], [("basic.nack", False)]),
        (ValueError("oops"), [("retry", None)], [("basic.nack", False)]),
        (KeyboardInterrupt(), [], [("basic.nack", True)]),
        (asyncio.CancelledError(), [], [("basic.nack", True)]),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_context_manager_settles_by_outcome(
    error: BaseException | None, asked: list[object], wire: list[object], asynchronous: bool
) -> None:
    message, _, recorder, output = one_message()

    async def handle() -> None:
        if asynchronous:
            async with message as inside:
                assert inside is message
                if error is not None:
                    raise error
        else:
            with message:
                if error is not None:
                    raise error

    if error is None:
        asyncio.run(handle())
    else:
        with pytest.raises(type(error)):
            asyncio.run(handle())
    assert recorder.asked == asked
    assert said(output) == wire


def test_who_settled_inside_is_left_alone() -> None:
    message, _, recorder, output = one_message()
    with message:
        message.release()
    assert said(output) == [("basic.nack", True)]
    assert recorder.asked == []
    message.reply("answer")
    assert recorder.asked == [("reply", "answer")]


def test_settling_may_be_awaited() -> None:
    async def main() -> None:
        message, *_ = one_message()
        await message.ack()

    asyncio.run(main())
