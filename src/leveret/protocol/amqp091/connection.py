"""The connection's own conversation on channel 0 (AMQP 0-9-1, connection class).

    HEADER -> START -> [SECURE ->] TUNE -> OPENING -> RUNNING -> CLOSED
    any --error--> CLOSING (connection.close sent; all is passed over but close and close-ok) --> CLOSED

It knows credentials, negotiation and the life of channels; frames are cut in peer.py, methods of channels are in
methods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be

from leveret import limits
from leveret.core.access import User
from leveret.core.broker import Broker
from leveret.errors import (
    ChannelError,
    CommandInvalid,
    FrameError,
    LeveretError,
    LoginRefused,
    MalformedFrame,
    NotAllowed,
    PeerError,
    ResourceError,
    UnexpectedFrame,
)
from leveret.native import i64
from leveret.protocol.amqp091.channel import AmqpChannel
from leveret.protocol.amqp091.peer import AmqpPeer, Link, frame_text
from leveret.wire import methods as wire
from leveret.wire.buffer import Reader
from leveret.wire.table import decode_table, encode_table, read_table

if TYPE_CHECKING:
    from leveret.core.vhost import Route, VHost

HEADER: Final = 0
STARTING: Final = 1
SECURING: Final = 2
TUNING: Final = 3
OPENING: Final = 4
RUNNING: Final = 5
CLOSING: Final = 6
CLOSED: Final = 7
STATES: Final = ("handshake", "starting", "securing", "tuning", "opening", "running", "closing", "closed")

NOBODY: Final = User("", None, None, ())
FRAME_METHOD: Final[i64] = 1


class Settings:
    """What a listener offers and allows."""

    def __init__(self, product: str, version: str, platform: str) -> None:
        self.product = product
        self.version = version
        self.platform = platform
        self.frame_max_bytes: i64 = limits.FRAME_MAX_BYTES
        self.channel_max: i64 = limits.CHANNELS_PER_CONNECTION
        self.heartbeat_s: i64 = limits.HEARTBEAT_S
        self.message_size_max_bytes: i64 = limits.MESSAGE_SIZE_BYTES
        self.gather_max_bytes: i64 = 4 * limits.MESSAGE_SIZE_BYTES

    def server_properties(self) -> dict[str, object]:
        capabilities: dict[str, object] = {
            "publisher_confirms": True,
            "exchange_exchange_bindings": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "connection.blocked": True,
            "authentication_failure_close": True,
            "per_consumer_qos": True,
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


class Connection:
    def __init__(self, broker: Broker, settings: Settings, link: Link, loopback: bool) -> None:
        self.broker = broker
        self.settings = settings
        self.loopback = loopback
        self.state = HEADER
        self.started = False  # the protocol header was taken
        self.user = NOBODY
        self.vhost: VHost | None = None
        self.vhost_name = "/"
        self.mechanism = ""
        self.client_properties: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.wants_cancels = False
        self.wants_blocked = False
        self.blocked = ""  # why publishing is blocked, and the client was told
        self.channel_max: i64 = settings.channel_max
        self.heartbeat_s: i64 = 0
        self.gathered_bytes: i64 = 0  # content and transactions that are not whole yet
        self.publishes = False  # has published: back-pressure concerns it
        self.close_reason = ""
        self.peer = AmqpPeer(self, broker.turn, link)
        self.next_heartbeat_ms: i64 = 0
        self.silent_ticks: i64 = 0

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
                self.peer.out, 0, 9, encode_table(self.settings.server_properties()), b"PLAIN AMQPLAIN", b"en_US"
            )
            self.peer.touch()
            return 8
        # Not a version we speak: name one that we do, and close.
        self.peer.out.write(b"AMQP\x00\x00\x09\x01")
        self.peer.touch()
        self.close_reason = "bad protocol header"
        self._shut()
        return -1

    # ---- channel 0

    def frame(self, kind: i64, payload: bytes) -> None:
        if kind != FRAME_METHOD:
            if kind in (2, 3):
                if self.state == CLOSING:
                    return
                raise UnexpectedFrame(frame_snippet(kind, payload))
            if self.state == CLOSING:
                return
            raise FrameError(frame_text(kind, payload))
        if len(payload) < 4:
            raise MalformedFrame("a method frame without a method")
        method = i64(read_i32_be(payload, 0))
        r = Reader(payload, 4)
        if self.state == CLOSING or self.state == CLOSED:
            if method == wire.CONNECTION_CLOSE:
                wire.connection_close_ok(self.peer.out)
                self.peer.touch()
            elif method == wire.CONNECTION_CLOSE_OK:
                self._shut()
            return
        try:
            self.method(method, r)
        except PeerError as error:
            error.method = int(method)
            raise

    def method(self, method: i64, r: Reader) -> None:
        state = self.state
        if method == wire.CONNECTION_START_OK and state == STARTING:
            self._start_ok(r)
        elif method == wire.CONNECTION_SECURE_OK and state == SECURING:
            self._login(r.longstr())
        elif method == wire.CONNECTION_TUNE_OK and state == TUNING:
            self._tune_ok(r)
        elif method == wire.CONNECTION_OPEN and state == OPENING:
            self._open(r)
        elif method == wire.CONNECTION_CLOSE:
            code = r.short()
            text = r.shortstr()
            self.close_reason = f"closed by the client: {code} {text}" if code != 200 else ""
            self.end_channels()
            wire.connection_close_ok(self.peer.out)
            self.peer.touch()
            self._shut()
        elif method == wire.CONNECTION_UPDATE_SECRET and state == RUNNING:
            self._update_secret(r)
        elif wire.method_name(method) == "" or method >> 16 != 10:
            if wire.method_name(method) == "":
                raise CommandInvalid(f"unknown method {{{int(method) >> 16},{int(method) & 0xFFFF}}}")
            raise ChannelError(f"unexpected method in connection state {STATES[state]}")
        else:
            raise ChannelError(f"unexpected method in connection state {STATES[state]}")

    def _start_ok(self, r: Reader) -> None:
        self.client_properties = read_table(r)
        self.mechanism = r.shortstr()
        response = r.longstr()
        r.shortstr()  # locale
        capabilities = self.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.capabilities = capabilities
        self.wants_cancels = self.capabilities.get("consumer_cancel_notify") is True
        self.wants_blocked = self.capabilities.get("connection.blocked") is True
        if self.mechanism not in ("PLAIN", "AMQPLAIN"):
            raise LoginRefused(f"'{self.mechanism}' is not a supported mechanism; use PLAIN or AMQPLAIN")
        self.state = SECURING
        self._login(response)

    def _login(self, response: bytes) -> None:
        """SASL PLAIN (RFC 4616) or AMQPLAIN: a table of LOGIN and PASSWORD without its length."""
        name = ""
        password = b""
        if self.mechanism == "PLAIN":
            fields = response.split(b"\0")
            if len(fields) == 3:
                name = fields[1].decode("utf-8", "surrogateescape")
                password = fields[2]
        else:
            table = decode_table(len(response).to_bytes(4, "big") + response)
            login = table.get("LOGIN")
            secret = table.get("PASSWORD")
            name = login if isinstance(login, str) else ""
            password = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else b""
        access = self.broker.access
        user = access.check(name, password)
        if user is None:
            raise LoginRefused(
                f"Login was refused using authentication mechanism {self.mechanism}. "
                "For details see the broker logfile."
            )
        if not access.may_come_from(user, self.loopback):
            raise LoginRefused(
                f"Login was refused using authentication mechanism {self.mechanism}: "
                f"user '{name}' can only connect via localhost"
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
        if frame_max == 0:
            frame_max = s.frame_max_bytes
        elif frame_max < limits.FRAME_MIN_BYTES or frame_max > s.frame_max_bytes:
            word = "lower than the minimum" if frame_max < limits.FRAME_MIN_BYTES else "higher than the maximum"
            allowed = limits.FRAME_MIN_BYTES if frame_max < limits.FRAME_MIN_BYTES else s.frame_max_bytes
            raise NotAllowed(f"negotiated frame_max = {int(frame_max)} is {word} allowed value ({int(allowed)})")
        if channel_max == 0:
            channel_max = s.channel_max
        elif channel_max > s.channel_max:
            raise NotAllowed(
                f"negotiated channel_max = {int(channel_max)} is higher than the maximum "
                f"allowed value ({int(s.channel_max)})"
            )
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
        self.peer.routes = vhost.routes
        self.state = RUNNING
        wire.connection_open_ok(self.peer.out)
        self.peer.touch()
        if self.broker.blocked:
            self.block(self.broker.blocked)

    def _update_secret(self, r: Reader) -> None:
        """RabbitMQ's internal users have nothing to update: it refuses unless an OAuth backend is there."""
        r.longstr()
        r.shortstr()
        wire.connection_update_secret_ok(self.peer.out)
        self.peer.touch()

    # ---- channels

    def open_channel(self, number: i64, kind: i64, payload: bytes) -> AmqpChannel | None:
        """A frame for a channel that is not open: only channel.open will do (AMQP 0-9-1, 1.5)."""
        if self.state == CLOSING or self.state == CLOSED:
            return None
        if self.state != RUNNING:
            raise UnexpectedFrame(frame_snippet(kind, payload))
        if kind != FRAME_METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        if len(payload) < 4:
            raise MalformedFrame("a method frame without a method")
        method = i64(read_i32_be(payload, 0))
        if wire.method_name(method) == "":
            raise CommandInvalid(f"unknown method {{{int(method) >> 16},{int(method) & 0xFFFF}}}")
        if method != wire.CHANNEL_OPEN:
            raise ChannelError("expected 'channel.open'")
        if len(self.peer.channels) >= self.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(self.peer.channels)}) has reached the "
                f"negotiated channel_max ({int(self.channel_max)})"
            )
        wire.channel_open_ok(self.peer.out, number)
        self.peer.touch()
        return AmqpChannel(self.peer, number)

    def forget_channel(self, channel: AmqpChannel) -> None:
        channel.gone = True
        self.peer.channels.pop(int(channel.number), None)
        if self.peer.last is channel:
            self.peer.last = None

    def resolve(self, raw: bytes) -> Route:
        vhost = self.vhost
        assert vhost is not None
        if not self.publishes:
            self.publishes = True
        return vhost.resolve(raw)

    def gathering(self, more: i64) -> None:
        """Content that is not whole yet is bounded for a connection."""
        self.gathered_bytes += more
        if more > 0:
            self.publishes = True
            if self.gathered_bytes > self.settings.gather_max_bytes:
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

    def fail(self, error: PeerError) -> None:
        """A connection error: say why, let go of everything, wait for close-ok."""
        if self.state in (CLOSING, CLOSED):
            return
        state = self.state
        self.close_reason = error.reply_text
        self.end_channels()
        if state == HEADER:
            self._shut()
            return
        if state in (STARTING, SECURING) and isinstance(error, LoginRefused):
            if self.capabilities.get("authentication_failure_close") is not True:
                self._shut()
                return
        wire.connection_close(
            self.peer.out, error.code, error.reply_text, error.method >> 16, error.method & 0xFFFF
        )
        self.peer.touch()
        self.state = CLOSING
        if isinstance(error, FrameError) or state != RUNNING:
            self._shut()  # nothing that follows can be trusted

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
            channel.end()
            channel.gone = True
        if self.vhost is not None:
            self.vhost.owner_gone(self)

    def _shut(self) -> None:
        """Nothing more is read; what is written goes out, then the socket is closed."""
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
        if peer.heard:
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


def frame_snippet(kind: i64, payload: bytes) -> str:
    head = payload[:16]
    octets = ",".join([str(b) for b in head])
    word = "all" if len(payload) <= 16 else "first 16"
    return f"type {int(kind)}, {word} octets = <<{octets}>>"
