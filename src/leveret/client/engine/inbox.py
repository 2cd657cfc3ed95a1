"""Bytes from a broker, cut and sorted: deliveries become messages of their channel, confirms go to its outbox, and
everything else is an event for whoever leads the conversation.

Knows frames and which method carries content. Holds no socket, calls nobody back; after `receive` the caller looks at
what has come. A frame that cannot be is an error (LeveretError), after which the connection is of no more use.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import read_i32_be, read_i64_be

from leveret.client.engine.message import FLAGS_AT, Handling, Message
from leveret.client.engine.outbox import Outbox
from leveret.client.engine.output import Output, Settling
from leveret.errors import MalformedFrame, UnexpectedFrame
from leveret.native import i64
from leveret.wire.buffer import Reader
from leveret.wire.frames import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEAD_BYTES,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    frame_error,
)
from leveret.wire.methods import BASIC_ACK, BASIC_DELIVER, BASIC_GET_OK, BASIC_NACK, BASIC_RETURN
from leveret.wire.properties import MESSAGE_ID, text_at

HEADER_BYTES: Final = 14  # of a content header, up to and with the property flags


@final
class Event:
    """A method that is not of every day, with its content if it carries one. `payload` begins with the method's number."""

    def __init__(self, channel: int, method: int, payload: bytes, header: bytes, body: bytes) -> None:
        self.channel = channel
        self.method = method
        self.payload = payload
        self.header = header
        self.body = body


@final
class Channel:
    """What comes in by one channel. It serves one consumer at most, whose messages are `ready`."""

    def __init__(
        self, number: int, output: Output, handling: Handling, outbox: Outbox | None, no_ack: bool
    ) -> None:
        self.number = number
        self.settling = Settling(number, output)
        self.handling = handling
        self.outbox = outbox
        self.no_ack = no_ack
        self.ready: list[Message] = []
        self.delivered: i64 = 0
        # of the content that is coming in
        self._payload = b""
        self._header = b""
        self._method: i64 = 0  # 0: no content is due
        self._left: i64 = -1  # -1: the header is due
        self._parts: list[bytes] = []

    def take(self) -> list[Message]:
        ready = self.ready
        self.ready = []
        return ready

    def begin(self, method: i64, payload: bytes) -> None:
        if self._method != 0:
            raise UnexpectedFrame("a method came where the rest of a message was due")
        self._method = method
        self._payload = payload
        self._left = -1

    def header(self, data: bytes, at: i64, end: i64) -> bool:
        """Whether the content is whole."""
        if self._method == 0 or self._left >= 0:
            raise UnexpectedFrame("a content header came where none was due")
        if end - at < HEADER_BYTES:
            raise MalformedFrame("a content header is too short")
        self._header = data[at:end]
        self._left = read_i64_be(data, at + 4)
        return self._left == 0

    def part(self, data: bytes, at: i64, end: i64) -> bool:
        if self._method == 0 or self._left <= 0 or end - at > self._left:
            raise UnexpectedFrame("a body frame came where none was due")
        self._left -= end - at
        self._parts.append(data[at:end])
        return self._left == 0

    def finish(self) -> Event | None:
        """The content is whole: a message is ready, or somebody has to look at an event."""
        parts = self._parts
        body = b"" if not parts else parts[0] if len(parts) == 1 else b"".join(parts)
        if parts:
            self._parts = []
        method = self._method
        self._method = 0
        payload = self._payload
        if method == BASIC_RETURN and self.outbox is not None:
            self._returned(self.outbox)
            return None
        if method != BASIC_DELIVER:
            return Event(self.number, int(method), payload, self._header, body)
        at = 4 + 1 + i64(payload[4])  # the consumer tag: one consumer a channel
        self.ready.append(
            self.message(
                read_i64_be(payload, at), payload[at + 8] != 0, payload[at + 9 :], self._header, body
            )
        )
        self.delivered += 1
        return None

    def _returned(self, outbox: Outbox) -> None:
        """In its place among the confirms: the message's own comes next."""
        reader = Reader(self._payload, 4)
        code = reader.short()
        text = f"{code} {reader.shortstr()}"
        message_id = text_at(self._header, FLAGS_AT, len(self._header), MESSAGE_ID)
        outbox.returned((message_id or "").encode("utf-8", "surrogateescape"), text)

    def message(self, tag: i64, redelivered: bool, route: bytes, header: bytes, body: bytes) -> Message:
        settling: Settling | None = None
        if not self.no_ack:
            settling = self.settling
            settling.delivered()
        message = Message(settling, self.handling, tag, redelivered, route, header)
        message.raw = body
        return message

    def got(self, event: Event) -> Message:
        """The message of a basic.get-ok."""
        payload = event.payload
        route = payload[13 : len(payload) - 4]
        return self.message(read_i64_be(payload, 4), payload[12] != 0, route, event.header, event.body)

    def lose(self) -> None:
        """The channel is gone: what came by it cannot be settled any more."""
        self.settling.alive = False


@final
class Inbox:
    """`channels` by number. `touched` are those that got messages since the caller last cleared it."""

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.touched: list[Channel] = []
        self.confirms = False  # some came
        self.frame_max_bytes: i64 = 0  # 0: any
        self._rest = b""
        self._channel: Channel | None = None  # the one last looked up

    def receive(self, data: bytes) -> list[Event]:
        whole = self._rest + data if self._rest else data
        length = i64(len(whole))
        events: list[Event] = []
        pos: i64 = 0
        while length - pos >= FRAME_HEAD_BYTES:
            size = i64(read_i32_be(whole, pos + 3)) & 0xFFFFFFFF
            if self.frame_max_bytes > 0 and size > self.frame_max_bytes:
                raise frame_error(i64(whole[pos]), b"", f"{{frame_too_large,{size},{self.frame_max_bytes}}}")
            end = pos + FRAME_HEAD_BYTES + size
            if end >= length:
                break
            if i64(whole[end]) != FRAME_END:
                raise frame_error(i64(whole[pos]), b"", f"{{invalid_frame_end_marker,{whole[end]}}}")
            number = (i64(whole[pos + 1]) << 8) | i64(whole[pos + 2])
            event = self._frame(i64(whole[pos]), number, whole, pos + FRAME_HEAD_BYTES, end)
            if event is not None:
                events.append(event)
            pos = end + 1
        self._rest = whole[pos:] if pos < length else b""
        return events

    def _frame(self, kind: i64, number: i64, data: bytes, at: i64, end: i64) -> Event | None:
        if kind == FRAME_METHOD:
            return self._method(number, data, at, end)
        if kind == FRAME_HEARTBEAT:
            return None
        channel = self._find(number)
        if channel is None:
            return None  # of a channel that we have closed, on its way when we did
        if kind == FRAME_HEADER:
            whole = channel.header(data, at, end)
        elif kind == FRAME_BODY:
            whole = channel.part(data, at, end)
        else:
            raise frame_error(kind, data[at:end], "unknown_frame")
        if not whole:
            return None
        before = len(channel.ready)
        event = channel.finish()
        if before == 0 and len(channel.ready) > 0:
            self.touched.append(channel)
        return event

    def _find(self, number: i64) -> Channel | None:
        channel = self._channel
        if channel is None or channel.number != number:
            channel = self.channels.get(int(number))
            self._channel = channel
        return channel

    def _method(self, number: i64, data: bytes, at: i64, end: i64) -> Event | None:
        if end - at < 4:
            raise MalformedFrame("a method frame is too short")
        method = i64(read_i32_be(data, at))
        if method == BASIC_DELIVER or method == BASIC_GET_OK or method == BASIC_RETURN:
            channel = self._find(number)
            if channel is not None:
                channel.begin(method, data[at:end])
            return None
        if method == BASIC_ACK or method == BASIC_NACK:
            channel = self._find(number)
            if channel is not None and channel.outbox is not None and end - at >= 13:
                bits = i64(data[at + 12])
                channel.outbox.confirm(read_i64_be(data, at + 4), bits & 1 != 0, method == BASIC_ACK)
                self.confirms = True
            return None
        return Event(int(number), int(method), data[at:end], b"", b"")

    def forget(self, number: int) -> None:
        """The channel is closed; what still comes by it is dropped."""
        channel = self.channels.pop(number, None)
        if channel is not None:
            channel.lose()
        self._channel = None
