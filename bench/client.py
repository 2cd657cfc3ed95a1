"""A blocking AMQP 0-9-1 client of a few methods, to set up what is measured: topology, idle connections, a first
delivery. It measures no rates: the generators in C do."""

from __future__ import annotations

import socket
import struct

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
Method = tuple[int, int]


class Refused(Exception):
    """The broker closed the channel or the connection, with this code and text."""


def short_string(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def long_string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def method_frame(channel: int, number: Method, arguments: bytes) -> bytes:
    payload = struct.pack(">HH", *number) + arguments
    return struct.pack(">BHI", METHOD, channel, len(payload)) + payload + END


class Client:
    """One connection, and channel 1 on it unless told otherwise."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", timeout_s: float = 60.0, channel: bool = True
    ) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self._handshake()
        if channel:
            self.open_channel()

    def _handshake(self) -> None:
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect((10, 10))
        login = (
            long_string(b"") + short_string("PLAIN") + long_string(b"\0guest\0guest") + short_string("en_US")
        )
        self.socket.sendall(method_frame(0, (10, 11), login))
        tune = self.expect((10, 30))
        opening = method_frame(0, (10, 40), short_string("/") + b"\0\0")
        self.socket.sendall(method_frame(0, (10, 31), tune[:6] + b"\0\0") + opening)
        self.expect((10, 41))

    def open_channel(self) -> None:
        self.call((20, 10), b"\0", (20, 11))

    # ---- frames

    def _read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            chunk = self.socket.recv(1 << 16)
            if not chunk:
                raise Refused("the broker closed the connection")
            self.buffer += chunk
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def frame(self) -> tuple[int, bytes]:
        kind, _, size = struct.unpack(">BHI", self._read(7))
        return kind, self._read(size + 1)[:-1]

    def expect(self, wanted: Method) -> bytes:
        """The arguments of the next such method; deliveries and heartbeats before it are passed over."""
        while True:
            kind, payload = self.frame()
            if kind != METHOD:
                continue
            number: Method = struct.unpack(">HH", payload[:4])
            if number == wanted:
                return payload[4:]
            if number in ((10, 50), (20, 40)):
                code, size = struct.unpack(">HB", payload[4:7])
                raise Refused(f"{code} {payload[7 : 7 + size].decode(errors='replace')}")

    def send(self, number: Method, arguments: bytes) -> None:
        self.socket.sendall(method_frame(1, number, arguments))

    def call(self, number: Method, arguments: bytes, answer: Method) -> bytes:
        self.send(number, arguments)
        return self.expect(answer)

    # ---- methods

    def declare_exchange(self, name: str, kind: str) -> None:
        self.call(
            (40, 10), b"\0\0" + short_string(name) + short_string(kind) + b"\0" + long_string(b""), (40, 11)
        )

    def delete_exchange(self, name: str) -> None:
        self.call((40, 20), b"\0\0" + short_string(name) + b"\0", (40, 21))

    def declare_queue(self, name: str, durable: bool = False) -> int:
        """Returns how many messages wait in it."""
        bits = b"\x02" if durable else b"\0"
        answer = self.call((50, 10), b"\0\0" + short_string(name) + bits + long_string(b""), (50, 11))
        count: int = struct.unpack_from(">I", answer, 1 + answer[0])[0]
        return count

    def delete_queue(self, name: str) -> None:
        self.call((50, 40), b"\0\0" + short_string(name) + b"\0", (50, 41))

    def bind(self, queue: str, exchange: str, key: str) -> None:
        names = short_string(queue) + short_string(exchange) + short_string(key)
        self.call((50, 20), b"\0\0" + names + b"\0" + long_string(b""), (50, 21))

    def first_delivery(self, queue: str) -> None:
        """Consume, and return when the body of one message is here."""
        self.call((60, 10), struct.pack(">IHB", 0, 1, 0), (60, 11))
        self.call((60, 20), b"\0\0" + short_string(queue) + b"\0\0" + long_string(b""), (60, 21))
        while self.frame()[0] != BODY:
            pass

    def close(self) -> None:
        """Close with an answer, so that the broker has taken everything."""
        try:
            self.socket.sendall(
                method_frame(0, (10, 50), struct.pack(">H", 200) + b"\0" + struct.pack(">HH", 0, 0))
            )
            self.expect((10, 51))
        except (OSError, Refused):
            pass
        self.socket.close()
