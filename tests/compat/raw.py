"""A socket that speaks AMQP 0-9-1 frame by frame, for what no client would ever send.

Frames are built here (specification, 4.2.3); the arguments of methods are encoded and decoded by pika's
generated `spec`. Nothing is checked on the way out. Values that pika cannot write are given as bytes.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pika import spec
from pika.amqp_object import Method

from .broker import Address

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = b"\xce"
BASIC = 60
TIMEOUT_S = 10.0

CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


@dataclass(frozen=True)
class Frame:
    kind: int
    channel: int
    payload: bytes


@dataclass(frozen=True)
class Content:
    """A method with content as it came: the properties are the bytes after the body size."""

    method: Any
    properties: bytes
    body: bytes
    frame_sizes: tuple[int, ...]


class Closed(Exception):
    """The peer closed the socket."""


def frame(kind: int, channel: int, payload: bytes, end: bytes = FRAME_END) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def method_payload(method: Method) -> bytes:
    return struct.pack(">I", method.INDEX) + b"".join(method.encode())


def method_frame(channel: int, method: Method) -> bytes:
    return frame(METHOD, channel, method_payload(method))


def header_frame(channel: int, body_size: int, properties: bytes = b"\0\0", class_id: int = BASIC) -> bytes:
    """A content header (4.2.6.1). `properties` are the flags word and the property list."""
    return frame(HEADER, channel, struct.pack(">HHQ", class_id, 0, body_size) + properties)


def body_frame(channel: int, body: bytes) -> bytes:
    return frame(BODY, channel, body)


def publish(
    channel: int, routing_key: str, body: bytes, properties: bytes = b"\0\0", exchange: str = ""
) -> bytes:
    """A whole publish in one body frame (none for an empty body)."""
    start = method_frame(channel, spec.Basic.Publish(exchange=exchange, routing_key=routing_key))
    return start + header_frame(channel, len(body), properties) + (body_frame(channel, body) if body else b"")


def table(**entries: bytes) -> bytes:
    """A field table of `name=type and value as bytes`, in the given order."""
    inner = b"".join(struct.pack(">B", len(key)) + key.encode() + value for key, value in entries.items())
    return struct.pack(">I", len(inner)) + inner


def longstr(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


class RawConnection:
    """One socket. `login` brings it to the open state; before that everything is by hand."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket = socket.create_connection((address.host, address.port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.start: Any = None
        self.tune: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    # sending

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_method(self, channel: int, method: Method) -> None:
        self.send(method_frame(channel, method))

    # receiving

    def read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_frame(self) -> Frame:
        kind, channel, size = struct.unpack(">BHI", self.read_exactly(7))
        payload = self.read_exactly(size)
        assert self.read_exactly(1) == FRAME_END
        return Frame(kind, channel, payload)

    def read_method(self, channel: int | None = None) -> Any:
        """The next method, heartbeats passed over; its channel must be `channel` when that is given."""
        found = self.read_frame()
        while found.kind == HEARTBEAT:
            found = self.read_frame()
        assert found.kind == METHOD, found
        assert channel is None or found.channel == channel, found
        method = spec.methods[struct.unpack_from(">I", found.payload)[0]]()
        return method.decode(found.payload, 4)

    def read_content(self, channel: int) -> Content:
        """The next delivery, get-ok or return with its content."""
        method = self.read_method(channel)
        header = self.read_frame()
        assert (header.kind, header.channel) == (HEADER, channel), header
        body_size = struct.unpack_from(">Q", header.payload, 4)[0]
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < body_size:
            piece = self.read_frame()
            assert (piece.kind, piece.channel) == (BODY, channel), piece
            pieces.append(piece.payload)
        return Content(
            method, header.payload[12:], b"".join(pieces), tuple(len(piece) + 8 for piece in pieces)
        )

    def call(self, channel: int, method: Method) -> Any:
        self.send_method(channel, method)
        return self.read_method(channel)

    def read_until_closed(self) -> bytes:
        """Everything up to the end of the stream."""
        data = b""
        try:
            while True:
                data += self.read_exactly(1)
        except Closed:
            return data

    # the usual opening, in steps so that tests can stop anywhere

    def handshake(self) -> Any:
        """Protocol header out, connection.start in."""
        self.send(PROTOCOL_HEADER)
        self.start = self.read_method(0)
        return self.start

    def authenticate(
        self,
        password: str | None = None,
        mechanism: str = "PLAIN",
        response: bytes | None = None,
        capabilities: dict[str, bool] | None = None,
    ) -> None:
        """connection.start-ok, without waiting for the answer."""
        if response is None:
            response = f"\0{self.address.user}\0{password or self.address.password}".encode()
        properties = {
            "product": "raw",
            "capabilities": CAPABILITIES if capabilities is None else capabilities,
        }
        self.send_method(0, spec.Connection.StartOk(properties, mechanism, response, "en_US"))

    def login(
        self, frame_max: int | None = None, channel_max: int | None = None, heartbeat: int = 0
    ) -> RawConnection:
        self.handshake()
        self.authenticate()
        self.tune = self.read_method(0)
        self.tune_ok(frame_max, channel_max, heartbeat)
        answer = self.call(0, spec.Connection.Open(virtual_host=self.address.vhost))
        assert isinstance(answer, spec.Connection.OpenOk), answer
        return self

    def tune_ok(
        self, frame_max: int | None = None, channel_max: int | None = None, heartbeat: int = 0
    ) -> None:
        self.send_method(
            0,
            spec.Connection.TuneOk(
                self.tune.channel_max if channel_max is None else channel_max,
                self.tune.frame_max if frame_max is None else frame_max,
                heartbeat,
            ),
        )

    def open_channel(self, channel: int = 1) -> RawConnection:
        answer = self.call(channel, spec.Channel.Open())
        assert isinstance(answer, spec.Channel.OpenOk), answer
        return self

    def close(self) -> None:
        """The polite end: close and close-ok; then RabbitMQ leaves it to the client to close the socket."""
        answer = self.call(0, spec.Connection.Close(200, "bye", 0, 0))
        assert isinstance(answer, spec.Connection.CloseOk), answer
