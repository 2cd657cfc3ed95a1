"""The content of a publish as its frames come in (AMQP 0-9-1, 4.2.6), until it is a message.

    header frame, then body frames until they have as many bytes as the header says

The frames are kept as received, since that is how they go out again; only a body in splinters is put together anew.
Who sends what, and what becomes of a message, is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, read_i64_be

from leveret import limits
from leveret.errors import FrameError, MalformedFrame, PeerError, PreconditionFailed, UnexpectedFrame
from leveret.message import AMQP091, Message
from leveret.native import i64
from leveret.wire import methods as wire
from leveret.wire.frames import body_frames
from leveret.wire.properties import (
    EXPIRATION,
    Properties,
    check_properties,
    decode_properties,
    delivery_mode_at,
    find_property,
)

if TYPE_CHECKING:
    from leveret.protocol.amqp091.connection import Connection

METHOD: Final[i64] = 1
HEADER: Final[i64] = 2
BODY: Final[i64] = 3
BASIC: Final[i64] = 60
PROPERTIES: Final[i64] = 19  # where in a header frame the property flags are
BODY_CEILING: Final[i64] = limits.MESSAGE_SIZE_CEILING_BYTES
EXPIRATION_MAX_MS: Final = limits.DELAY_MAX_MS
EXPIRATION_MAX: Final[i64] = EXPIRATION_MAX_MS
SPLINTER_BYTES: Final[i64] = 2_048  # body frames that are smaller, but for the last, are not kept as they are
PIECE_BYTES: Final[i64] = 64  # what a frame costs beside its bytes


class Content:
    """raw: the arguments of the publish; pieces: its header frame and body frames; kept_bytes: what they take."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.pieces: list[bytes] = []
        self.size: i64 = 0
        self.left: i64 = 0
        self.kept_bytes: i64 = 0
        self.splintered = False

    def take(self, kind: i64, frame: bytes, connection: Connection) -> bool:
        """One more frame. True when it was the last. Errors are worded as in rabbit_command_assembler."""
        if not self.pieces:
            self._header(kind, frame, connection.settings.message_size_max_bytes)
        elif not self._body(kind, frame):
            return False
        self.pieces.append(frame)
        more = i64(len(frame)) + PIECE_BYTES
        self.kept_bytes += more
        connection.gathering(more)
        return self.left == 0

    def _header(self, kind: i64, frame: bytes, limit: i64) -> None:
        if kind != HEADER or (read_i16_be(frame, 9) != 0 and read_i16_be(frame, 7) == BASIC):  # a weight
            raise unexpected("expected content header for class 60, got non content header frame instead")
        cls = i64(read_i16_be(frame, 7)) & 0xFFFF
        if cls != BASIC:
            raise unexpected(f"expected content header for class 60, got one for class {int(cls)} instead")
        size = read_i64_be(frame, 11)
        if size < 0 or size > BODY_CEILING:
            unsigned = int(size) & 0xFFFF_FFFF_FFFF_FFFF
            text = f"content body size {unsigned} exceeds maximum allowed size {int(BODY_CEILING)}"
            raise at_method(FrameError(text), wire.BASIC_PUBLISH)
        if size > limit:  # RabbitMQ says so too, but only once it has read it all
            text = f"message size {int(size)} is larger than configured max size {int(limit)}"
            raise at_method(PreconditionFailed(text), wire.BASIC_PUBLISH)
        self.size = size
        self.left = size

    def _body(self, kind: i64, frame: bytes) -> bool:
        """False for a frame with nothing in it, which is allowed and not kept."""
        if kind != BODY:
            raise unexpected("expected content body, got non content body frame instead")
        size: i64 = i64(len(frame)) - 8
        if size > self.left:
            text = "content body frame exceeds remaining content size"
            raise at_method(FrameError(text), wire.BASIC_PUBLISH)
        self.left -= size
        if size < SPLINTER_BYTES and self.left > 0:
            self.splintered = True
        return size > 0

    def message(self, frame_max: i64) -> Message:
        """The message, once it is whole; its route is still to be found. Raises MalformedFrame."""
        header = self.pieces[0]
        end: i64 = i64(len(header)) - 1
        try:
            check_properties(header, PROPERTIES, end)
        except MalformedFrame as error:
            raise at_method(error, wire.BASIC_PUBLISH) from None
        flags: i64 = i64(read_i16_be(header, PROPERTIES)) & 0xFFFF
        persistent = flags != 0 and delivery_mode_at(header, PROPERTIES, flags, end) == 2
        data = self._joined(frame_max) if self.splintered else b"".join(self.pieces)
        return Message(data, b"", self.size, persistent, AMQP091)

    def _joined(self, frame_max: i64) -> bytes:
        """The body in frames as large as may be, instead of splinters."""
        out = BytesWriter()
        out.write(self.pieces[0])
        channel = (i64(self.pieces[0][1]) << 8) | i64(self.pieces[0][2])
        body = b"".join([piece[7:-1] for piece in self.pieces[1:]])
        body_frames(out, channel, body, frame_max)
        return out.getvalue()


def unexpected(text: str) -> PeerError:
    return at_method(UnexpectedFrame(text), wire.BASIC_PUBLISH)


def at_method(error: PeerError, method: i64) -> PeerError:
    """The error with the method that failed, which the close names."""
    error.method = int(method)
    return error


def properties_of(m: Message) -> Properties:
    """The decoded properties of a message of this protocol: its header frame's payload begins at byte 7."""
    size: i64 = i64(read_i32_be(m.data, 3))
    return decode_properties(m.data, PROPERTIES, 7 + size)


def copies_of(m: Message) -> i64:
    """What `check_properties` finds in a message's headers."""
    return i64(check_properties(m.data, PROPERTIES, 7 + i64(read_i32_be(m.data, 3))))


def expiration_ms(m: Message) -> i64:
    """How long a message may wait, by its own word. Raises PreconditionFailed (rabbit_basic:parse_expiration)."""
    data = m.data
    end = 7 + i64(read_i32_be(data, 3))
    at = find_property(data, PROPERTIES, end, EXPIRATION)
    if at < 0:
        return -1
    size: i64 = i64(data[at])
    value: i64 = 0
    p = at + 1
    while p <= at + size:
        digit: i64 = i64(data[p]) - 48
        if digit < 0 or digit > 9 or value > EXPIRATION_MAX:
            break
        value = value * 10 + digit
        p += 1
    if size > 0 and p > at + size and value <= EXPIRATION_MAX:
        return value
    return parse_expiration(data[at + 1 : at + 1 + size].decode("utf-8", "surrogateescape"))


def parse_expiration(text: str) -> i64:
    """An expiration that is not just a few digits, as Erlang's string:to_integer has it."""
    sign = 1 if text[:1] in ("-", "+") else 0
    digits = sign
    while digits < len(text) and text[digits] in "0123456789":
        digits += 1
    if digits == sign:
        raise PreconditionFailed(f"invalid expiration '{text}': no_integer")
    if digits < len(text):
        raise PreconditionFailed(f"invalid expiration '{text}': {{leftover_string,\"{text[digits:]}\"}}")
    value = int(text)
    if value < 0:
        raise PreconditionFailed(f"invalid expiration '{text}': {{value_negative,{value}}}")
    if value > EXPIRATION_MAX_MS:
        raise PreconditionFailed(f"invalid expiration '{text}': {{value_too_big,{value}}}")
    return value
