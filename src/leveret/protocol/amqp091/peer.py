"""One AMQP 0-9-1 peer without I/O: bytes in, commands to the broker, bytes out.

`receive` splits frames. A publish that is whole in what was read takes the short way, without an object but the
message; everything else goes frame by frame to its channel or to the connection's own state. This file knows frames
and nothing of sockets, time or what methods mean (connection.py, channel.py, methods.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be

from leveret.core.session import Session
from leveret.core.turn import Turn
from leveret.errors import BrokerError, LeveretError, LostSync, PeerError
from leveret.limits import FRAME_MAX_BEFORE_TUNE_BYTES
from leveret.message import AMQP091, Message
from leveret.native import i64
from leveret.protocol.amqp091 import view  # noqa: F401  registers it
from leveret.protocol.amqp091.reply_to import asks_direct
from leveret.protocol.peering import Link, Peer
from leveret.wire.frames import octets_text
from leveret.wire.properties import (
    DELIVERY_MODE,
    EXPIRATION,
    PRIORITY,
    REPLY_TO,
    USER_ID,
    check_properties,
    delivery_mode_at,
)

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.amqp091.channel import AmqpChannel
    from leveret.protocol.amqp091.connection import Connection

METHOD: Final[i64] = 1
HEADER: Final[i64] = 2
BODY: Final[i64] = 3
HEARTBEAT: Final[i64] = 8
END: Final[i64] = 206
PUBLISH: Final[i64] = (60 << 16) | 40
ACK: Final[i64] = (60 << 16) | 80
BASIC: Final[i64] = 60 << 16  # class and weight of a content header
TOGETHER_BYTES: Final[i64] = 65_536  # a larger publish is gathered frame by frame
SPLINTERS: Final[i64] = (
    256  # with this much of frame heads and ends in it, an unfinished body is not looked at again
)


class AmqpPeer(Peer):
    def __init__(self, connection: Connection, turn: Turn, link: Link) -> None:
        super().__init__(turn, link)
        self.connection = connection
        self.frame_max: i64 = FRAME_MAX_BEFORE_TUNE_BYTES
        self.channels: dict[int, AmqpChannel] = {}
        self.last: AmqpChannel | None = None  # the channel used last
        self.routes: dict[bytes, Route] = {}  # the virtual host's, once this connection has published
        self.last_raw = b""  # arguments of the publish before, and its route
        self.last_route: Route | None = None

    def sessions(self) -> list[Session]:
        return list(self.channels.values())

    # ---- in

    def receive(self, chunk: bytes) -> None:
        self.heard = True
        if self.stopped:
            return
        size: i64 = len(chunk)
        self.received_bytes += size
        data = chunk
        if self.rest_bytes > 0:
            self.rest.append(chunk)
            self.rest_bytes += size
            if self.rest_bytes < self.need:
                return
            data = b"".join(self.rest)
            self.rest = []
            self.rest_bytes = 0
        pos: i64 = 0
        try:
            if not self.connection.started:
                pos = self.connection.start(data)
                if pos < 0:
                    return
            pos = self.frames(data, pos)
            left: i64 = i64(len(data)) - pos
            if left > 0 and not self.stopped:
                self.keep(data[pos:] if pos > 0 else data)
        except (PeerError, BrokerError) as error:
            self.connection.fail(error)
            self._pass_over(data)

    def _pass_over(self, data: bytes) -> None:
        """The connection has failed somewhere in `data`: of all that is in it only an end is heard now. What came
        before the error was no end, so it does no harm to look at it again."""
        try:
            pos = self.frames(data, 8 if data.startswith(b"AMQP") else 0)
            if pos < i64(len(data)) and not self.stopped:
                self.keep(data[pos:])
        except PeerError as error:  # where the next frame begins is not known any more
            self.connection.fail(error)

    def keep(self, rest: bytes) -> None:
        """Keep the start of a frame, and find out how many bytes are worth another try."""
        size: i64 = len(rest)
        self.rest.append(rest)
        self.rest_bytes = size
        self.need = size + 1
        if size >= 7 and self.connection.started:
            payload = i64(read_i32_be(rest, 3))
            if payload < 0 or payload > self.frame_max:
                raise self.too_large(rest, 0, payload)
            if payload + 8 > self.need:
                self.need = payload + 8

    def frames(self, data: bytes, pos: i64) -> i64:
        """Handle the whole frames in `data` from `pos` on. Returns where the first that is not whole begins."""
        n: i64 = len(data)
        while pos + 8 <= n:
            if self.stopped:
                return n
            size: i64 = i64(read_i32_be(data, pos + 3))
            if size < 0 or size > self.frame_max:  # 8 bytes too many pass (rabbit_reader, FRAME_SIZE_FUDGE)
                raise self.too_large(data, pos, size)
            end = pos + size + 8
            if end > n:
                return pos
            if i64(data[end - 1]) != END:
                raise bad_end(data, pos, size, end)
            kind: i64 = i64(data[pos])
            if kind == METHOD and size >= 4:
                number: i64 = (i64(data[pos + 1]) << 8) | i64(data[pos + 2])
                method: i64 = i64(read_i32_be(data, pos + 7))
                channel = self.last
                if channel is None or channel.number != number:
                    channel = self.channels.get(int(number))
                    self.last = channel
                if channel is not None and channel.plain:
                    if method == PUBLISH and size >= 9:
                        stop = self.publish(channel, data, pos, end, n)
                        if stop > 0:
                            pos = stop
                            continue
                        if stop == 0:
                            return pos
                    elif method == ACK and size == 13:
                        channel.ack(read_i64_be(data, pos + 11), i64(data[pos + 19]) & 1 == 1)
                        pos = end
                        continue
            self.frame(kind, data, pos, end)
            pos = end
        return pos

    def publish(self, channel: AmqpChannel, data: bytes, pos: i64, end: i64, n: i64) -> i64:
        """The short way of a publish whose frames follow each other. Returns where it ends; 0: it is not whole yet;
        -1: it has to go the long way."""
        if end + 22 > n:
            return 0 if may_be_header(data, end, n) else -1
        if i64(data[end]) != HEADER:
            return -1
        head: i64 = i64(read_i32_be(data, end + 3))
        body: i64 = read_i64_be(data, end + 11)
        if body < 0 or body > TOGETHER_BYTES or head < 14 or head + 8 > self.frame_max:
            return -1
        stop = end + head + 8
        if stop > n:
            return 0
        hi: i64 = i64(data[pos + 1])
        lo: i64 = i64(data[pos + 2])
        if (
            i64(data[stop - 1]) != END
            or i64(data[end + 1]) != hi
            or i64(data[end + 2]) != lo
            or i64(read_i32_be(data, end + 7)) != BASIC
        ):
            return -1
        got: i64 = 0
        while got < body:
            if stop + 8 > n:
                return 0 if stop - end - head - got < SPLINTERS else -1
            size: i64 = i64(read_i32_be(data, stop + 3))
            if (
                i64(data[stop]) != BODY
                or i64(data[stop + 1]) != hi
                or i64(data[stop + 2]) != lo
                or size <= 0
                or size + 8 > self.frame_max
            ):
                return -1
            got += size
            stop += size + 8
            if stop > n:
                return 0 if stop - end - head - got < SPLINTERS else -1
            if i64(data[stop - 1]) != END:
                return -1
        if got != body:
            return -1
        raw = data[pos + 13 : end - 1]
        route = self.last_route
        if route is None or route.stale or raw != self.last_raw:
            route = self.routes.get(raw)
            if route is None:
                route = channel.resolve(raw)
                if route is None:  # refused: the channel is closing, its content is passed over
                    return stop
            self.last_raw = raw
            self.last_route = route
        flags: i64 = i64(read_i16_be(data, end + 19)) & 0xFFFF
        persistent = False
        special = flags & (USER_ID | EXPIRATION) != 0
        found: i64 = 0
        if flags == DELIVERY_MODE and head == 15:
            persistent = i64(data[end + 21]) == 2
        elif flags != 0 or head != 14:
            found = i64(check_properties(data, end + 19, end + 7 + head))
            if found != 0 or (flags & REPLY_TO != 0 and asks_direct(data, end + 19, end + 7 + head)):
                special = True
            persistent = delivery_mode_at(data, end + 19, flags, end + 7 + head) == 2
        m = Message(data[end:stop], route.raw, body, persistent, AMQP091)
        if route.simple and not special and (not route.ranks or flags & PRIORITY == 0):
            position = route.vhost.publish(route.queues, m)
            confirms = channel.confirms
            if confirms is not None:
                confirms.note(position)
                turn = self.turn
                if position >= turn.journal.block:
                    turn.journal.urgent = True
                if not confirms.waiting:
                    confirms.waiting = True
                    turn.waiters.append(confirms)
        else:
            channel.publish_special(route, m, found)
        return stop

    def frame(self, kind: i64, data: bytes, pos: i64, end: i64) -> None:
        """The long way of one whole frame."""
        number: i64 = (i64(data[pos + 1]) << 8) | i64(data[pos + 2])
        channel = self.channels.get(int(number))
        if channel is None or not well_formed(kind, end - pos - 8):
            self.connection.frame(kind, number, data[pos + 7 : end - 1])
            return
        try:
            channel.frame(kind, data[pos:end])
        except PeerError as error:
            if error.hard:
                raise
            channel.fail(error)

    def too_large(self, data: bytes, pos: i64, size: i64) -> LeveretError:
        if size < 0:
            size += 1 << 32
        return LostSync(
            f"type {int(data[pos])}, all octets = <<>>: "
            f"{{frame_too_large,{int(size)},{int(self.frame_max) - 8}}}"
        )


def well_formed(kind: i64, size: i64) -> bool:
    """Whether a frame of this type, with so many bytes of payload, can be one of a channel (4.2.3)."""
    if kind == METHOD:
        return size >= 4
    if kind == HEADER:
        return size >= 12
    return kind == BODY


def may_be_header(data: bytes, at: i64, n: i64) -> bool:
    """Whether the start of a frame, up to `n`, can become a content header with properties."""
    if at >= n:
        return True
    return i64(data[at]) == HEADER and (n - at < 7 or i64(read_i32_be(data, at + 3)) >= 14)


def snippet(kind: i64, payload: bytes) -> str:
    """How RabbitMQ shows a frame that it can make nothing of (rabbit_reader, payload_snippet)."""
    shown = "all" if len(payload) <= 16 else "first 16"
    return f"type {int(kind)}, {shown} octets = {octets_text(payload[:16])}"


def bad_end(data: bytes, pos: i64, size: i64, end: i64) -> LeveretError:
    """RabbitMQ names the octets of a frame that does not end in 206 (AMQP 0-9-1, 4.2.3)."""
    shown = snippet(i64(data[pos]), data[pos + 7 : end - 1])
    return LostSync(f"{shown}: {{invalid_frame_end_marker,{int(data[end - 1])}}}")
