"""One connection as the server has it, and the one over TCP: a bounded read and one write a turn, and nothing that decides.

It owns the socket and what the socket has not taken yet. What the bytes mean is the peer's business; when to read at
all is the server's.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from leveret import limits
from leveret.core.session import Session
from leveret.protocol.amqp091.connection import Connection
from leveret.protocol.peering import Conversation, Link

if TYPE_CHECKING:
    from leveret.server.server import Server

READ_BYTES = limits.READ_CHUNK_BYTES
LARGE_READ_BYTES = 1_048_576
PARTS_A_WRITE = 64
LINGER_MS = 2_000
LAST_WORDS_MS = 10_000  # in which what a connection that has ended still has to say must be taken
# A client that reads nothing while it goes on asking is not read from either.
OUTPUT_LIMIT_BYTES = 4 * limits.OUTPUT_HIGH_BYTES
WITHOUT_A_CLOSE = "closed by the client without a close"


Speak = Callable[[Link, bool], Conversation]


class ServerLink(Link):
    """What the server knows of a connection, whatever carries it. `number`: its file descriptor, or one below 0; `speak`
    begins the conversation (AMQP 0-9-1 unless it is given)."""

    transport_name = ""  # what carries it, for people

    def __init__(
        self, server: Server, number: int, name: str, loopback: bool, speak: Speak | None = None
    ) -> None:
        self.server = server
        self.number = number
        self.name = name
        self.since_ms = server.now_ms
        self.reading = True
        self.closed = False
        self.shut = False  # our side is: everything is sent
        self.lingers_until_ms = 0  # the conversation is over; when to give up waiting for the other side
        self.waits = False  # the peer holds frames for an answer: nothing more is read
        self.connection: Conversation = (
            Connection(server.broker, server.settings, self, loopback)
            if speak is None
            else speak(self, loopback)
        )
        self.peer = self.connection.the_peer()
        self.receive: Callable[[bytes], None] = self.peer.receive

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.reading and not self.closed:
            self.reading = False
            self.stop_reading()
            self.server.paused.add(self)

    def resume(self) -> None:
        if not self.reading and not self.closed and not self.waits:
            self.reading = True
            self.server.paused.discard(self)
            self.start_reading()

    def pause_for(self, session: Session) -> None:
        self.waits = True
        self.pause()

    def resume_for(self, session: Session) -> None:
        if self.waits:
            self.waits = False
            self.resume()

    def hears(self) -> bool:
        return self.reading

    def is_over(self) -> bool:
        """Whether nothing more is to be said but what is written already."""
        return self.connection.is_over()

    def why(self) -> str:
        """Why it ended, now that the stream has; empty if it was in good order."""
        return self.connection.close_reason if self.is_over() else WITHOUT_A_CLOSE

    def start_reading(self) -> None:
        raise NotImplementedError

    def stop_reading(self) -> None:
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        """End it now; `reason` is logged, unless it is empty."""
        raise NotImplementedError


class TcpLink(ServerLink):
    transport_name = "tcp"

    def __init__(
        self, server: Server, sock: socket.socket, address: tuple[str, int], speak: Speak | None = None
    ) -> None:
        loopback = address[0].startswith("127.") or address[0] in ("::1", "::ffff:127.0.0.1")
        super().__init__(server, sock.fileno(), f"{address[0]}:{address[1]}", loopback, speak)
        self.sock = sock
        self.fd = sock.fileno()
        self.backlog: deque[bytes | memoryview] = deque()
        server.loop.add_reader(self.fd, self.on_readable)

    # ---- in

    def on_readable(self) -> None:
        server = self.server
        if server.budget <= 0:
            return  # the turn has read enough; the socket stays ready
        peer = self.peer
        if server.stopping_publishers and self.connection.publishes and server.must_pause(self):
            self.pause()
            return
        want = peer.need - peer.rest_bytes
        size = READ_BYTES if want <= READ_BYTES else min(want, LARGE_READ_BYTES)
        try:
            data = self.sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lost(error.strerror or "connection lost")
            return
        if not data:
            self.lost(self.why())
            return
        server.budget -= len(data)
        server.schedule()
        try:
            self.receive(data)
        except Exception:
            server.bug(self)

    def start_reading(self) -> None:
        self.server.loop.add_reader(self.fd, self.on_readable)

    def stop_reading(self) -> None:
        self.server.loop.remove_reader(self.fd)

    # ---- out

    def write(self, parts: list[bytes]) -> None:
        if self.closed:
            return
        if parts and not self.backlog:
            try:
                sent = (
                    self.sock.send(parts[0]) if len(parts) == 1 else self.sock.sendmsg(parts[:PARTS_A_WRITE])
                )
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self.lost(error.strerror or "connection lost")
                return
            self.peer.sent_bytes += sent
            self._keep(parts, sent)
            if self.backlog:
                self.server.loop.add_writer(self.fd, self.on_writable)
        elif parts:
            self._keep(parts, 0)
        if self.is_over():
            self.end()
        elif self.peer.unsent > OUTPUT_LIMIT_BYTES:
            self.pause()

    def _keep(self, parts: list[bytes], sent: int) -> None:
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
                continue
            rest = memoryview(part)[sent:] if sent else part
            sent = 0
            self.backlog.append(rest)
            self.peer.unsent += len(rest)

    def on_writable(self) -> None:
        backlog = self.backlog
        parts = [backlog[i] for i in range(min(len(backlog), PARTS_A_WRITE))]
        try:
            sent = self.sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lost(error.strerror or "connection lost")
            return
        peer = self.peer
        peer.sent_bytes += sent
        peer.unsent -= sent
        while sent > 0:
            first = backlog[0]
            if sent >= len(first):
                sent -= len(first)
                backlog.popleft()
            else:
                backlog[0] = memoryview(first)[sent:]
                sent = 0
        if peer.unsent < limits.OUTPUT_LOW_BYTES:
            peer.drained()
            if not self.reading:
                self.resume()
            self.server.schedule()
        if not backlog:
            self.server.loop.remove_writer(self.fd)
            if self.is_over():
                self.end()

    # ---- the end

    def end(self) -> None:
        """The conversation is over. Once everything is sent, say so, and read on for a while, since closing with
        unread input resets the connection and takes our last words with it."""
        if self.backlog:
            if not self.lingers_until_ms:
                self.lingers_until_ms = self.server.now_ms + LAST_WORDS_MS
            return
        if self.shut or self.closed:
            return
        self.shut = True
        self.lingers_until_ms = self.server.now_ms + LINGER_MS
        self.connection.lost()
        if not self.connection.client_ends:  # some clients take an end of stream before theirs for a failure
            self.end_stream()
        self.waits = False
        self.resume()

    def end_stream(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lost(self.why())

    def lost(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        loop = self.server.loop
        loop.remove_reader(self.fd)
        loop.remove_writer(self.fd)
        self.server.forget(self, reason)
        self.connection.lost()
        self.backlog.clear()
        self.sock.close()
        self.server.schedule()
