"""The conversation with one STOMP client: login, versions, heart-beats, ERROR and the end.

    CONNECTING --CONNECT, STOMP--> RUNNING --DISCONNECT, an error--> CLOSING (receipts that are owed) --> CLOSED

After an ERROR nothing more is read. What was accepted before stays so: the receipts that are owed come first, each once
its message is safe, then the ERROR, then the end of the stream.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter

from leveret import limits
from leveret.core.broker import Broker
from leveret.core.session import Session
from leveret.errors import FrameRefused, InvalidDestination, LeveretError, PreconditionFailed, ResourceError
from leveret.native import i64
from leveret.protocol.peering import Conversation, Link, Peer
from leveret.protocol.stomp.destinations import ACTIVEMQ, RABBITMQ
from leveret.protocol.stomp.mapping import text_of
from leveret.protocol.stomp.peer import StompPeer
from leveret.protocol.stomp.queues import ensure_queue, make_reply_queue
from leveret.protocol.stomp.sending import Heads, Sending
from leveret.protocol.stomp.tx import StompTransaction
from leveret.wire.stomp import digits_of, frame
from leveret.wire.stomp_headers import STOMP_10, STOMP_11, STOMP_12, Headers, escape, value_of

if TYPE_CHECKING:
    from leveret.core.vhost import Route, VHost
    from leveret.protocol.stomp.subscription import Subscription

CONNECTING: Final = 0
RUNNING: Final = 1
CLOSING: Final = 2
CLOSED: Final = 3
STATES: Final = ("connecting", "running", "closing", "closed")
VERSIONS: Final[dict[bytes, int]] = {b"1.0": STOMP_10, b"1.1": STOMP_11, b"1.2": STOMP_12}
SUPPORTED: Final = b"1.0,1.1,1.2"
BEAT_MAX_MS: Final[i64] = 86_400_000
TEMP: Final = "/temp-queue/"  # how the ids of subscriptions that a connection has by itself begin
SHOWN_BYTES: Final = 1_024  # of the frame that an ERROR is about


class StompSettings:
    """What a listener allows. style: of destinations (destinations.py); default_login, default_passcode: of who leaves
    one out, each by itself, as in RabbitMQ; they have to be right as any others."""

    def __init__(self, product: str, version: str) -> None:
        self.product = product
        self.version = version
        self.style: i64 = RABBITMQ
        self.default_login = "guest"
        self.default_passcode = b"guest"
        self.message_size_max_bytes: i64 = limits.MESSAGE_SIZE_BYTES
        self.gather_max_bytes: i64 = 4 * limits.MESSAGE_SIZE_BYTES
        self.heartbeat_min_ms: i64 = limits.STOMP_HEARTBEAT_MIN_MS
        self.overdue_closes = False  # a delivery that is not settled in time ends its connection


class StompConversation(Conversation):
    def __init__(self, broker: Broker, settings: StompSettings, link: Link, loopback: bool) -> None:
        super().__init__(broker, loopback)
        self.settings = settings
        self.state = CONNECTING
        self.session_id = ""
        self.peer = StompPeer(self, broker.turn, link, settings.style)
        self.subscriptions = 0  # so many sessions were numbered
        self.transactions: dict[bytes, StompTransaction] = {}
        self.reply_queues: dict[str, bytes] = {}  # by the name that this connection has for it
        self.gathered_bytes: i64 = 0
        self.sends_every_ms: i64 = 0  # a line end, if nothing else
        self.hears_every_ms: i64 = 0  # something, or it is dead
        self.next_beat_ms: i64 = 0
        self.heard_ms: i64 = 0

    # ---- what the server asks

    def is_opening(self) -> bool:
        return self.state == CONNECTING

    def is_closing(self) -> bool:
        return self.state == CLOSING

    def is_over(self) -> bool:
        return self.state == CLOSED

    def state_name(self) -> str:
        return STATES[self.state]

    def protocol_name(self) -> str:
        version = int(self.peer.version)
        return f"STOMP {version // 10}.{version % 10}" if version > 0 else "STOMP"

    def client(self) -> dict[str, object]:
        return {"product": "STOMP client"}

    def the_peer(self) -> Peer:
        return self.peer

    def session_row(self, session: Session) -> dict[str, object]:
        row = super().session_row(session)
        for each in self.peer.subscribers.values():
            if each is session:
                row["number"] = int(each.number)
                if each.subscription is not None:
                    row["prefetch"] = int(each.subscription.prefetch)
        row["transactional"] = bool(self.transactions)
        return row

    # ---- CONNECT

    def connect(self, headers: Headers) -> None:
        """CONNECT or STOMP. Raises what is against it."""
        version = best_version(value_of(headers, b"accept-version"))
        if version == STOMP_10:
            headers = [(name, value.lstrip(b" \t")) for name, value in headers]
        sends_ms, hears_ms = heart_beat(value_of(headers, b"heart-beat"), self.settings.heartbeat_min_ms)
        self._login(headers)
        vhost = self._find_vhost(value_of(headers, b"host"))
        self.vhost = vhost
        peer = self.peer
        peer.vhost = vhost
        peer.version = version
        peer.body_max = self.settings.message_size_max_bytes
        peer.heads = Heads(self, version, peer.style)
        self.session_id = "session-" + secrets.token_urlsafe(9)
        self.state = RUNNING
        self.sends_every_ms = sends_ms
        self.hears_every_ms = hears_ms
        self.heartbeat_s = (max(sends_ms, hears_ms) + 999) // 1000
        told: Headers = [
            (b"version", f"{int(version) // 10}.{int(version) % 10}".encode()),
            (b"heart-beat", f"{int(sends_ms)},{int(hears_ms)}".encode()),
            (b"session", self.session_id.encode()),
            (b"server", f"{self.settings.product}/{self.settings.version}".encode()),
        ]
        peer.out.write(frame(b"CONNECTED", told, b"", STOMP_10))
        peer.touch()
        if self.broker.blocked:
            self.block(self.broker.blocked)

    def _login(self, headers: Headers) -> None:
        settings = self.settings
        login = value_of(headers, b"login")
        passcode = value_of(headers, b"passcode")
        name = settings.default_login if login is None else text_of(login)
        password = settings.default_passcode if passcode is None else passcode
        access = self.broker.access
        user = access.check(name, password)
        if user is None:
            self.close_reason = f"login of '{name}' refused"
            raise FrameRefused("Bad CONNECT", f"Access refused for user '{name}'\n")
        if not access.may_come_from(user, self.loopback):
            self.close_reason = f"login of '{name}' refused: it can only connect via localhost"
            raise FrameRefused("Bad CONNECT", "non-loopback access denied\n")
        self.user = user

    def _find_vhost(self, host: bytes | None) -> VHost:
        """ActiveMQ has none: its clients send the name of the machine, and get the first one."""
        name = self.vhost_name if host is None else text_of(host)
        vhost = self.broker.vhosts.get(name)
        if vhost is None and self.settings.style == ACTIVEMQ:
            vhost = self.broker.vhosts.get(self.vhost_name)
        if vhost is None:
            raise FrameRefused("Bad CONNECT", f"Virtual host '{name}' access denied\n")
        self.vhost_name = vhost.name
        return vhost

    # ---- publishing

    def resolve(self, sending: Sending) -> Route:
        """Where a SEND goes; the queue that it names is made if it is not there. Raises what is against it."""
        vhost = self.vhost
        assert vhost is not None
        self.publishes = True
        position = ensure_queue(vhost, sending.target.place, sending.headers, self)
        if position > self.peer.position:
            self.peer.position = position
        raw = sending.target.raw
        route = vhost.routes.get(raw)
        return vhost.resolve(raw) if route is None else route

    def check_user_id(self, claimed: bytes) -> None:
        """RabbitMQ's validated user-id. Raises PreconditionFailed."""
        user = self.user
        if text_of(claimed) != user.name and "impersonator" not in user.tags:
            raise PreconditionFailed(
                f"user_id property set to '{text_of(claimed)}' but authenticated user was '{user.name}'"
            )

    def reply_queue(self, name: str) -> bytes:
        """The queue behind /temp-queue/ and this name: made when it is named first, and consumed here."""
        known = self.reply_queues.get(name)
        if known is not None:
            return known
        made = make_reply_queue(self, name)
        self.reply_queues[name] = made
        return made

    # ---- transactions

    def transaction(self, name: bytes) -> StompTransaction:
        """Raises FrameRefused."""
        found = self.transactions.get(name)
        if found is None:
            raise FrameRefused("Bad transaction", f"Invalid transaction identifier: {text_of(name)!r}\n")
        return found

    def gathering(self, more: i64) -> None:
        """What transactions keep is bounded for a connection."""
        self.gathered_bytes += more
        if more > 0 and self.gathered_bytes > self.settings.gather_max_bytes:
            raise ResourceError(
                f"more than {int(self.settings.gather_max_bytes)} bytes in transactions on one connection"
            )

    # ---- subscriptions

    def subscription_cancelled(self, subscription: Subscription) -> None:
        """Its queue is gone. As in RabbitMQ the connection goes on."""
        session = subscription.stomp_session
        session.consumers.clear()
        session.subscription = None
        self.peer.expect_acks(None)
        if self.state != RUNNING:
            return
        if self.reply_queues:
            name = text_of(b"" if subscription.sub_id is None else subscription.sub_id)
            if name.startswith(TEMP) and self.reply_queues.pop(name.removeprefix(TEMP), None) is not None:
                self.forget_heads()
        extra: Headers = []
        if subscription.sub_id is not None:
            extra.append((b"subscription", subscription.sub_id))
        self._put_error(
            "Server cancelled subscription",
            extra,
            "The server has canceled a subscription.\n"
            f"No more messages will be delivered for {subscription.description}.\n",
        )

    def forget_heads(self) -> None:
        """What SENDs meant so far has to be found out again."""
        peer = self.peer
        if peer.heads is not None:
            peer.heads.forget()
        peer.last = None

    # ---- errors and the end

    def _put_error(self, summary: str, extra: Headers, text: str) -> None:
        self.peer.out.write(self._error(summary, extra, text))
        self.peer.touch()

    def _error(self, summary: str, extra: Headers, text: str) -> bytes:
        headers: Headers = [
            (b"message", raw(summary)),
            (b"content-type", b"text/plain"),
            (b"version", SUPPORTED),
        ]
        headers.extend(extra)
        version = self.peer.version
        return frame(b"ERROR", headers, raw(text), version if version > 0 else i64(STOMP_10))

    def fail_at(self, error: LeveretError, command: bytes, head: bytes) -> None:
        """An error of one frame: the ERROR says which, and has its receipt."""
        extra: Headers = []
        receipt = self.peer.receipt_of(head)
        if receipt is not None:
            extra.append((b"receipt-id", receipt))
        if command in (b"CONNECT", b"STOMP"):
            shown = text_of(command)  # the rest has a password
        else:
            shown = head[:SHOWN_BYTES].decode("utf-8", "backslashreplace").rstrip()
        self._fail(error, extra, f"{error.text.rstrip()}\n\nThe frame:\n-----\n{shown}\n-----\n")

    def fail(self, error: LeveretError) -> None:
        """An error of the connection: say why, let go of everything, end."""
        self._fail(error, [], error.text.rstrip() + "\n")

    def _fail(self, error: LeveretError, extra: Headers, text: str) -> None:
        if self.state >= CLOSING:
            return
        if not self.close_reason:
            self.close_reason = error.text.strip()
        summary = error.name.lower()
        if isinstance(error, (FrameRefused, InvalidDestination)):
            summary = error.summary
        self._end_with(self._error(summary, extra, text))

    def close(self, error: LeveretError) -> None:
        """Close from our side: shutdown, or an operator's wish."""
        if self.state == CONNECTING:
            self.shut()
        elif self.state == RUNNING:
            self.close_reason = error.reply_text
            self.fail(error)

    def disconnect(self, receipt: bytes | None) -> None:
        """DISCONNECT: once all receipts are given, it is over."""
        peer = self.peer
        self.end_sessions()  # before the receipt: what it settled, and what goes back, is so by then
        if receipt is not None:
            peer.receipts.add(escape(receipt, peer.version), peer.position)
        self._end_with(b"")

    def _end_with(self, last_words: bytes) -> None:
        self.end_sessions()
        self.state = CLOSING
        peer = self.peer
        peer.stopped = True
        peer.touch()
        peer.receipts.end(last_words)

    def shut(self) -> None:
        """The end: what is written goes out, then the socket is closed."""
        self.state = CLOSED
        self.peer.stopped = True
        self.peer.touch()

    def lost(self) -> None:
        """The socket is gone."""
        self.end_sessions()
        self.state = CLOSED
        peer = self.peer
        peer.stopped = True
        peer.receipts.close()
        peer.out = BytesWriter()

    def end_sessions(self) -> None:
        """Let go of everything: transactions, subscriptions, unsettled deliveries, queues of its own."""
        if self.state == RUNNING:
            self.state = CLOSING  # nobody is told of what goes with it
        transactions = self.transactions
        self.transactions = {}
        for tx in transactions.values():
            tx.rollback()
        peer = self.peer
        sessions = peer.subscribers
        peer.subscribers = {}
        peer.expect_acks(None)
        vhost = self.vhost
        if vhost is None:
            return
        for session in sessions.values():
            subscription = session.subscription
            session.subscription = None
            session.consumers.clear()
            if subscription is not None:
                vhost.cancel(subscription)
            session.lose_all()
        vhost.owner_gone(self)

    # ---- time

    def tick(self, now_ms: i64) -> i64:
        """Heart-beats: a line end for each half interval of silence, and two intervals of the other side's are its
        end. Returns the next deadline; 0: none."""
        if self.state != RUNNING or (self.sends_every_ms == 0 and self.hears_every_ms == 0):
            return 0
        peer = self.peer
        if peer.heard or self.heard_ms == 0 or not peer.link.hears():
            peer.heard = False
            self.heard_ms = now_ms
        elif self.hears_every_ms > 0 and now_ms - self.heard_ms > 2 * self.hears_every_ms:
            self.close_reason = f"missed heart-beats from client, timeout: {int(self.hears_every_ms)} ms"
            self.end_sessions()
            peer.receipts.close()
            self.shut()
            return 0
        if self.sends_every_ms > 0 and now_ms >= self.next_beat_ms:
            if not peer.spoke and self.next_beat_ms > 0:
                peer.out.append(10)
                peer.flush()  # now, so that it does not count as something said
            peer.spoke = False
            self.next_beat_ms = now_ms + self.sends_every_ms // 2
        return self.next_beat_ms if self.sends_every_ms > 0 else self.heard_ms + 2 * self.hears_every_ms


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\0", b"\\0")


def best_version(accepted: bytes | None) -> i64:
    """The highest that both speak; a client that names none speaks 1.0. Raises FrameRefused."""
    if accepted is None:
        return STOMP_10
    best = 0
    for each in accepted.split(b","):
        best = max(best, VERSIONS.get(each.strip(), 0))
    if best == 0:
        raise FrameRefused("Version mismatch", f"Supported versions are {SUPPORTED.decode()}\n")
    return best


def heart_beat(told: bytes | None, least_ms: i64) -> tuple[i64, i64]:
    """How often we send, and how often the client does, in ms; 0 for not at all. Raises FrameRefused."""
    if told is None:
        return 0, 0
    parts = told.split(b",")
    can: i64 = digits_of(parts[0].strip()) if len(parts) == 2 else -1
    wants: i64 = digits_of(parts[1].strip()) if len(parts) == 2 else -1
    if can < 0 or wants < 0:
        raise FrameRefused("Invalid header", "'heart-beat' is two numbers of ms with a comma between them\n")
    return within(wants, least_ms), within(can, least_ms)


def within(interval_ms: i64, least_ms: i64) -> i64:
    return 0 if interval_ms == 0 else min(max(interval_ms, least_ms), BEAT_MAX_MS)
