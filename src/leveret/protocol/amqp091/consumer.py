"""Deliveries as AMQP 0-9-1 frames: a method frame, then the content frames as they were received.

The content's channel number is put right in place; frames larger than this side's frame-max are cut again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be, write_i16_be, write_i32_be, write_i64_be

from leveret.core.consumer import Consumer
from leveret.core.lane import Lane
from leveret.core.queue import Getter, Queue
from leveret.message import AMQP091, Message
from leveret.native import i16, i32, i64, u8
from leveret.protocol.amqp091.foreign import as_amqp

if TYPE_CHECKING:
    from leveret.protocol.amqp091.channel import AmqpChannel
    from leveret.protocol.amqp091.peer import AmqpPeer

METHOD_FRAME: Final[i64] = 0x0100_0000_0000_0000
LARGE_BYTES: Final[i64] = (
    65_536  # content at least this long leaves uncopied where its channel number is right
)


class AmqpConsumer(Consumer):
    def __init__(self, channel: AmqpChannel, queue: Queue, tag: str, no_ack: bool, prefetch: i64) -> None:
        super().__init__(channel, queue, tag, no_ack, prefetch)
        self.channel = channel
        self.peer = channel.peer
        raw = tag.encode("utf-8", "surrogateescape")
        self.prefix = bytes([60, 0, 60, len(raw)]) + raw  # of the method, but for the first octet, which is 0

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        channel = self.channel
        if self.no_ack:
            tag = channel.skip_tag()
        else:
            tag = channel.note(self, lane, seq)
        peer = self.peer
        out = peer.out
        number = channel.number
        prefix = self.prefix
        route = m.route
        # Frame type, channel, size and the first octet of the method, in one call.
        write_i64_be(out, METHOD_FRAME | number << 40 | (i64(len(prefix)) + i64(len(route)) + 10) << 8)
        out.write(prefix)
        write_i64_be(out, tag)
        out.append(u8(1) if redelivered else u8(0))
        out.write(route)
        out.append(206)
        data = m.data
        size: i64 = len(data)
        if size <= peer.frame_max and m.protocol == AMQP091:
            at: i64 = len(out)
            out.write(data)
            high: i64 = number >> 8
            low: i64 = number & 255
            p: i64 = 0
            while p < size:
                out[at + p + 1] = u8(high)
                out[at + p + 2] = u8(low)
                p += i64(read_i32_be(data, p + 3)) + 8
        else:
            write_content(peer, number, m)
        if not peer.touched:
            peer.touch()

    def cancelled(self) -> None:
        self.channel.consumer_cancelled(self)


class AmqpGetter(Getter):
    """basic.get: one message with basic.get-ok, or basic.get-empty."""

    def __init__(self, channel: AmqpChannel, queue: Queue, no_ack: bool) -> None:
        super().__init__(channel, queue, "", no_ack, 0)
        self.channel = channel
        self.pulls = True

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        channel = self.channel
        if self.no_ack:
            tag = channel.skip_tag()
        else:
            tag = channel.note(self, lane, seq)
            channel.pulled += 1
        peer = channel.peer
        out = peer.out
        route = m.route
        out.append(1)
        write_i16_be(out, i16(channel.number))
        write_i32_be(out, i32(i64(len(route)) + 17))
        write_i32_be(out, (60 << 16) | 71)
        write_i64_be(out, tag)
        out.append(1 if redelivered else 0)
        out.write(route)
        # The lane counts a message out after it was taken: one less is what is left.
        write_i32_be(out, i32(max(i64(self.queue.ready_count()) - 1, 0)))
        out.append(206)
        write_content(peer, channel.number, m)
        peer.touch()
        self.active = False
        channel.answered()

    def nothing(self) -> None:
        self.active = False
        channel = self.channel
        out = channel.peer.out
        out.append(1)
        write_i16_be(out, i16(channel.number))
        write_i32_be(out, 5)
        write_i32_be(out, (60 << 16) | 72)
        out.append(0)
        out.append(206)
        channel.peer.touch()
        channel.answered()

    def cancelled(self) -> None:
        pass


def write_content(peer: AmqpPeer, number: i64, m: Message) -> None:
    """The content frames of a message for one peer's channel, cut to its frame-max."""
    data = m.data if m.protocol == AMQP091 else as_amqp(m).data
    size: i64 = len(data)
    limit = peer.frame_max - 8
    p: i64 = 0
    fits = True
    same = True
    while p < size:
        length: i64 = i64(read_i32_be(data, p + 3))
        if length > limit and p > 0:  # the header frame cannot be cut
            fits = False
        if (i64(data[p + 1]) << 8) | i64(data[p + 2]) != number:
            same = False
        p += length + 8
    if fits and same and size >= LARGE_BYTES:
        peer.write_part(data)
        return
    out = peer.out
    if fits:
        at: i64 = len(out)
        out.write(data)
        p = 0
        while p < size:
            out[at + p + 1] = u8(number >> 8)
            out[at + p + 2] = u8(number & 255)
            p += i64(read_i32_be(data, p + 3)) + 8
        return
    recut(out, number, data, limit)


def recut(out: BytesWriter, number: i64, data: bytes, limit: i64) -> None:
    """Header frame as it is, each body frame in pieces of at most `limit` bytes of payload."""
    size: i64 = len(data)
    p: i64 = 0
    while p < size:
        length: i64 = i64(read_i32_be(data, p + 3))
        start = p + 7
        end = start + length
        kind: i64 = i64(data[p])
        while start < end:
            stop = end if p == 0 else min(start + limit, end)
            out.append(kind)
            write_i16_be(out, i16(number))
            write_i32_be(out, i32(stop - start))
            out.write(data[start:stop])
            out.append(206)
            start = stop
        p = end + 1
