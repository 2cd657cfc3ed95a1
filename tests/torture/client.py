"""A small AMQP 0-9-1 client on a blocking socket, written from the specification and sharing nothing with Leveret.

It knows frames and the few methods that torture needs. Deliveries, confirms and answers come out of `poll` as events.
One connection, one channel.
"""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from dataclasses import dataclass

END = b"\xce"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0

START, TUNE, OPEN_OK = (10, 10), (10, 30), (10, 41)
CONNECTION_CLOSE, CONNECTION_CLOSE_OK = (10, 50), (10, 51)
BLOCKED, UNBLOCKED = (10, 60), (10, 61)
CHANNEL_OPEN_OK, CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 11), (20, 40), (20, 41)
EXCHANGE_DECLARE_OK, QUEUE_DECLARE_OK, BIND_OK = (40, 11), (50, 11), (50, 21)
QOS_OK, CONSUME_OK, CANCEL_OK, DELIVER = (60, 11), (60, 21), (60, 31), (60, 60)
ACK, NACK = (60, 80), (60, 120)
CONFIRM_OK, TX_SELECT_OK, TX_COMMIT_OK = (85, 11), (90, 11), (90, 21)

PERSISTENT = struct.pack(">HB", 0x1000, 2)
Name = tuple[int, int]


class Closed(Exception):
    """The broker closed the connection, politely or not."""


@dataclass(frozen=True)
class Delivery:
    tag: int
    redelivered: bool
    body: bytes
    queue: str  # as the consumer tag says


@dataclass(frozen=True)
class Event:
    """A method that is not a delivery, with its undecoded arguments."""

    name: Name
    arguments: bytes


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + END


def method(channel: int, name: Name, arguments: bytes = b"") -> bytes:
    return frame(METHOD, channel, struct.pack(">HH", *name) + arguments)


def short(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">B", len(data)) + data


def long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def table(fields: dict[str, object]) -> bytes:
    """A field table of texts, whole numbers, truths and tables, without its length."""
    out = b""
    for name, value in fields.items():
        out += short(name)
        if isinstance(value, bool):
            out += b"t" + bytes((value,))
        elif isinstance(value, int):
            out += b"l" + struct.pack(">q", value)
        elif isinstance(value, dict):
            out += b"F" + long(table(value))
        else:
            out += b"S" + long(str(value).encode())
    return out


def properties(headers: dict[str, object], priority: int = -1, expiration: str = "") -> bytes:
    """Of a persistent message."""
    flags = 0x3000
    out = long(table(headers)) + b"\2"
    if priority >= 0:
        flags |= 0x0800
        out += bytes((priority,))
    if expiration:
        flags |= 0x0100
        out += short(expiration)
    return struct.pack(">H", flags) + out


def login_frames(frame_max: int = 131_072) -> list[bytes]:
    """What a client says until it is in, a step each: torture stops at any of them."""
    start_ok = long(b"") + short("PLAIN") + long(b"\0guest\0guest") + short("en_US")
    return [
        b"AMQP\x00\x00\x09\x01",
        method(0, (10, 11), start_ok),
        method(0, (10, 31), struct.pack(">HIH", 2047, frame_max, 0)),
        method(0, (10, 40), short("/") + short("") + b"\0"),
        method(1, (20, 10), short("")),
    ]


class Client:
    """Logged in, with channel 1 open, after construction."""

    def __init__(self, port: int, receive_buffer: int = 0, frame_max: int = 131_072) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frame_max = frame_max
        self._data = bytearray()
        self._events: deque[Event | Delivery] = deque()
        self._deliver = b""
        self._size = 0
        self._pieces: list[bytes] = []
        try:
            header, start_ok, tune_ok, open_, channel = login_frames(frame_max)
            self.send(header)
            self.wait_for(START)
            self.send(start_ok)
            self.wait_for(TUNE)
            self.send(tune_ok + open_)
            self.wait_for(OPEN_OK)
            self.send(channel)
            self.wait_for(CHANNEL_OPEN_OK)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    # out

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise AssertionError(f"the broker has taken nothing for {TIMEOUT_S} s") from None
        except OSError as error:
            raise Closed(str(error)) from None

    def call(self, name: Name, arguments: bytes, answer: Name) -> bytes:
        self.send(method(1, name, arguments))
        return self.wait_for(answer)

    def content(self, exchange: str, key: str, body: bytes, properties: bytes = PERSISTENT) -> bytes:
        """The frames of a publish."""
        parts = [
            method(1, (60, 40), b"\0\0" + short(exchange) + short(key) + b"\0"),
            frame(HEADER, 1, struct.pack(">HHQ", 60, 0, len(body)) + properties),
        ]
        step = self.frame_max - 8
        parts += [frame(BODY, 1, body[at : at + step]) for at in range(0, len(body), step)]
        return b"".join(parts)

    def declare_exchange(self, name: str, kind: str, arguments: bytes = b"") -> None:
        more = short(name) + short(kind) + b"\x02" + long(arguments)
        self.call((40, 10), b"\0\0" + more, EXCHANGE_DECLARE_OK)

    def declare(self, queue: str, passive: bool = False, durable: bool = True, arguments: bytes = b"") -> int:
        """How many messages wait in it. arguments: an encoded table."""
        flags = (1 if passive else 0) | (2 if durable else 0)
        more = short(queue) + bytes((flags,)) + long(arguments)
        answer = self.call((50, 10), b"\0\0" + more, QUEUE_DECLARE_OK)
        return int(struct.unpack_from(">I", answer, 1 + answer[0])[0])

    def bind(self, queue: str, exchange: str, key: str = "") -> None:
        arguments = b"\0\0" + short(queue) + short(exchange) + short(key) + b"\0" + long(b"")
        self.call((50, 20), arguments, BIND_OK)

    def qos(self, count: int) -> None:
        self.call((60, 10), struct.pack(">IHB", 0, count, 0), QOS_OK)

    def consume(self, queue: str, no_ack: bool = False) -> None:
        flags = b"\x02" if no_ack else b"\0"
        self.call((60, 20), b"\0\0" + short(queue) + short(queue) + flags + long(b""), CONSUME_OK)

    def cancel(self, queue: str) -> None:
        self.call((60, 30), short(queue) + b"\0", CANCEL_OK)

    def ack(self, tag: int, multiple: bool = False) -> None:
        self.send(method(1, ACK, struct.pack(">QB", tag, multiple)))

    def nack(self, tag: int, multiple: bool = False) -> None:
        """With requeue."""
        self.send(method(1, NACK, struct.pack(">QB", tag, 2 | multiple)))

    def reject(self, tag: int) -> None:
        """Without requeue."""
        self.send(method(1, NACK, struct.pack(">QB", tag, 0)))

    def confirm(self) -> None:
        self.call((85, 10), b"\0", CONFIRM_OK)

    def tx(self) -> None:
        self.call((90, 10), b"", TX_SELECT_OK)

    def commit(self) -> None:
        self.call((90, 20), b"", TX_COMMIT_OK)

    def close(self) -> None:
        """The polite end: what was sent before it has been handled when it returns."""
        try:
            self.send(method(0, CONNECTION_CLOSE, struct.pack(">H", 200) + short("bye") + b"\0\0\0\0"))
            self.wait_for(CONNECTION_CLOSE_OK)
        finally:
            self.drop()

    def drop(self) -> None:
        self.socket.close()

    # in

    def wait_for(self, name: Name) -> bytes:
        """The arguments of the next method of that name; everything else stays for `poll`."""
        kept: list[Event | Delivery] = []
        while True:
            event = self.next()
            if event is None:
                raise AssertionError(f"no answer {name} within {TIMEOUT_S} s")
            if isinstance(event, Event) and event.name == name:
                self._events.extendleft(reversed(kept))
                return event.arguments
            kept.append(event)

    def next(self, timeout_s: float = TIMEOUT_S) -> Event | Delivery | None:
        """The next event; None if there is none within the time."""
        while not self._events:
            try:
                if not select.select([self.socket], [], [], timeout_s)[0]:
                    return None
                data = self.socket.recv(CHUNK_BYTES)
            except OSError as error:
                raise Closed(str(error)) from None
            if not data:
                raise Closed("end of stream")
            self._data += data
            self._split()
        return self._events.popleft()

    def poll(self) -> list[Event | Delivery]:
        """What has come already."""
        found: list[Event | Delivery] = []
        while True:
            event = self.next(0.0)
            if event is None:
                return found
            found.append(event)

    def _split(self) -> None:
        data = self._data
        at = 0
        while len(data) - at >= 8:
            kind, _, size = struct.unpack_from(">BHI", data, at)
            if len(data) - at < size + 8:
                break
            self._frame(kind, bytes(data[at + 7 : at + 7 + size]))
            at += size + 8
        del data[:at]

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == METHOD:
            name: Name = struct.unpack_from(">HH", payload)
            if name == DELIVER:
                self._deliver = payload[4:]
            elif name in (CONNECTION_CLOSE, CHANNEL_CLOSE):
                code = struct.unpack_from(">H", payload, 4)[0]
                raise Closed(f"{code} {payload[7 : 7 + payload[6]].decode(errors='replace')}")
            else:
                self._events.append(Event(name, payload[4:]))
        elif kind == HEADER:
            self._size = struct.unpack_from(">Q", payload, 4)[0]
            self._pieces = []
            self._whole()
        elif kind == BODY:
            self._pieces.append(payload)
            self._whole()

    def _whole(self) -> None:
        if sum(map(len, self._pieces)) < self._size:
            return
        arguments = self._deliver
        length = arguments[0]
        tag, redelivered = struct.unpack_from(">QB", arguments, 1 + length)
        body = b"".join(self._pieces)
        self._events.append(Delivery(tag, bool(redelivered), body, arguments[1 : 1 + length].decode()))


class Window:
    """Publishes of a channel in confirm mode that are not confirmed yet, each with what its publisher calls it."""

    def __init__(self) -> None:
        self.waiting: dict[int, Name] = {}
        self.last = 0

    def __len__(self) -> int:
        return len(self.waiting)

    def published(self, key: Name) -> None:
        self.last += 1
        self.waiting[self.last] = key

    def confirmed(self, event: Event | Delivery) -> list[Name]:
        """What that event confirms. Confirms may overtake each other; one that comes twice is an error."""
        if isinstance(event, Event) and event.name == NACK:
            raise AssertionError("a publish was refused with basic.nack")
        if not isinstance(event, Event) or event.name != ACK:
            return []
        number, multiple = struct.unpack_from(">QB", event.arguments)
        if number not in self.waiting:
            raise AssertionError(f"publish {number} of {self.last} was confirmed that was not waiting for it")
        if not multiple & 1:
            return [self.waiting.pop(number)]
        found = [tag for tag in self.waiting if tag <= number]
        return [self.waiting.pop(tag) for tag in found]
