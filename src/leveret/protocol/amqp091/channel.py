"""One AMQP 0-9-1 channel: its state, the content that is arriving, confirms, transactions and waiting answers.

    OPEN  --error-->  CLOSING (channel.close sent: all is passed over but close and close-ok)  --close-ok-->  gone
    OPEN  --channel.close-->  gone

`plain` says that a frame may take the short way in peer.py: the channel is open, between contents, not transactional
and not waiting for an answer. What the methods do is in methods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be

from leveret import limits
from leveret.core.consumer import Consumer
from leveret.core.session import Session
from leveret.core.turn import Waiter
from leveret.errors import (
    MalformedFrame,
    NotFound,
    PeerError,
    PreconditionFailed,
    UnexpectedFrame,
)
from leveret.message import ACCEPTED, AMQP091, REJECTED, RELEASED, Message
from leveret.native import i64
from leveret.protocol.amqp091 import methods
from leveret.protocol.amqp091.confirms import Confirms
from leveret.protocol.amqp091.tx import Transaction
from leveret.wire import methods as wire
from leveret.wire.properties import Properties, check_properties, decode_properties, delivery_mode_at

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.amqp091.consumer import AmqpConsumer
    from leveret.protocol.amqp091.peer import AmqpPeer

METHOD: Final[i64] = 1
HEADER: Final[i64] = 2
BODY: Final[i64] = 3
HAS_USER_ID: Final[i64] = 0x0010


class Answer(Waiter):
    """A reply that waits for the disk. The channel takes no frames until it is given."""

    def __init__(self, channel: AmqpChannel, position: i64, frame: bytes) -> None:
        super().__init__()
        self.channel = channel
        self.position: i64 = position
        self.frame = frame

    def advance(self, durable: i64) -> i64:
        if self.position > durable:
            return self.position
        channel = self.channel
        if not channel.gone:
            if self.frame:
                channel.peer.out.write(self.frame)
                channel.peer.touch()
            channel.answered()
        return 0


class AmqpChannel(Session):
    def __init__(self, peer: AmqpPeer, number: i64) -> None:
        super().__init__()
        self.peer = peer
        self.number: i64 = number
        self.plain = True
        self.closing = False  # channel.close was sent
        self.gone = False
        self.default_prefetch: i64 = 0  # basic.qos without global: for consumers to come
        self.confirms: Confirms | None = None
        self.tx: Transaction | None = None
        self.next_consumer: i64 = 1
        self.last_queue = ""  # the queue declared last (AMQP 0-9-1, queue.declare)
        self.held: list[bytes] | None = None  # frames that came while an answer is owed
        self.held_bytes: i64 = 0
        self.route: Route | None = None  # of the content that is arriving
        self.content: list[bytes] | None = None
        self.content_left: i64 = 0  # body bytes to come
        self.content_size: i64 = 0
        self.content_bytes: i64 = 0  # kept so far
        self.published: i64 = 0

    # ---- frames

    def frame(self, kind: i64, frame: bytes) -> None:
        """One whole frame of this channel, from its type octet to its end octet."""
        if self.held is not None:
            self.held.append(frame)
            self.held_bytes += i64(len(frame))
            if self.held_bytes > limits.HELD_FRAMES_BYTES:
                self.peer.link.pause_for(self)
            return
        if self.closing:
            if kind == METHOD:
                methods.while_closing(self, i64(read_i32_be(frame, 7)))
            return
        if kind == METHOD:
            self._method(frame)
        elif kind == HEADER:
            self._header(frame)
        else:
            self._body(frame)

    def _method(self, frame: bytes) -> None:
        if self.route is not None:
            raise UnexpectedFrame(
                "expected content header for class 60, got non content header frame instead"
                if self.content is None
                else "expected content body, got non content body frame instead"
            )
        if len(frame) < 12:
            raise MalformedFrame("a method frame without a method")
        methods.dispatch(self, i64(read_i32_be(frame, 7)), frame)

    def expect_content(self, route: Route) -> None:
        """basic.publish came: its header and body follow (AMQP 0-9-1, 4.2.6)."""
        self.route = route
        self.content = None
        self.plain = False

    def _header(self, frame: bytes) -> None:
        if self.route is None:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        if self.content is not None:
            raise UnexpectedFrame("expected content body, got non content body frame instead")
        if len(frame) < 22:
            raise MalformedFrame("a content header that is cut short")
        cls = i64(read_i16_be(frame, 7))
        if cls != 60:
            raise UnexpectedFrame(
                f"expected content header for class 60, got one for class {int(cls)} instead"
            )
        size = read_i64_be(frame, 11)
        limit = self.peer.connection.settings.message_size_max_bytes
        if size < 0 or size > limit:
            raise PreconditionFailed(f"message size {int(size)} is larger than configured max size {int(limit)}")
        self.content = [frame]
        self.content_size = size
        self.content_left = size
        self.content_bytes = i64(len(frame))
        self.peer.connection.gathering(self.content_bytes)
        if size == 0:
            self._complete()

    def _body(self, frame: bytes) -> None:
        content = self.content
        if content is None:
            raise UnexpectedFrame(
                "expected method frame, got non method frame instead"
                if self.route is None
                else "expected content header for class 60, got non content header frame instead"
            )
        size: i64 = i64(len(frame)) - 8
        if size > self.content_left:
            raise UnexpectedFrame("a content body that is longer than its header says")
        content.append(frame)
        self.content_left -= size
        self.content_bytes += i64(len(frame))
        self.peer.connection.gathering(i64(len(frame)))
        if self.content_left == 0:
            self._complete()

    def _complete(self) -> None:
        content = self.content
        route = self.route
        assert content is not None and route is not None
        header = content[0]
        self._content_done()
        check_properties(header, 19, i64(len(header)) - 1)
        flags: i64 = i64(read_i16_be(header, 19)) & 0xFFFF
        persistent = flags != 0 and delivery_mode_at(header, 19, flags, i64(len(header)) - 1) == 2
        m = Message(b"".join(content), route.raw, self.content_size, persistent, AMQP091)
        self.publish_special(route, m)

    def _content_done(self) -> None:
        self.route = None
        self.content = None
        self.peer.connection.gathering(-self.content_bytes)
        self.content_bytes = 0
        self._replain()

    def _replain(self) -> None:
        self.plain = self.held is None and not self.closing and self.tx is None and self.route is None

    # ---- publishing

    def resolve(self, raw: bytes) -> Route | None:
        """The route of a publish's raw arguments: exchange, key and bits. None if it was refused and the channel closed."""
        try:
            return self.peer.connection.resolve(raw)
        except PeerError as error:
            if error.hard:
                raise
            self.fail(error)
            return None

    def publish_special(self, route: Route, m: Message) -> None:
        """A publish that needs a look: mandatory, routed by headers, with a user-id, gathered, or in a transaction."""
        flags: i64 = i64(read_i16_be(m.data, 19)) & 0xFFFF
        if flags & HAS_USER_ID != 0:
            try:
                self._check_user(m)
            except PeerError as error:
                self.fail(error)
                return
        tx = self.tx
        if tx is not None:
            tx.publish(route, m)
            return
        position = self.route_and_publish(route, m)
        confirms = self.confirms
        if confirms is not None:
            confirms.note(position)
            self.peer.turn.wait_for(confirms, position)

    def route_and_publish(self, route: Route, m: Message) -> i64:
        """Publish, or return it if it is mandatory and no queue takes it."""
        queues = route.queues
        if route.by_headers:
            queues = route.vhost.route_by_headers(route, properties_of(m).headers)
        if route.mandatory and not queues:
            self.return_message(m, 312, "NO_ROUTE")
        return route.vhost.publish(queues, m)

    def return_message(self, m: Message, code: int, text: str) -> None:
        from leveret.protocol.amqp091.consumer import write_content

        peer = self.peer
        wire.basic_return_raw(peer.out, self.number, code, text, m.route)
        write_content(peer, self.number, m)
        peer.touch()

    def _check_user(self, m: Message) -> None:
        user = self.peer.connection.user
        claimed = properties_of(m).user_id
        if claimed is not None and claimed != user.name and "impersonator" not in user.tags:
            raise PreconditionFailed(
                f"user_id property set to '{claimed}' but authenticated user was '{user.name}'"
            )

    # ---- settling

    def ack(self, tag: i64, multiple: bool) -> None:
        self.settle_tag(tag, multiple, ACCEPTED)

    def reject(self, tag: i64, multiple: bool, requeue: bool) -> None:
        self.settle_tag(tag, multiple, RELEASED if requeue else REJECTED)

    def settle_tag(self, tag: i64, multiple: bool, outcome: i64) -> None:
        tx = self.tx
        if tx is not None:
            done = tx.settle(tag, multiple, outcome)
        else:
            done = self.settle(tag, multiple, outcome)
        if not done:
            error = PreconditionFailed(f"unknown delivery tag {int(tag)}")
            self.fail(error)

    def open_for_deliveries(self) -> bool:
        return not self.closing and self.peer.can_take()

    # ---- answers that wait

    def reply_when(self, position: i64, frame: bytes) -> None:
        """Send a reply when `position` is on disk; until then this channel waits."""
        turn = self.peer.turn
        if position <= turn.journal.durable:
            self.peer.out.write(frame)
            self.peer.touch()
            return
        self.hold()
        turn.wait_for(Answer(self, position, frame), position)

    def hold(self) -> None:
        if self.held is None:
            self.held = []
            self.held_bytes = 0
        self.plain = False

    def answered(self) -> None:
        """The answer is given: handle what came meanwhile."""
        held = self.held
        if held is None:
            return
        self.held = None
        self._replain()
        self.peer.link.resume_for(self)
        i: i64 = 0
        while i < i64(len(held)):
            frame = held[i]
            i += 1
            try:
                self.frame(i64(frame[0]), frame)
            except PeerError as error:
                if error.hard:
                    self.peer.connection.fail(error)
                    return
                self.fail(error)
            if self._holds_rest(held, i):
                return

    def _holds_rest(self, held: list[bytes], at: i64) -> bool:
        """If the channel waits again, the rest of what was held waits with it."""
        again = self.held
        if again is None:
            return False
        again.extend(held[at:])
        return True

    # ---- the end

    def fail(self, error: PeerError) -> None:
        """A channel error: tell the peer, let go of everything, and wait for its close-ok."""
        if self.closing or self.gone:
            return
        peer = self.peer
        wire.channel_close(
            peer.out, self.number, error.code, error.reply_text, error.method >> 16, error.method & 0xFFFF
        )
        peer.touch()
        self.end()
        self.closing = True

    def end(self) -> None:
        """Let go of everything: consumers, unsettled deliveries, what was not committed."""
        self.plain = False
        if self.content is not None:
            self._content_done()
        self.plain = False
        self.route = None
        self.held = None
        self.tx = None
        confirms = self.confirms
        if confirms is not None:
            confirms.closed = True
        consumers = self.consumers
        self.consumers = {}
        vhost = self.peer.vhost
        if vhost is not None:
            for c in consumers.values():
                vhost.cancel(c)
        self.release_all(True)

    def consumer_cancelled(self, c: AmqpConsumer) -> None:
        """Its queue is gone: basic.cancel, if the client can take it (RabbitMQ's consumer_cancel_notify)."""
        self.consumers.pop(c.tag, None)
        peer = self.peer
        if peer.connection.wants_cancels and not self.closing:
            wire.basic_cancel(peer.out, self.number, c.tag, True)
            peer.touch()

    def queue_of(self, name: str) -> str:
        """An empty name stands for the queue this channel declared last."""
        if name:
            return name
        if not self.last_queue:
            raise NotFound("no previously declared queue")
        return self.last_queue

    def find_consumer(self, tag: str) -> Consumer | None:
        return self.consumers.get(tag)


def properties_of(m: Message) -> Properties:
    """The decoded properties of a message of this protocol: its header frame's payload begins at byte 7."""
    size: i64 = i64(read_i32_be(m.data, 3))
    return decode_properties(m.data, 19, 7 + size)
