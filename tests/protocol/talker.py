"""A client without a socket: bytes into a peer on a broker in memory, and what it writes as methods with contents.

`Talker.says` feeds the peer, `heard` takes what it wrote since the last time. Nothing is on disk before `sync`.
"""

from __future__ import annotations

from collections.abc import Callable

from librt.strings import BytesWriter

from leveret.core.access import User
from leveret.core.session import Session
from leveret.protocol.amqp091.connection import Connection, Settings
from leveret.protocol.amqp091.peer import AmqpPeer
from leveret.protocol.peering import Link
from leveret.wire import methods, requests
from leveret.wire.frames import (
    FRAME_BODY,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    PROTOCOL_HEADER,
    ContentHeader,
    FrameSplitter,
    body_frames,
    content_header,
)
from leveret.wire.signatures import decode_method
from leveret.wire.table import encode_table

from ..rig import Rig

NO_PROPERTIES = b"\0\0"
PERSISTENT = b"\x10\0\x02"
CAPABILITIES: dict[str, object] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class MemoryLink(Link):
    """Keeps what is written, and knows whether anything would be read."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.paused = False

    def write(self, parts: list[bytes]) -> None:
        self.sent.extend(parts)

    def pause_for(self, session: Session) -> None:
        self.paused = True

    def resume_for(self, session: Session) -> None:
        self.paused = False

    def hears(self) -> bool:
        return not self.paused


class Heard:
    """A method that came, with its content if it has one. frames: the sizes of its body frames, whole."""

    def __init__(self, channel: int, name: str, fields: dict[str, object]) -> None:
        self.channel = channel
        self.name = name
        self.fields = fields
        self.properties = b""
        self.body = b""
        self.frames: list[int] = []

    def __repr__(self) -> str:
        return f"{self.channel} {self.name} {self.fields} {self.body!r}"

    def __getitem__(self, field: str) -> object:
        return self.fields[field]


def request(write: Callable[..., None], *args: object, **options: object) -> bytes:
    """The bytes of one of leveret.wire.requests (or methods)."""
    out = BytesWriter()
    write(out, *args, **options)
    return out.getvalue()


def publish(
    channel: int,
    key: str,
    body: bytes,
    properties: bytes = NO_PROPERTIES,
    exchange: str = "",
    mandatory: bool = False,
    frame_max: int = 131_072,
) -> bytes:
    out = BytesWriter()
    requests.basic_publish_raw(out, channel, methods.route_bytes(exchange, key), mandatory)
    content_header(out, channel, len(body), properties)
    body_frames(out, channel, body, frame_max)
    return out.getvalue()


def start_ok(
    password: str = "guest",
    mechanism: str = "PLAIN",
    capabilities: dict[str, object] | None = None,
    response: bytes | None = None,
) -> bytes:
    known = CAPABILITIES if capabilities is None else capabilities
    properties: dict[str, object] = {"product": "talker", "capabilities": known}
    if response is None:
        response = f"\0guest\0{password}".encode()
    return request(requests.connection_start_ok, encode_table(properties), mechanism, response, "en_US")


def opening(frame_max: int = 131_072, channel_max: int = 2_047, heartbeat_s: int = 0) -> bytes:
    """All that a client says until its connection is open."""
    tune_ok = request(requests.connection_tune_ok, channel_max, frame_max, heartbeat_s)
    return PROTOCOL_HEADER + start_ok() + tune_ok + request(requests.connection_open, "/")


class Talker:
    def __init__(self, rig: Rig | None = None) -> None:
        self.rig = Rig() if rig is None else rig
        self.rig.broker.access.add(User("guest", "guest", None, ()))
        self.link = MemoryLink()
        self.connection = Connection(
            self.rig.broker, Settings("Leveret", "0", "test"), self.link, loopback=True
        )
        self.taken = 0
        self.splitter = FrameSplitter()

    @property
    def peer(self) -> AmqpPeer:
        return self.connection.peer

    def opened(self, *channels: int, frame_max: int = 131_072, heartbeat_s: int = 0) -> Talker:
        """An open connection with these channels, and nothing left to hear."""
        self.says(opening(frame_max, heartbeat_s=heartbeat_s))
        for channel in channels:
            self.says(request(requests.channel_open, channel))
        assert self.names() == ["connection.start", "connection.tune", "connection.open_ok"] + [
            "channel.open_ok" for _ in channels
        ]
        return self

    # ---- talking

    def says(self, *data: bytes, step: int = 0) -> None:
        """One turn: the data, in pieces of `step` bytes (0: each as it is)."""
        for each in data:
            for at in range(0, len(each), step or len(each) or 1):
                self.peer.receive(each[at : at + step] if step else each)
        self.turn()

    def asks(self, write: Callable[..., None], *args: object, **options: object) -> Heard:
        """One request, everything on disk, and the one answer to it."""
        self.says(request(write, *args, **options))
        self.sync()
        heard = self.heard()
        assert len(heard) == 1, heard
        return heard[0]

    def turn(self) -> None:
        """What the loop does, without the disk."""
        self.rig.turn()
        self.rig.broker.turn.flush()

    def sync(self) -> None:
        """Everything to disk, and what follows from that."""
        self.rig.settle_down()
        self.rig.broker.turn.flush()

    def lost(self) -> None:
        """The network is gone."""
        self.connection.lost()
        self.sync()

    # ---- hearing

    def sent(self) -> bytes:
        """All bytes that came so far."""
        return b"".join(self.link.sent)

    def heard(self) -> list[Heard]:
        """What came since the last time, heartbeats too; every frame has to be sound."""
        found: list[Heard] = []
        fresh = self.link.sent[self.taken :]
        self.taken = len(self.link.sent)
        for frame in self.splitter.feed(b"".join(fresh)):
            if frame.kind == FRAME_METHOD:
                method = decode_method(frame.payload)
                found.append(Heard(frame.channel, method.name, method.fields))
            elif frame.kind == FRAME_HEARTBEAT:
                found.append(Heard(0, "heartbeat", {}))
            else:
                content = found[-1]
                assert frame.channel == content.channel
                if frame.kind == FRAME_BODY:
                    content.body += frame.payload
                    content.frames.append(len(frame.payload) + 8)
                else:
                    header = ContentHeader(frame.payload)
                    content.properties = header.properties
        assert self.splitter.waiting_bytes() == 0
        return found

    def names(self) -> list[str]:
        return [each.name for each in self.heard()]

    def one(self) -> Heard:
        heard = self.heard()
        assert len(heard) == 1, heard
        return heard[0]

    def declare(self, name: str = "q", channel: int = 1, **options: bool) -> None:
        assert self.asks(requests.queue_declare, channel, name, **options).name == "queue.declare_ok"

    def bodies(self, queue: str = "q", channel: int = 1) -> list[bytes]:
        """Empty a queue by basic.get."""
        found: list[bytes] = []
        while True:
            got = self.asks(requests.basic_get, channel, queue, no_ack=True)
            if got.name == "basic.get_empty":
                return found
            found.append(got.body)


def closed(heard: Heard) -> tuple[str, object, object, tuple[object, object]]:
    """What a close says: which, its code, text, and the class and method that it names."""
    return heard.name, heard["reply_code"], heard["reply_text"], (heard["class_id"], heard["method_id"])
