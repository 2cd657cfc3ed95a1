"""Deliveries as STOMP's MESSAGE frames: cached bytes of the subscription, then the message as it is kept.

    MESSAGE, subscription, message-id of    ahead, and the last two digits of the tag
    ack, the same                           ack_ahead, and the same digits (STOMP 1.2)
    redelivered, destination, length        tail, as for the message before
    headers, empty line, body               Message.data, as it is; other versions' escapes are made anew

Ids are T_subscription@@connection@@tag as RabbitMQ has them, Q_destination for a subscription without an id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, write_i16_be

from leveret.core.consumer import Consumer
from leveret.core.lane import Lane
from leveret.core.queue import Queue
from leveret.core.view import view_of
from leveret.message import STOMP, Message
from leveret.native import i16, i64
from leveret.protocol.stomp.destinations import format_route
from leveret.protocol.stomp.mapping import OF_MESSAGE, headers_of
from leveret.protocol.stomp.session import StompSession
from leveret.protocol.stomp.view import body_at
from leveret.protocol.stomp.view import headers_of as kept_headers
from leveret.wire.stomp_headers import STOMP_12, Headers, escape, put_header

if TYPE_CHECKING:
    from leveret.protocol.stomp.peer import StompPeer

LARGE_BYTES: Final[i64] = 65_536  # content at least this long leaves uncopied
LF: Final[i64] = 10


class Subscription(Consumer):
    """sub_id: as it came and is told, None for one without; durable_topic: its queue goes when it is unsubscribed so;
    cumulative: an ACK settles all up to its message."""

    def __init__(
        self,
        session: StompSession,
        queue: Queue,
        sub_id: bytes | None,
        no_ack: bool,
        cumulative: bool,
        prefetch: i64,
    ) -> None:
        super().__init__(session, queue, session.label, no_ack, prefetch)
        self.stomp_session = session
        self.peer: StompPeer = session.peer
        self.sub_id = sub_id
        self.cumulative = cumulative
        self.is_topic = False
        self.description = ""
        peer = self.peer
        self.version: i64 = peer.version
        name = escape(session.name, peer.version)
        ahead = BytesWriter()
        ahead.write(b"MESSAGE\n")
        if sub_id is not None:
            put_header(ahead, b"subscription", sub_id, peer.version)
        ahead.write(b"message-id:")
        ahead.write(name)
        self.first = ahead.getvalue()
        self.acks = peer.version >= STOMP_12 and not no_ack
        self.ack_first = b"\nack:" + name
        self.hundreds: i64 = -1
        self.ahead = b""
        self.ack_ahead = b""
        self.tail_route = b""
        self.place = b""  # the destination of that route, up to the length
        self.tail_size: i64 = -1
        self.tail_again = False
        self.tail = b""

    def deliver(self, m: Message, lane: Lane, seq: i64, redelivered: bool) -> None:
        session = self.stomp_session
        if self.no_ack:
            tag = session.skip_tag()
        else:
            tag = session.note(self, lane, seq)
        if m.protocol != STOMP:
            self._deliver_foreign(m, tag, redelivered)
            return
        route = m.route
        if (
            m.size_bytes != self.tail_size
            or redelivered != self.tail_again
            or (route is not self.tail_route and route != self.tail_route)
        ):
            self._make_tail(route, m.size_bytes, redelivered)
        data = m.data
        peer = self.peer
        if self.version < STOMP_12 and data.find(b"\\", 0, body_at(m)) >= 0:
            headers = kept_headers(m)  # before anything is written: what raises leaves no half of a frame
            self._put_start(peer.out, tag)
            self._put_headers(headers)
            self._put_body(data[body_at(m) :])
            return
        out = peer.out
        self._put_start(out, tag)
        if i64(len(data)) < LARGE_BYTES:
            out.write(data)
        else:
            peer.write_part(data)
            out = peer.out
        write_i16_be(out, i16(10))  # NUL, and a line end
        if not peer.touched:
            peer.touch()

    def _put_start(self, out: BytesWriter, tag: i64) -> None:
        """Everything ahead of the message's own headers."""
        hundreds = tag // 100
        if hundreds != self.hundreds:
            self.hundreds = hundreds
            digits = str(int(hundreds)).encode() if hundreds > 0 else b""
            self.ahead = self.first + digits
            self.ack_ahead = self.ack_first + digits
        last = tag - hundreds * 100
        two = i16(((48 + last // 10) << 8) | (48 + last % 10))
        out.write(self.ahead)
        write_i16_be(out, two)
        if self.acks:
            out.write(self.ack_ahead)
            write_i16_be(out, two)
        out.write(self.tail)

    def _make_tail(self, route: bytes, size: i64, redelivered: bool) -> None:
        if route is not self.tail_route and route != self.tail_route:
            self.tail_route = route
            line = BytesWriter()
            put_header(line, b"destination", format_route(route, self.peer.style), self.version)
            line.write(b"content-length:")
            self.place = line.getvalue()
        self.tail_size = size
        self.tail_again = redelivered
        out = BytesWriter()
        out.write(b"\nredelivered:true\n" if redelivered else b"\nredelivered:false\n")
        out.write(self.place)
        out.write(str(int(size)).encode())
        out.append(LF)
        self.tail = out.getvalue()

    # ---- what is not kept as it goes out

    def _deliver_foreign(self, m: Message, tag: i64, redelivered: bool) -> None:
        view = view_of(m)
        body = view.body(m)
        headers = headers_of(view.properties(m))
        self._make_tail(m.route, i64(len(body)), redelivered)
        self._put_start(self.peer.out, tag)
        self._put_headers(headers)
        self._put_body(body)

    def _put_headers(self, headers: Headers) -> None:
        out = self.peer.out
        for name, value in headers:
            if name not in OF_MESSAGE:
                put_header(out, name, value, self.version)
        out.append(LF)

    def _put_body(self, body: bytes) -> None:
        peer = self.peer
        if i64(len(body)) < LARGE_BYTES:
            peer.out.write(body)
        else:
            peer.write_part(body)
        write_i16_be(peer.out, i16(10))
        if not peer.touched:
            peer.touch()

    def cancelled(self) -> None:
        self.peer.conversation.subscription_cancelled(self)
