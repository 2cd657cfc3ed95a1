"""One AMQP 0-9-1 channel: its state, the content that is arriving, confirms, transactions and waiting answers.

    OPEN  --error-->  CLOSING (channel.close sent: all is passed over but close and close-ok)  --close-ok-->  gone
    OPEN  --channel.close-->  gone

`plain` says that a frame may take the short way in peer.py: the channel is open, between contents, not transactional
and not waiting for an answer. What the methods do is in methods.py, how contents are put together in content.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i32_be

from leveret import limits
from leveret.core.attempts import check_retry
from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.core.queue import Queue
from leveret.core.session import Session
from leveret.core.turn import Waiter
from leveret.core.view import Seen
from leveret.errors import BrokerError, NotFound, PeerError, PreconditionFailed, UnexpectedFrame
from leveret.message import ACCEPTED, Message
from leveret.native import i64
from leveret.protocol.amqp091 import methods, reply_to
from leveret.protocol.amqp091.confirms import Confirms
from leveret.protocol.amqp091.consumer import write_content
from leveret.protocol.amqp091.content import (
    METHOD,
    Content,
    at_method,
    copies_of,
    properties_of,
)
from leveret.protocol.amqp091.copies import copy_keys, cut_bcc
from leveret.protocol.amqp091.tx import ChannelTransaction
from leveret.wire import methods as wire
from leveret.wire.find import HAS_COPIES
from leveret.wire.properties import EXPIRATION, REPLY_TO, USER_ID

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.amqp091.consumer import AmqpConsumer, AmqpGetter
    from leveret.protocol.amqp091.peer import AmqpPeer
    from leveret.protocol.amqp091.reply_to import ReplyConsumer

HELD_FRAME_BYTES: Final[i64] = 64  # what a frame that is held costs beside its bytes


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
        if channel.held is not None:  # it has not ended
            channel.peer.out.write(self.frame)
            channel.peer.touch()
            channel.go_on()
        return 0


class GoOn(Waiter):
    """Handles what a channel held, once the core is done with what gave it its answer."""

    def __init__(self, channel: AmqpChannel) -> None:
        super().__init__()
        self.channel = channel

    def advance(self, durable: i64) -> i64:
        self.channel.go_on()
        return 0


class Notice(Waiter):
    """Has a channel tell of consumers whose queues are gone, once the core is done with deleting them."""

    def __init__(self, channel: AmqpChannel) -> None:
        super().__init__()
        self.channel = channel

    def advance(self, durable: i64) -> i64:
        self.channel.tell_cancelled()
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
        self.tx: ChannelTransaction | None = None
        self.last_queue = ""  # the queue declared last (AMQP 0-9-1, queue.declare)
        self.held: list[bytes] | None = None  # frames that came while an answer is owed; None: none is
        self.held_bytes: i64 = 0
        self.getter: AmqpGetter | None = None  # the basic.get that is not answered yet
        self.requester: ReplyConsumer | None = None  # who gets direct replies
        self.cancelled: list[str] | None = None  # tags of consumers whose end is still to be told
        self.content: Content | None = None  # of a publish, arriving

    # ---- frames

    def frame(self, kind: i64, frame: bytes) -> None:
        """One whole, well-formed frame of this channel, from its type octet to its end octet."""
        if self.held is not None:
            self.held.append(frame)
            self.held_bytes += i64(len(frame)) + HELD_FRAME_BYTES
            if self.held_bytes > limits.HELD_FRAMES_BYTES:
                self.peer.link.pause_for(self)
            return
        if self.closing:
            if kind == METHOD:
                methods.while_closing(self, i64(read_i32_be(frame, 7)))
            return
        content = self.content
        if content is not None:
            if content.take(kind, frame, self.peer.connection):
                self._complete(content)
        elif kind == METHOD:
            methods.dispatch(self, i64(read_i32_be(frame, 7)), frame)
        else:
            raise UnexpectedFrame("expected method frame, got non method frame instead")

    def expect_content(self, raw: bytes) -> None:
        """basic.publish came: its header and body follow (AMQP 0-9-1, 4.2.6)."""
        self.content = Content(raw)
        self.plain = False

    def _complete(self, content: Content) -> None:
        self._content_done(content)
        message = content.message(self.peer.frame_max)
        route = self.resolve(content.raw)  # once more: what it found when it began may be gone
        if route is not None:
            message.route = route.raw
            self.publish_special(route, message, copies_of(message))

    def _content_done(self, content: Content) -> None:
        self.content = None
        self.peer.connection.gathering(-content.kept_bytes)
        self._replain()

    def _replain(self) -> None:
        self.plain = self.held is None and not self.closing and self.tx is None and self.content is None

    # ---- publishing

    def resolve(self, raw: bytes) -> Route | None:
        """The route of a publish's raw arguments: exchange, key and bits. None: refused, and the channel closed."""
        try:
            return self.peer.connection.resolve(raw)
        except PeerError as error:
            if error.method == 0:
                error.method = wire.BASIC_PUBLISH
            if error.hard:
                raise
            self.fail(error)
            return None

    def publish_special(self, route: Route, m: Message, found: i64) -> None:
        """A publish that needs a look: mandatory, routed by headers or by more keys, with a user-id, gathered, in a
        transaction, with terms, or to queues with rules. found: what `check_properties` said of its headers."""
        flags: i64 = i64(read_i16_be(m.data, 19)) & 0xFFFF
        asks = found & ASKS_BY_HEADERS
        if flags & EXPIRATION != 0:
            asks |= ASKS_EXPIRATION
        more: list[str] | None = None
        try:
            if flags & REPLY_TO != 0:
                reply_to.name_requester(self, m)
            if asks != 0:
                route.vhost.set_terms(route, m, asks)
            if found & HAS_COPIES != 0:
                more = copy_keys(m)
                cut_bcc(m)
        except PeerError as error:
            self.fail(at_method(error, wire.BASIC_PUBLISH))
            return
        if flags & USER_ID != 0 and not self._may_say(m):
            return
        queues = route.queues
        if route.by_headers or more is not None:
            queues = route.vhost.route_by_message(route, Seen(m, route.key, more))
        if found & ASKS_BY_HEADERS != 0:
            try:
                check_retry(queues, m)
            except PeerError as error:
                self.fail(at_method(error, wire.BASIC_PUBLISH))
                return
        tx = self.tx
        if tx is not None:
            tx.publish(route, queues, m)
            return
        position = self.publish_to(route, queues, m)
        confirms = self.confirms
        if confirms is not None:
            if route.vhost.refused:
                confirms.refuse()
                position = 0
            else:
                confirms.note(position)
            self.peer.turn.wait_for(confirms, position)

    def publish_to(self, route: Route, queues: list[Queue], m: Message) -> i64:
        """Publish, and return it if it is mandatory and no queue takes it."""
        if route.mandatory and not queues and not (route.reply and reply_to.is_there(route.vhost, route.key)):
            self.return_message(m, 312, "NO_ROUTE")
        return route.vhost.take(route, queues, m)

    def return_message(self, m: Message, code: i64, text: str) -> None:
        peer = self.peer
        wire.basic_return_raw(peer.out, self.number, code, text, m.route)
        write_content(peer, self.number, m)
        peer.touch()

    def _may_say(self, m: Message) -> bool:
        """Whether the message's user-id is true (RabbitMQ's validated user-id); the channel is closed if not."""
        user = self.peer.connection.user
        claimed = properties_of(m).user_id
        if claimed is None or claimed == user.name or "impersonator" in user.tags:
            return True
        text = f"user_id property set to '{claimed}' but authenticated user was '{user.name}'"
        self.fail(at_method(PreconditionFailed(text), wire.BASIC_PUBLISH))
        return False

    # ---- settling

    def ack(self, tag: i64, multiple: bool) -> None:
        self.settle_tag(tag, multiple, ACCEPTED, wire.BASIC_ACK)

    def settle_tag(self, tag: i64, multiple: bool, outcome: i64, method: i64) -> None:
        tx = self.tx
        done = self.settle(tag, multiple, outcome) if tx is None else tx.settle(self, tag, multiple, outcome)
        if not done:
            unsigned = int(tag) & 0xFFFF_FFFF_FFFF_FFFF
            self.fail(at_method(PreconditionFailed(f"unknown delivery tag {unsigned}"), method))

    def ends_overdue(self, limit_ms: i64) -> bool:
        """RabbitMQ's consumer_timeout, if this listener is to do as RabbitMQ 3 does."""
        if not self.peer.connection.settings.overdue_closes_channel:
            return False
        self.fail(
            PreconditionFailed(
                f"delivery acknowledgement on channel {int(self.number)} timed out. "
                f"Timeout value used: {int(limit_ms)} ms. "
                "This timeout value can be configured, see consumers doc guide to learn more"
            )
        )
        return True

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
        """An answer is owed: what comes now has to wait for it."""
        self.held = []
        self.held_bytes = 0
        self.plain = False

    def answered(self) -> None:
        """The answer is given. Called from inside the core, so that what is held has to wait a little more."""
        if self.held:
            self.peer.turn.wait_for(GoOn(self), 0)
        else:
            self.go_on()

    def go_on(self) -> None:
        """Handle what came while the answer was owed, until another one is."""
        held = self.held
        if held is None:
            return
        self.held = None
        self._replain()
        self.tell_cancelled()
        peer = self.peer
        peer.link.resume_for(self)
        at: i64 = 0
        while at < i64(len(held)) and not peer.stopped:
            frame = held[at]
            at += 1
            try:
                peer.frame(i64(frame[0]), frame, 0, i64(len(frame)))
            except (PeerError, BrokerError) as error:
                peer.connection.fail(error)
                return
            if self.waits():
                self._hold_on(held[at:])
                return

    def waits(self) -> bool:
        return self.held is not None

    def _hold_on(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.frame(i64(frame[0]), frame)

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
        self.closing = True
        self.end()

    def end(self) -> None:
        """Let go of everything: consumers, unsettled deliveries, what was not committed, who waits."""
        if self.content is not None:
            self._content_done(self.content)
        self.plain = False
        if self.held is not None:
            self.held = None
            self.peer.link.resume_for(self)
        if self.getter is not None:
            self.getter.active = False
            self.getter = None
        if self.tx is not None:
            self.tx.rollback()
            self.tx = None
        if self.confirms is not None:
            self.confirms.closed = True
        consumers = self.consumers
        self.consumers = {}
        vhost = self.peer.vhost
        if vhost is not None:
            for c in consumers.values():
                vhost.cancel(c)
        reply_to.cancel(self, "")
        self.lose_all()

    def consumer_cancelled(self, c: AmqpConsumer) -> None:
        """Its queue is gone: basic.cancel, if the client can take it (RabbitMQ's consumer_cancel_notify)."""
        self.consumers.pop(c.tag, None)
        if not self.peer.connection.wants_cancels:
            return
        if self.cancelled is None:
            self.cancelled = []
            self.peer.turn.wait_for(Notice(self), 0)
        self.cancelled.append(c.tag)

    def tell_cancelled(self) -> None:
        """After the answer to what deleted the queue, as in RabbitMQ: clients take a basic.cancel that comes before
        their queue.delete-ok for a surprise."""
        tags = self.cancelled
        if tags is None or self.held is not None or self.closing or self.gone:
            return
        self.cancelled = None
        for tag in tags:
            wire.basic_cancel(self.peer.out, self.number, tag, True)
        self.peer.touch()

    def queue_of(self, name: str) -> str:
        """An empty name stands for the queue this channel declared last."""
        if name:
            return name
        if not self.last_queue:
            raise NotFound("no previously declared queue")
        return self.last_queue
