"""The connection's own conversation on channel 0 (AMQP 0-9-1, connection class).

    HEADER -> STARTING -> TUNING -> OPENING -> RUNNING -> CLOSED
    any --error--> CLOSING (connection.close sent; all is passed over but close and close-ok) --close-ok--> CLOSED

No mechanism that is offered has a challenge, so there is no connection.secure.
It knows credentials, negotiation and the life of channels; frames are cut in peer.py, methods of channels are in
methods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be

from leveret import limits
from leveret.core.broker import Broker
from leveret.core.session import Session
from leveret.errors import (
    ChannelError,
    CommandInvalid,
    FrameError,
    LeveretError,
    LoginRefused,
    LostSync,
    MalformedFrame,
    NotAllowed,
    PeerError,
    ResourceError,
    UnexpectedFrame,
)
from leveret.native import i64
from leveret.protocol.amqp091.channel import AmqpChannel
from leveret.protocol.amqp091.content import at_method
from leveret.protocol.amqp091.methods import unknown
from leveret.protocol.amqp091.peer import HEARTBEAT, METHOD, AmqpPeer, snippet, well_formed
from leveret.protocol.peering import Conversation, Link, Peer
from leveret.wire import methods as wire
from leveret.wire.buffer import Reader
from leveret.wire.frames import frame_error
from leveret.wire.signatures import check_method
from leveret.wire.table import decode_table, encode_table, read_table

if TYPE_CHECKING:
    from leveret.core.vhost import Route

HEADER: Final = 0
STARTING: Final = 1
TUNING: Final = 2
OPENING: Final = 3
RUNNING: Final = 4
CLOSING: Final = 5
CLOSED: Final = 6
STATES: Final = ("handshake", "starting", "tuning", "opening", "running", "closing", "closed")


class Settings:
    """What a listener offers and allows."""

    def __init__(self, product: str, version: str, platform: str) -> None:
        self.product = product
        self.version = version
        self.platform = platform
        self.frame_max_bytes: i64 = limits.FRAME_MAX_BYTES
        self.channel_max: i64 = limits.CHANNELS_PER_CONNECTION
        self.heartbeat_s: i64 = limits.HEARTBEAT_S
        self.overdue_closes_channel = False  # a delivery that is not settled in time
        self.message_size_max_bytes: i64 = limits.MESSAGE_SIZE_BYTES
        self.gather_max_bytes: i64 = 4 * limits.MESSAGE_SIZE_BYTES

    def server_properties(self) -> dict[str, object]:
        capabilities: dict[str, object] = {
            "publisher_confirms": True,
            "exchange_exchange_bindings": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "connection.blocked": True,
            "consumer_priorities": True,
            "authentication_failure_close": True,
            "per_consumer_qos": True,
            "direct_reply_to": True,
        }
        return {
            "capabilities": capabilities,
            "cluster_name": "leveret",
            "copyright": "the Leveret authors",
            "information": "Licensed under the Apache License 2.0",
            "platform": self.platform,
            "product": self.product,
            "version": self.version,
        }


class Connection(Conversation):
    def __init__(self, broker: Broker, settings: Settings, link: Link, loopback: bool) -> None:
        super().__init__(broker, loopback)
        self.settings = settings
        self.state = HEADER
        self.started = False  # the protocol header was taken
        self.mechanism = ""
        self.client_properties: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.wants_cancels = False
        self.wants_blocked = False
        self.channel_max: i64 = settings.channel_max
        self.gathered_bytes: i64 = 0  # content and transactions that are not whole yet
        self.peer = AmqpPeer(self, broker.turn, link)
        self.next_heartbeat_ms: i64 = 0
        self.silent_ticks: i64 = 0

    def is_opening(self) -> bool:
        return self.state < RUNNING

    def is_closing(self) -> bool:
        return self.state == CLOSING

    def is_over(self) -> bool:
        return self.state == CLOSED

    def state_name(self) -> str:
        return STATES[self.state]

    def protocol_name(self) -> str:
        return "AMQP 0-9-1"

    def client(self) -> dict[str, object]:
        return self.client_properties

    def the_peer(self) -> Peer:
        return self.peer

    def bounds(self) -> dict[str, object]:
        return {"frame_max_bytes": int(self.peer.frame_max), "channel_max": int(self.channel_max)}

    def session_row(self, session: Session) -> dict[str, object]:
        assert isinstance(session, AmqpChannel)
        return {
            "number": int(session.number),
            "prefetch": int(session.default_prefetch),
            "channel_prefetch": int(session.prefetch),
            "confirm": session.confirms is not None,
            "transactional": session.tx is not None,
        }

    # ---- the protocol header

    def start(self, data: bytes) -> i64:
        """The protocol header (AMQP 0-9-1, 4.2.2). Returns where frames begin, or -1 to wait or give up."""
        if len(data) < 8:
            if b"AMQP".startswith(data[:4]) or data[:4] == b"AMQP":
                self.peer.keep(data)
                self.peer.need = 8
                return -1
        header = data[:8]
        if header in (b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x09"):
            self.started = True
            self.state = STARTING
            wire.connection_start(
                self.peer.out,
                0,
                9,
                encode_table(self.settings.server_properties()),
                b"PLAIN AMQPLAIN",
                b"en_US",
            )
            self.peer.touch()
            return 8
        # Not a version we speak: name one that we do, and close.
        self.peer.out.write(b"AMQP\x00\x00\x09\x01")
        self.peer.touch()
        self.close_reason = "bad protocol header"
        self._shut()
        return -1

    # ---- frames of channel 0, of channels that are not open, and those that no channel can have

    def frame(self, kind: i64, number: i64, payload: bytes) -> None:
        """In the order of rabbit_reader, handle_frame."""
        state = self.state
        if state >= CLOSING:
            if number == 0 and kind == METHOD and len(payload) >= 4:
                self._while_closing(i64(read_i32_be(payload, 0)))
            return
        if number != 0 and state != RUNNING:
            raise UnexpectedFrame(snippet(kind, payload))
        beats = kind == HEARTBEAT and len(payload) == 0
        if not beats and not well_formed(kind, i64(len(payload))):
            raise frame_error(kind, payload, "unknown_frame")
        if number == 0:
            if kind == METHOD:
                self._method(payload)
            elif not beats:
                raise UnexpectedFrame(snippet(kind, payload))
        elif beats:
            raise UnexpectedFrame(snippet(kind, payload))
        else:
            self._open_channel(number, kind, payload)

    def _while_closing(self, method: i64) -> None:
        if method == wire.CONNECTION_CLOSE:
            wire.connection_close_ok(self.peer.out)
            self.peer.touch()
        elif method == wire.CONNECTION_CLOSE_OK:
            self._shut()

    def _method(self, payload: bytes) -> None:
        method = i64(read_i32_be(payload, 0))
        if wire.method_name(method) == "":
            raise unknown(method)
        try:
            check_method(payload, 4, i64(len(payload)), method)
            self._do(method, Reader(payload, 4))
        except PeerError as error:
            raise at_method(error, method) from None

    def _do(self, method: i64, r: Reader) -> None:
        state = self.state
        if method == wire.CONNECTION_START_OK and state == STARTING:
            self._start_ok(r)
        elif method == wire.CONNECTION_TUNE_OK and state == TUNING:
            self._tune_ok(r)
        elif method == wire.CONNECTION_OPEN and state == OPENING:
            self._open(r)
        elif method == wire.CONNECTION_CLOSE:
            self._close(r)
        elif method == wire.CONNECTION_UPDATE_SECRET and state == RUNNING:
            # An internal user has no secret that could be renewed: RabbitMQ agrees to it, and so do we.
            wire.connection_update_secret_ok(self.peer.out)
            self.peer.touch()
        else:
            raise ChannelError(f"unexpected method in connection state {STATES[state]}")

    def _start_ok(self, r: Reader) -> None:
        self.client_properties = read_table(r)
        self.mechanism = r.shortstr()
        response = r.longstr()
        capabilities = self.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.capabilities = capabilities
        self.wants_cancels = self.capabilities.get("consumer_cancel_notify") is True
        self.wants_blocked = self.capabilities.get("connection.blocked") is True
        if self.mechanism == "PLAIN":
            self._login_plain(response)
        elif self.mechanism == "AMQPLAIN":
            self._login_amqplain(response)
        else:
            raise CommandInvalid(f"unknown authentication mechanism '{self.mechanism}'")

    def _login_plain(self, response: bytes) -> None:
        """RFC 4616. Nobody may act for somebody else."""
        fields = response.split(b"\0")
        if len(fields) != 3 or fields[0] not in (b"", fields[1]):
            raise MalformedFrame("the response is not one of SASL PLAIN")
        self._login(fields[1].decode("utf-8", "surrogateescape"), fields[2])

    def _login_amqplain(self, response: bytes) -> None:
        """A table without its length."""
        table = decode_table(len(response).to_bytes(4, "big") + response)
        name = table.get("LOGIN")
        password = table.get("PASSWORD")
        if not isinstance(name, str) or not isinstance(password, str):
            raise MalformedFrame("AMQPLAIN auth info is missing LOGIN or PASSWORD field")
        self._login(name, password.encode("utf-8", "surrogateescape"))

    def _login(self, name: str, password: bytes) -> None:
        access = self.broker.access
        user = access.check(name, password)
        if user is None or not access.may_come_from(user, self.loopback):
            self.close_reason = f"login of '{name}' refused" + (
                "" if user is None else ": it can only connect via localhost"
            )
            raise LoginRefused(
                f"Login was refused using authentication mechanism {self.mechanism}. "
                "For details see the broker logfile."
            )
        self.user = user
        self.state = TUNING
        s = self.settings
        wire.connection_tune(self.peer.out, s.channel_max, s.frame_max_bytes, s.heartbeat_s)
        self.peer.touch()

    def _tune_ok(self, r: Reader) -> None:
        channel_max: i64 = r.short()
        frame_max: i64 = r.long()
        self.heartbeat_s = r.short()
        s = self.settings
        # The specification's least, not the 8192 of RabbitMQ 4: older clients ask for that.
        negotiated("frame_max", frame_max, limits.FRAME_MIN_BYTES, s.frame_max_bytes)
        negotiated("channel_max", channel_max, 1, s.channel_max)
        self.channel_max = channel_max
        self.peer.frame_max = frame_max
        self.state = OPENING

    def _open(self, r: Reader) -> None:
        name = r.shortstr()
        self.vhost_name = name
        vhost = self.broker.vhosts.get(name)
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        self.vhost = vhost
        self.peer.vhost = vhost
        self.state = RUNNING
        wire.connection_open_ok(self.peer.out)
        self.peer.touch()
        if self.broker.blocked:
            self.block(self.broker.blocked)

    def _close(self, r: Reader) -> None:
        code = r.short()
        text = r.shortstr()
        self.close_reason = f"closed by the client: {code} {text}" if code not in (0, 200) else ""
        for channel in list(self.peer.channels.values()):
            channel.go_on()  # what it sent before it closed counts, whether or not it has seen all answers
        if self.state >= CLOSING:
            return
        self.end_channels()
        wire.connection_close_ok(self.peer.out)
        self.peer.touch()
        self.client_ends = True
        self._shut()

    # ---- channels

    def _open_channel(self, number: i64, kind: i64, payload: bytes) -> None:
        """A frame for a channel that is not open: only channel.open will do (AMQP 0-9-1, 1.5)."""
        peer = self.peer
        if len(peer.channels) >= self.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(peer.channels)}) has reached the "
                f"negotiated channel_max ({int(self.channel_max)})"
            )
        if kind != METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        method = i64(read_i32_be(payload, 0))
        if wire.method_name(method) == "":
            raise unknown(method)
        check_method(payload, 4, i64(len(payload)), method)
        if method != wire.CHANNEL_OPEN:
            raise at_method(ChannelError("expected 'channel.open'"), method)
        peer.channels[int(number)] = AmqpChannel(peer, number)
        wire.channel_open_ok(peer.out, number)
        peer.touch()

    def forget_channel(self, channel: AmqpChannel) -> None:
        channel.gone = True
        self.peer.channels.pop(int(channel.number), None)
        if self.peer.last is channel:
            self.peer.last = None

    def resolve(self, raw: bytes) -> Route:
        """The route of a publish: raw is exchange and routing key as short strings, and an octet of bits."""
        vhost = self.vhost
        assert vhost is not None
        if not self.publishes:
            self.publishes = True
            self.peer.routes = vhost.routes
        route = vhost.routes.get(raw)
        if route is None:
            if not is_route(raw):
                octets = ",".join([str(octet) for octet in raw])
                raise FrameError(f"cannot decode <<{octets}>>")
            route = vhost.resolve(raw)
        return route

    def gathering(self, more: i64) -> None:
        """Content that is not whole yet, and transactions, are bounded for a connection."""
        self.gathered_bytes += more
        if more > 0 and self.gathered_bytes > self.settings.gather_max_bytes:
            raise ResourceError(
                f"more than {int(self.settings.gather_max_bytes)} bytes of unfinished messages on one connection"
            )

    # ---- blocked

    def block(self, reason: str) -> None:
        """Tell a client that asked for it that publishing is blocked (RabbitMQ's connection.blocked)."""
        if self.state == RUNNING and self.wants_blocked and not self.blocked:
            wire.connection_blocked(self.peer.out, reason)
            self.peer.touch()
        self.blocked = reason

    def unblock(self) -> None:
        if self.state == RUNNING and self.wants_blocked and self.blocked:
            wire.connection_unblocked(self.peer.out)
            self.peer.touch()
        self.blocked = ""

    # ---- the end

    def fail(self, error: LeveretError) -> None:
        """A connection error: say why, let go of everything, wait for close-ok. Who serves the socket limits the wait;
        there is one before the connection is open too, since some clients take an end at once for a lost network."""
        if isinstance(error, LostSync):
            self.peer.stopped = True
        if self.state >= CLOSING:
            return
        if not self.close_reason:
            self.close_reason = error.reply_text
        self.end_channels()
        self.state = CLOSING
        if isinstance(error, LoginRefused) and not self.capabilities.get("authentication_failure_close"):
            self._shut()
            return
        wire.connection_close(
            self.peer.out, error.code, error.reply_text, error.method >> 16, error.method & 0xFFFF
        )
        self.peer.touch()

    def close(self, error: LeveretError) -> None:
        """Close from our side: shutdown, or an operator's wish."""
        if self.state == RUNNING:
            self.close_reason = error.reply_text
            self.end_channels()
            wire.connection_close(self.peer.out, error.code, error.reply_text, 0, 0)
            self.peer.touch()
            self.state = CLOSING
        elif self.state < RUNNING:
            self._shut()

    def lost(self) -> None:
        """The socket is gone."""
        self.end_channels()
        self.state = CLOSED
        self.peer.stopped = True
        self.peer.out = BytesWriter()

    def end_channels(self) -> None:
        channels = self.peer.channels
        self.peer.channels = {}
        self.peer.last = None
        for channel in channels.values():
            channel.gone = True
        for channel in channels.values():
            channel.end()
        if self.vhost is not None:
            self.vhost.owner_gone(self)

    def _shut(self) -> None:
        """The end: what is written goes out, then the socket is closed."""
        self.state = CLOSED
        self.peer.stopped = True
        self.peer.touch()

    # ---- time

    def tick(self, now_ms: i64) -> i64:
        """Heartbeats (AMQP 0-9-1, 4.2.7): send each half interval of silence, give up after two intervals of it.
        Returns the next deadline; 0: none. Raises nothing; a dead peer is `stopped`."""
        if self.heartbeat_s == 0 or self.state != RUNNING:
            return 0
        half = self.heartbeat_s * 500
        if self.next_heartbeat_ms == 0:
            self.next_heartbeat_ms = now_ms + half
            return self.next_heartbeat_ms
        if now_ms < self.next_heartbeat_ms:
            return self.next_heartbeat_ms
        self.next_heartbeat_ms = now_ms + half
        peer = self.peer
        if peer.heard or not peer.link.hears():
            self.silent_ticks = 0
        else:
            self.silent_ticks += 1
            if self.silent_ticks >= 4:
                self.close_reason = f"missed heartbeats from client, timeout: {int(self.heartbeat_s)}s"
                self.end_channels()
                self._shut()
                return 0
        peer.heard = False
        if not peer.spoke:
            peer.out.write(b"\x08\x00\x00\x00\x00\x00\x00\xce")
            peer.touch()
        peer.spoke = False
        return self.next_heartbeat_ms


def negotiated(name: str, asked: i64, least: i64, most: i64) -> None:
    """Refuse what was not offered (rabbit_reader, validate_negotiated_integer_value); 0 asks for no limit."""
    detail = " (no limit)" if name == "channel_max" and asked == 0 else ""
    if asked != 0 and asked < least:
        word, bound = "lower than the minimum", least
    elif asked == 0 or asked > most:
        word, bound = "higher than the maximum", most
    else:
        return
    raise NotAllowed(f"negotiated {name} = {int(asked)}{detail} is {word} allowed value ({int(bound)})")


def is_route(raw: bytes) -> bool:
    """Whether bytes are two short strings and an octet."""
    size: i64 = len(raw)
    if size < 3:
        return False
    at = 1 + i64(raw[0])
    return at < size and at + 1 + i64(raw[at]) + 1 == size
