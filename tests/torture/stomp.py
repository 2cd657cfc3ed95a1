"""A STOMP client of what torture needs: written whole, read as it comes, closed under it at any moment."""

from __future__ import annotations

import select
import socket
from collections import deque
from dataclasses import dataclass

from .client import CHUNK_BYTES, TIMEOUT_S, Closed


@dataclass(frozen=True)
class Frame:
    command: str
    headers: dict[str, str]
    body: bytes

    @property
    def redelivered(self) -> bool:
        return self.headers["redelivered"] == "true"


def frame(command: str, body: bytes = b"", /, **headers: str) -> bytes:
    """headers: no value needs an escape; `_` of a name stands for `-`."""
    lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
    return f"{command}\n{lines}content-length:{len(body)}\n\n".encode() + body + b"\0"


class StompClient:
    """Logged in after construction, by 1.2."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        self._data = bytearray()
        self._frames: deque[Frame] = deque()
        self._receipts = 0
        try:
            self.socket.connect(("127.0.0.1", port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send(frame("CONNECT", accept_version="1.2", host="/", login="guest", passcode="guest"))
            answer = self.next()
            assert answer is not None and answer.command == "CONNECTED", answer
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> StompClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise AssertionError(f"the broker has taken nothing for {TIMEOUT_S} s") from None
        except OSError as error:
            raise Closed(str(error)) from None

    def ask(self, command: str, **headers: str) -> None:
        """Returns when its receipt is here; what comes before it stays for `next`."""
        self._receipts += 1
        receipt = f"asked-{self._receipts}"
        self.send(frame(command, receipt=receipt, **headers))
        kept: list[Frame] = []
        while True:
            found = self.next()
            if found is None:
                raise AssertionError(f"no receipt for {command} within {TIMEOUT_S} s")
            if found.command == "RECEIPT" and found.headers["receipt-id"] == receipt:
                self._frames.extendleft(reversed(kept))
                return
            kept.append(found)

    def subscribe(self, queue: str, prefetch: int, ack: str) -> None:
        self.ask(
            "SUBSCRIBE", id=queue, destination=f"/amq/queue/{queue}", ack=ack, prefetch_count=str(prefetch)
        )

    def close(self) -> None:
        """The polite end: what was sent before it has been handled when it returns."""
        try:
            self.ask("DISCONNECT")
        finally:
            self.drop()

    def next(self, timeout_s: float = TIMEOUT_S) -> Frame | None:
        """None if there is none within the time. Raises Closed."""
        while not self._frames:
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
        return self._frames.popleft()

    def _split(self) -> None:
        data = self._data
        at = 0
        while True:
            while at < len(data) and data[at] == 10:
                at += 1
            end = data.find(b"\n\n", at)
            if end < 0:
                break
            command, *lines = data[at:end].decode().split("\n")
            headers = dict(line.split(":", 1) for line in reversed(lines))
            start = end + 2
            length = headers.get("content-length")
            stop = start + int(length) if length is not None else data.find(b"\0", start)
            if not start <= stop < len(data):
                break
            body = bytes(data[start:stop])
            if command == "ERROR":
                raise Closed(f"{headers.get('message')}: {body.decode(errors='replace')}")
            self._frames.append(Frame(command, headers, body))
            at = stop + 1
        del data[:at]
