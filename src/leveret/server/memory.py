"""A connection without a socket: a client on the broker's own loop, and its transport.

What the client writes waits in the link's inbox until the broker reads it, within the budget of its turn; what the
broker writes waits in the backlog until the client reads. Both are bounded as they are with a socket: the client's
protocol is told to pause, and a client that does not read gets no more deliveries. It knows the loop, and of AMQP as
much as the link over TCP does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from leveret import limits
from leveret.server.link import LAST_WORDS_MS, LINGER_MS, OUTPUT_LIMIT_BYTES, WITHOUT_A_CLOSE, ServerLink

if TYPE_CHECKING:
    from leveret.server.server import Server

READ_BYTES: Final = 8 * limits.READ_CHUNK_BYTES  # taken from a client at once
DELIVER_BYTES: Final = 8 * limits.READ_CHUNK_BYTES  # given to a client at once
WRITE_HIGH_BYTES: Final = 65_536  # as asyncio's transports have it
Data = bytes | bytearray | memoryview


class MemoryTransport(asyncio.Transport):
    """The client's end. Its protocol is called from the loop, never from within a call of the transport."""

    def __init__(
        self, link: MemoryLink, protocol: asyncio.BaseProtocol, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._link = link
        self._loop = loop
        self._high_bytes = WRITE_HIGH_BYTES
        self._low_bytes = WRITE_HIGH_BYTES // 4
        self._full = False  # the protocol was told to pause
        self._reading = True
        self._closing = False
        self._over = False  # connection_lost was called, or will be now
        self.set_protocol(protocol)
        loop.call_soon(protocol.connection_made, self)

    # ---- what a protocol may ask for

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._link.name if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._link.deliver_soon()

    def write(self, data: Data) -> None:
        if self._closing or not data:
            return
        self._link.take(data if isinstance(data, bytes) else bytes(data))
        self._fill()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        if self._closing:
            return
        for data in list_of_data:
            if data:
                self._link.take(data if isinstance(data, bytes) else bytes(data))
        self._fill()

    def _fill(self) -> None:
        if not self._full and self._link.inbox_bytes > self._high_bytes:
            self._full = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._link.inbox_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low_bytes, self._high_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = WRITE_HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_bytes = high
        self._low_bytes = low
        self._fill()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("a connection in memory is closed, not half closed")

    def close(self) -> None:
        """What was written still arrives; nothing more is read."""
        if not self._closing:
            self._closing = True
            self._link.hang_up(False)
            self.over(None)

    def abort(self) -> None:
        """At once: what the broker has not read yet is dropped."""
        if not self._over:
            self._closing = True
            self._link.hang_up(True)

    # ---- what the link tells

    def feed(self, data: bytes) -> int:
        """Give bytes to the protocol. Returns how many it has taken: it may pause, or close, in between."""
        protocol: Any = self._protocol
        try:
            if not self._buffered:
                protocol.data_received(data)
                return len(data)
            at = 0
            while at < len(data) and self._reading and not self._closing:
                buffer = memoryview(protocol.get_buffer(len(data) - at))
                size = min(len(buffer), len(data) - at)
                if size == 0:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                buffer[:size] = data[at : at + size]
                at += size
                protocol.buffer_updated(size)
            return at
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "a protocol failed to take what it was given", "exception": error, "transport": self,
                 "protocol": protocol}
            )  # fmt: skip
            self.abort()
            return len(data)

    def drained(self) -> None:
        """The broker has read something."""
        if self._full and self._link.inbox_bytes <= self._low_bytes:
            self._full = False
            if not self._closing:
                self._protocol.resume_writing()

    def ends(self) -> None:
        """The broker has said all it had to say."""
        protocol: Any = self._protocol
        if not self._closing and not protocol.eof_received():
            self.close()

    def over(self, error: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)


class MemoryLink(ServerLink):
    """The broker's end."""

    transport_name = "memory"

    def __init__(self, server: Server, number: int, protocol: asyncio.BaseProtocol) -> None:
        super().__init__(server, number, f"memory:{-number}", True)
        self.inbox: deque[bytes] = deque()
        self.inbox_bytes = 0
        self.inbox_at = 0  # so much of the first is read
        self.backlog: deque[bytes] = deque()
        self.reads_soon = False
        self.delivers_soon = False
        self.left = False  # the client has closed its end
        self.transport = MemoryTransport(self, protocol, server.loop)

    # ---- in

    def take(self, data: bytes) -> None:
        """What the client writes."""
        if not self.closed:
            self.inbox.append(data)
            self.inbox_bytes += len(data)
            self.start_reading()

    def start_reading(self) -> None:
        if not self.reads_soon and self.reading:
            self.reads_soon = True
            self.server.loop.call_soon(self.on_readable)

    def stop_reading(self) -> None:
        pass  # `reading` is looked at before each read

    def on_readable(self) -> None:
        self.reads_soon = False
        server = self.server
        if not self.reading or self.closed:
            return
        if server.stopping_publishers and self.connection.publishes and server.must_pause(self):
            self.pause()
            return
        if not self.inbox:
            if self.left:
                self.lost(self.why())
            return
        if server.budget > 0:
            data = self._next()
            server.budget -= len(data)
            server.schedule()
            try:
                self.receive(data)
            except Exception:
                server.bug(self)
            self.transport.drained()
        if self.inbox or self.left:
            self.start_reading()

    def _next(self) -> bytes:
        """A bounded part of the inbox, in one piece."""
        inbox = self.inbox
        first = inbox[0]
        rest = len(first) - self.inbox_at
        if rest > READ_BYTES:
            data = first[self.inbox_at : self.inbox_at + READ_BYTES]
            self.inbox_at += READ_BYTES
        else:
            data = first[self.inbox_at :] if self.inbox_at else first
            self.inbox_at = 0
            inbox.popleft()
            if inbox and rest + len(inbox[0]) <= READ_BYTES:
                parts = [data]
                while inbox and rest + len(inbox[0]) <= READ_BYTES:
                    parts.append(inbox.popleft())
                    rest += len(parts[-1])
                data = b"".join(parts)
        self.inbox_bytes -= len(data)
        return data

    def hang_up(self, at_once: bool) -> None:
        """The client closes its end."""
        self.left = True
        if at_once:
            self.inbox.clear()
            self.inbox_bytes = 0
            self.server.loop.call_soon(self.lost, WITHOUT_A_CLOSE)
        else:
            self.start_reading()

    # ---- out

    def write(self, parts: list[bytes]) -> None:
        if self.closed:
            return
        if parts:
            self.backlog.extend(parts)
            for part in parts:
                self.peer.unsent += len(part)
            self.deliver_soon()
        if self.is_over():
            self._end()
        elif self.peer.unsent > OUTPUT_LIMIT_BYTES:
            self.pause()

    def deliver_soon(self) -> None:
        if not self.delivers_soon and self.backlog:
            self.delivers_soon = True
            self.server.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self.delivers_soon = False
        transport = self.transport
        backlog = self.backlog
        if not backlog or self.closed or not transport.is_reading():
            return
        size = 0
        parts: list[bytes] = []
        while backlog and size < DELIVER_BYTES:
            part = backlog.popleft()
            parts.append(part)
            size += len(part)
        data = b"".join(parts)
        taken = transport.feed(data)
        if taken < len(data):
            backlog.appendleft(data[taken:])
        peer = self.peer
        peer.sent_bytes += taken
        peer.unsent -= taken
        if self.closed:
            return
        if peer.unsent < limits.OUTPUT_LOW_BYTES:
            if peer.choked:
                peer.drained()
                self.server.schedule()
            if not self.reading:
                self.resume()
        if backlog:
            self.deliver_soon()
        elif self.is_over():
            self._end()

    # ---- the end

    def _end(self) -> None:
        """The conversation is over: once all is delivered, say so, and wait a while for the client to close."""
        if self.backlog:
            if not self.lingers_until_ms:
                self.lingers_until_ms = self.server.now_ms + LAST_WORDS_MS
            return
        if self.shut:
            return
        self.shut = True
        self.lingers_until_ms = self.server.now_ms + LINGER_MS
        self.connection.lost()
        if not self.connection.client_ends:  # as over TCP: ending is left to who asked for it
            self.server.loop.call_soon(self.transport.ends)
        self.waits = False
        self.resume()

    def lost(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.server.forget(self, reason)
        self.connection.lost()
        self.backlog.clear()
        self.inbox.clear()
        self.inbox_bytes = 0
        self.transport.over(None)
        self.server.schedule()
