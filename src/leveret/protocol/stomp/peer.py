"""One STOMP peer without I/O: bytes in, commands to the broker, bytes out.

`receive` finds frames. A SEND that is whole in what was read, with a head that this connection has sent before, takes
the short way, without an object but the message; everything else goes to its command. This file knows where frames
begin and end, and how a message is published; what the other commands do is in commands.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i32_be

from leveret.core.attempts import check_retry
from leveret.core.intake import ASKS_BY_HEADERS
from leveret.core.session import Session
from leveret.core.turn import Turn
from leveret.core.view import Seen
from leveret.errors import (
    BrokerError,
    LeveretError,
    MalformedFrame,
    PeerError,
    PreconditionFailed,
)
from leveret.limits import HEADER_BLOCK_BYTES
from leveret.message import ACCEPTED, STOMP, Message
from leveret.native import i64
from leveret.protocol.peering import Link, Peer
from leveret.protocol.stomp import view  # noqa: F401  registers it
from leveret.protocol.stomp.commands import dispatch, message_refused
from leveret.protocol.stomp.receipts import Receipts
from leveret.protocol.stomp.sending import Heads, Sending
from leveret.wire.stomp import COMMAND_MAX, CR, HEAD_MAX, LF, block_of, command_of, frame_start, head_end
from leveret.wire.stomp_headers import RAW, STOMP_12, escape, parse_headers, value_of

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.stomp.connection import StompConversation
    from leveret.protocol.stomp.session import StompSession

SEND: Final[i64] = 0x53454E44
BODY_IGNORED_MAX: Final[i64] = HEADER_BLOCK_BYTES  # of a frame that should have none
TAG_DIGITS: Final[i64] = 18
NOT_YET: Final[i64] = -1  # the frame is not whole


class StompPeer(Peer):
    """version: 10, 11 or 12 once it is agreed; style: of destinations."""

    def __init__(self, conversation: StompConversation, turn: Turn, link: Link, style: i64) -> None:
        super().__init__(turn, link)
        self.need = 1
        self.conversation = conversation
        self.version: i64 = RAW
        self.style: i64 = style
        self.subscribers: dict[bytes, StompSession] = {}  # by how the ids of their messages begin
        self.receipts = Receipts(self)
        self.position: i64 = 0  # of the last message that was published
        self.body_max: i64 = 0
        self.heads: Heads | None = None  # once it is connected
        self.last_head = b""  # of the SEND before
        self.last_size: i64 = 0
        self.last_length: i64 = -1  # what its content-length said
        self.last: Sending | None = None
        self.acking: StompSession | None = None  # of the ACK before
        self.ack_head = b""  # and how that began, up to the tag
        self.ack_size: i64 = 0
        self.cumulative = False
        self.wants_nul = False  # nothing but a NUL makes the frame whole that is kept
        self.tail = b""  # the end of what is kept, where nothing but an empty line makes a head of it

    def sessions(self) -> list[Session]:
        return list(self.subscribers.values())

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
            if self.wants_nul:
                if chunk.find(b"\0") < 0 and self.rest_bytes <= self.body_max + 2 * BODY_IGNORED_MAX:
                    self.need = self.rest_bytes + 1
                    return
            elif self.tail:
                tail = self.tail + chunk
                if b"\n\n" not in tail and b"\n\r\n" not in tail and self.rest_bytes <= HEAD_MAX:
                    self.tail = tail[-2:]
                    self.need = self.rest_bytes + 1
                    return
            elif self.rest_bytes < self.need:
                return
            data = b"".join(self.rest)
            self.rest = []
            self.rest_bytes = 0
        self.need = 1
        self.wants_nul = False
        self.tail = b""
        pos: i64 = 0
        try:
            pos = self.frames(data, 0)
        except (PeerError, BrokerError) as error:
            self.conversation.fail(error)
            return
        left: i64 = i64(len(data)) - pos
        if left > 0 and not self.stopped:
            self.rest.append(data[pos:] if pos > 0 else data)
            self.rest_bytes = left
            if self.need <= left:
                self.need = left + 1

    def frames(self, data: bytes, pos: i64) -> i64:
        """Handle the whole frames in `data` from `pos` on. Returns where the first that is not whole begins."""
        n: i64 = len(data)
        while True:
            if pos >= n or self.stopped:
                return n
            byte: i64 = i64(data[pos])
            if byte < 32:
                pos = frame_start(data, pos, n)
                if pos >= n:
                    return n
            stop: i64 = NOT_YET
            last = self.last
            end = pos + self.last_size
            if last is not None and end <= n and data[pos:end] == self.last_head:
                try:
                    stop = self.publish(last, self.last_length, None, data, end, n)
                except (PeerError, BrokerError) as error:
                    self.conversation.fail_at(error, b"SEND", self.last_head)
                    return n
            else:
                acking = self.acking
                if acking is not None:
                    end = pos + self.ack_size
                    if end < n and data[pos:end] == self.ack_head:
                        stop = self.ack(acking, data, end, n)
                if stop < 0:
                    end = head_end(data, pos, n)
                    if end >= 0:
                        stop = self.frame(data[pos:end], data, end, n)
                    elif n - pos > COMMAND_MAX + 2:  # its command is whole
                        self.tail = data[n - 2 :]
            if stop < 0:
                if self.need > 1:
                    self.need -= pos
                return pos
            pos = stop

    def frame(self, head: bytes, data: bytes, start: i64, n: i64) -> i64:
        """One frame with a head that is another than the last SEND's. Returns where it ends, or NOT_YET."""
        heads = self.heads
        command = b""
        try:
            if (
                heads is not None
                and len(head) > 5
                and i64(read_i32_be(head, 0)) == SEND
                and (i64(head[4]) == LF or (i64(head[4]) == CR and i64(head[5]) == LF))
            ):
                command = b"SEND"
                sending = heads.find(head)
                receipt = heads.receipt
                length = heads.length
                if receipt is None and sending.plain and sending.lasts:
                    self.last = sending
                    self.last_head = head
                    self.last_size = i64(len(head))
                    self.last_length = length
                return self.publish(sending, length, receipt, data, start, n)
            command = command_of(head)
            stop: i64 = data.find(b"\0", start)
            if stop < 0:
                if n - start > BODY_IGNORED_MAX:
                    raise MalformedFrame("only SEND may have a body")
                self.wants_nul = True
                return NOT_YET
            dispatch(self.conversation, command, parse_headers(block_of(head), self.version))
            return stop + 1
        except (PeerError, BrokerError) as error:
            self.conversation.fail_at(error, command, head)
            return n

    # ---- ACK

    def expect_acks(self, session: StompSession | None) -> None:
        """The next ACK may be one of this session, too: then it is known by its beginning."""
        self.acking = session
        if session is None:
            return
        subscription = session.subscription
        assert subscription is not None
        self.cumulative = subscription.cumulative
        name = b"id:" if self.version >= STOMP_12 else b"message-id:"
        self.ack_head = b"ACK\n" + name + escape(session.name, self.version)
        self.ack_size = i64(len(self.ack_head))

    def ack(self, session: StompSession, data: bytes, at: i64, n: i64) -> i64:
        """The short way of an ACK that says nothing but its message, whose tag is at `at`. Returns where it ends;
        NOT_YET: it is not whole, or has to go the long way."""
        tag: i64 = 0
        stop = at
        while stop < n and stop - at < TAG_DIGITS:
            digit: i64 = i64(data[stop]) - 48
            if digit < 0 or digit > 9:
                break
            tag = tag * 10 + digit
            stop += 1
        if (
            stop == at
            or stop + 2 >= n
            or i64(data[stop]) != 10
            or i64(data[stop + 1]) != 10
            or i64(data[stop + 2]) != 0
            or not session.settle(tag, self.cumulative, ACCEPTED)
        ):
            return NOT_YET
        return stop + 3

    # ---- SEND

    def body_end(self, length: i64, data: bytes, start: i64, n: i64) -> i64:
        """Where the NUL behind a SEND's body is, or NOT_YET. length: what was said of it, -1 for nothing. Raises
        PreconditionFailed, MalformedFrame."""
        if length >= 0:
            stop = start + length
            if length > self.body_max:
                raise self.too_large(length)
            if stop >= n:
                self.need = stop + 1
                return NOT_YET
            if i64(data[stop]) != 0:
                raise MalformedFrame(f"no NUL behind the {int(length)} bytes that content-length says")
            return stop
        stop = data.find(b"\0", start)
        if stop < 0:
            if n - start > self.body_max:
                raise self.too_large(n - start)
            self.wants_nul = True
            return NOT_YET
        if stop - start > self.body_max:
            raise self.too_large(stop - start)
        return stop

    def too_large(self, size: i64) -> LeveretError:
        limit = int(self.body_max)
        return PreconditionFailed(f"message size {int(size)} is larger than configured max size {limit}")

    def publish(
        self, sending: Sending, length: i64, receipt: bytes | None, data: bytes, start: i64, n: i64
    ) -> i64:
        """A SEND whose body begins at `start`. Returns where it ends, or NOT_YET. Its receipt follows once it, and all
        before it, are safe."""
        stop = self.body_end(length, data, start, n)
        if stop < 0:
            return NOT_YET
        route = sending.target.route
        if route is None or route.stale:
            route = self.resolve(sending)
        m = Message(sending.kept + data[start:stop], route.raw, stop - start, sending.persistent, STOMP)
        if sending.plain and route.simple and not (route.ranks and sending.ranked):
            position = route.vhost.publish(route.queues, m)
            if position > self.position:
                self.position = position
        elif self.publish_special(sending, route, m) and receipt is not None:
            raise message_refused()
        if receipt is not None:
            if sending.transaction is None:
                self.receipts.add(receipt, self.position)
            else:
                self.conversation.transaction(sending.transaction).owe(receipt, True)
        return stop + 1

    def resolve(self, sending: Sending) -> Route:
        """Raises what is against publishing there."""
        route = self.conversation.resolve(sending)
        sending.target.route = route
        return route

    def publish_special(self, sending: Sending, route: Route, m: Message) -> bool:
        """A publish that needs a look. True if a queue refused it."""
        user_id = sending.user_id
        if user_id is not None:
            self.conversation.check_user_id(user_id)
        asks = sending.asks
        vhost = route.vhost
        if asks != 0:
            vhost.set_terms(route, m, asks)
        queues = route.queues
        if route.by_headers:
            queues = vhost.route_by_message(route, Seen(m, route.key, None))
        if asks & ASKS_BY_HEADERS != 0:
            check_retry(queues, m)
        if sending.transaction is not None:
            self.conversation.transaction(sending.transaction).publish(route, queues, m)
            return False
        position = vhost.take(route, queues, m)
        if position > self.position:
            self.position = position
        return vhost.refused

    # ---- errors

    def receipt_of(self, head: bytes) -> bytes | None:
        """The receipt that a frame asks for, whatever else is wrong with its head."""
        try:
            return value_of(parse_headers(block_of(head), self.version), b"receipt")
        except MalformedFrame:
            return None
