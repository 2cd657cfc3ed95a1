"""Frames (AMQP 0-9-1, section 4.2.3): how they are cut, the protocol header, heartbeats and content frames.

    octet 0      1          3                7              7 + size
          type   channel    size of payload  payload        206

Knows nothing of what is in a payload but for the fixed part of a content header. `FrameSplitter` is the simple
way to read frames, for clients, tools and tests; the broker cuts frames where it handles them. Frame errors are
worded as RabbitMQ words them.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, write_i16_be

from leveret.errors import FrameError, MalformedFrame
from leveret.native import i16, i64, u8
from leveret.wire.buffer import Reader, put_long, put_longlong, put_short

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_END: Final = 206
FRAME_HEAD_BYTES: Final = 7
FRAME_OVERHEAD_BYTES: Final = 8  # head and end octet

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
BASIC_CLASS: Final = 60


@final
class Frame:
    """One frame without its head and end."""

    def __init__(self, kind: int, channel: int, payload: bytes) -> None:
        self.kind = kind
        self.channel = channel
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Frame)
            and other.kind == self.kind
            and other.channel == self.channel
            and other.payload == self.payload
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.channel, self.payload))

    def __repr__(self) -> str:
        return f"Frame({self.kind}, {self.channel}, {self.payload!r})"


@final
class FrameSplitter:
    """Bytes as they come in, whole frames out. `frame_max_bytes` may be changed between calls; 0 is no limit."""

    def __init__(self, frame_max_bytes: int = 0) -> None:
        self.frame_max_bytes: i64 = frame_max_bytes
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. After an error the splitter has lost its place and is of no more use."""
        whole = self._rest + data if self._rest else data
        length = i64(len(whole))
        frames: list[Frame] = []
        pos: i64 = 0
        while length - pos >= FRAME_HEAD_BYTES:
            kind = i64(whole[pos])
            size = i64(read_i32_be(whole, pos + 3)) & 0xFFFFFFFF
            if (
                self.frame_max_bytes > 0 and size > self.frame_max_bytes
            ):  # 8 bytes too many pass, as in RabbitMQ
                raise frame_error(kind, b"", f"{{frame_too_large,{size},{self.frame_max_bytes - 8}}}")
            end = pos + FRAME_HEAD_BYTES + size
            if end >= length:
                break
            payload = whole[pos + FRAME_HEAD_BYTES : end]
            if i64(whole[end]) != FRAME_END:
                raise frame_error(kind, payload, f"{{invalid_frame_end_marker,{whole[end]}}}")
            if kind != FRAME_HEARTBEAT and (kind < FRAME_METHOD or kind > FRAME_BODY):
                raise frame_error(kind, payload, "unknown_frame")
            frames.append(Frame(int(kind), int(read_i16_be(whole, pos + 1)) & 0xFFFF, payload))
            pos = end + 1
        self._rest = whole[pos:]
        return frames

    def waiting_bytes(self) -> int:
        """How much of a frame that is not whole yet has come in."""
        return len(self._rest)


def frame_error(kind: i64, payload: bytes, reason: str) -> FrameError:
    """In RabbitMQ's words: `type 1, all octets = <<0,1>>: {invalid_frame_end_marker,0}` (rabbit_reader)."""
    shown = "all" if len(payload) <= 16 else "first 16"
    return FrameError(f"type {kind}, {shown} octets = {octets_text(payload[:16])}: {reason}")


def octets_text(data: bytes) -> str:
    """Bytes as Erlang shows them: quoted where all can be printed, numbers otherwise."""
    if data and all(32 <= octet < 127 for octet in data):
        text = data.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        return f'<<"{text}">>'
    return f"<<{','.join([str(octet) for octet in data])}>>"


def open_frame(out: BytesWriter, kind: i64, channel: i64, size_bytes: i64) -> None:
    out.append(u8(kind))
    put_short(out, channel)
    put_long(out, size_bytes)


def content_header(out: BytesWriter, channel: i64, body_size_bytes: i64, properties: bytes) -> None:
    """`properties` as `encode_properties` makes them: flags word and values (4.2.6.1)."""
    open_frame(out, FRAME_HEADER, channel, 12 + i64(len(properties)))
    write_i16_be(out, i16(BASIC_CLASS))
    write_i16_be(out, 0)  # weight, unused
    put_longlong(out, body_size_bytes)
    out.write(properties)
    out.append(FRAME_END)


def body_frames(out: BytesWriter, channel: i64, body: bytes, frame_max_bytes: i64) -> None:
    """The body in frames of at most `frame_max_bytes` (0: no limit); an empty body has none (4.2.6.2)."""
    size = i64(len(body))
    room = frame_max_bytes - FRAME_OVERHEAD_BYTES
    if frame_max_bytes == 0 or size <= room:
        if size > 0:
            open_frame(out, FRAME_BODY, channel, size)
            out.write(body)
            out.append(FRAME_END)
        return
    if room <= 0:
        raise ValueError(f"frames of {frame_max_bytes} bytes have no room for a body")
    at: i64 = 0
    while at < size:
        stop = at + room if size - at > room else size
        open_frame(out, FRAME_BODY, channel, stop - at)
        out.write(body[at:stop])
        out.append(FRAME_END)
        at = stop


@final
class ContentHeader:
    """The payload of a content header frame (4.2.6.1): what it says of the body, and the properties as they are."""

    def __init__(self, payload: bytes) -> None:
        reader = Reader(payload)
        self.class_id = int(reader.short())
        if reader.short() != 0:
            raise MalformedFrame("a content header has a weight, which must be 0")
        self.body_size_bytes = reader.longlong()
        self.properties = reader.rest()
