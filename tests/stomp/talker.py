"""A small STOMP client that hides nothing: frames as bytes go out, frames with all their headers come in."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.compat.broker import Address

TIMEOUT_S = 10.0
# 1.2's escapes, which 1.1 has too but for the second
ESCAPES = (("\\", "\\\\"), ("\r", "\\r"), ("\n", "\\n"), (":", "\\c"))


@dataclass(frozen=True)
class Frame:
    """headers: the first of each name, unescaped."""

    command: str
    headers: dict[str, str]
    body: bytes

    def header(self, name: str) -> str:
        return self.headers[name]


class Ended(Exception):
    """The broker has closed the connection; the ERROR before it, if there was one, is in the text."""


def escape(text: str) -> str:
    for plain, escaped in ESCAPES:
        text = text.replace(plain, escaped)
    return text


def unescape(text: str) -> str:
    parts = text.split("\\\\")
    for plain, escaped in ESCAPES[1:]:
        parts = [part.replace(escaped, plain) for part in parts]
    return "\\".join(parts)


def encode(command: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = "".join(f"{escape(name)}:{escape(value)}\n" for name, value in headers.items())
    length = f"content-length:{len(body)}\n" if body and "content-length" not in headers else ""
    return f"{command}\n{lines}{length}\n".encode() + body + b"\0"


class Talker:
    """Connected, by the version asked for, after construction."""

    def __init__(
        self, address: Address, version: str = "1.2", heart_beat: str = "0,0", login: bool = True
    ) -> None:
        self.version = version
        self._data = bytearray()
        self._frames: deque[Frame] = deque()
        self._receipts = 0
        self.socket = socket.create_connection((address.host, address.port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connected = Frame("", {}, b"")
        if login:
            headers = {"accept-version": version, "host": "/", "login": "guest", "passcode": "guest"}
            try:
                self.send("CONNECT", {**headers, "heart-beat": heart_beat})
                self.connected = self.expect("CONNECTED")
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.drop()

    def drop(self) -> None:
        self.socket.close()

    # ---- out

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.write(encode(command, headers, body))

    def ask(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        """With a receipt, until it is here; what comes before it is kept for `next`."""
        self._receipts += 1
        receipt = f"talker-{self._receipts}"
        self.send(command, {**headers, "receipt": receipt}, body)
        kept: list[Frame] = []
        while True:
            frame = self.next()
            if frame.command == "ERROR":
                raise Ended(f"{frame.headers.get('message')}: {frame.body.decode()}")
            if frame.command == "RECEIPT" and frame.header("receipt-id") == receipt:
                self._frames.extendleft(reversed(kept))
                return
            kept.append(frame)

    def publish(self, destination: str, body: bytes, **headers: str) -> None:
        self.ask("SEND", {"destination": destination} | dashed(headers), body)

    def subscribe(self, destination: str, ack: str = "auto", sub_id: str = "0", **headers: str) -> None:
        self.ask("SUBSCRIBE", {"id": sub_id, "destination": destination, "ack": ack} | dashed(headers))

    def settle(self, command: str, message: Frame, **headers: str) -> None:
        if self.version == "1.2":
            self.ask(command, {"id": message.header("ack")} | headers)
        else:
            names = {name: message.header(name) for name in ("message-id", "subscription")}
            self.ask(command, names | headers)

    def disconnect(self) -> None:
        self.ask("DISCONNECT", {})
        self.drop()

    # ---- in

    def next(self, timeout_s: float = TIMEOUT_S) -> Frame:
        """Raises Ended, TimeoutError."""
        self.socket.settimeout(timeout_s)
        while not self._frames:
            data = self.socket.recv(65_536)
            if not data:
                raise Ended("end of the stream")
            self._data += data
            while self._split():
                pass
        return self._frames.popleft()

    def expect(self, command: str) -> Frame:
        frame = self.next()
        assert frame.command == command, frame
        return frame

    def message(self) -> Frame:
        return self.expect("MESSAGE")

    def nothing_came(self) -> bool:
        """A round trip later there is no frame."""
        self.ask("SEND", {"destination": "/exchange/amq.direct/nobody"}, b"-")
        return not self._frames

    def await_end(self) -> None:
        """Until the broker closes the connection."""
        try:
            while True:
                self.next()
        except (Ended, ConnectionResetError):
            return

    def _split(self) -> bool:
        while self._data and self._data[0] in b"\r\n":
            del self._data[0]
        end = self._data.find(b"\n\n")
        if end < 0:
            return False
        command, *lines = self._data[:end].decode("utf-8", "surrogateescape").split("\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            if self.version != "1.0":
                name, value = unescape(name), unescape(value)
            headers.setdefault(name, value)
        start = end + 2
        stop = start + int(headers["content-length"]) if "content-length" in headers else -1
        if stop < 0:
            stop = self._data.find(b"\0", start)
        if stop < 0 or len(self._data) <= stop:
            return False
        assert self._data[stop] == 0
        self._frames.append(Frame(command, headers, bytes(self._data[start:stop])))
        del self._data[: stop + 1]
        return True


def dashed(headers: dict[str, str]) -> dict[str, str]:
    """Keyword arguments as header names: content_type is content-type."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
