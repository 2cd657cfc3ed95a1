"""One place where connections are taken: a bound socket, and what is made of who comes.

How many connections there may be is the server's to say, over all its listeners.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from leveret import logs
from leveret.server.link import ServerLink

if TYPE_CHECKING:
    from leveret.server.server import Server

log = logs.get("server")

ACCEPTS_A_TURN: Final = 64
ACCEPT_AGAIN_S: Final = 0.5

Make = Callable[[socket.socket, tuple[str, int]], ServerLink]


def bound(host: str, port: int, option: str) -> socket.socket:
    """A listening socket. `option` is how to choose another port. Raises OSError, which says so."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        advice = f"{error.strerror}; choose another with {option} or --host, or stop what listens there"
        raise OSError(error.errno, advice, f"{host}:{port}") from None
    return sock


class Listener:
    """`address` is where it listens; `make` is given each socket, ready for use. `close` takes no more."""

    def __init__(self, server: Server, name: str, sock: socket.socket, make: Make) -> None:
        self.name = name
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self._server = server
        self._sock = sock
        self._make = make
        self._open = True
        self._full = False  # nobody is let in: more connections than there is room for
        server.loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._server.loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _accept(self) -> None:
        server = self._server
        for _ in range(ACCEPTS_A_TURN):
            if len(server.links) >= server.room:
                self._accept_later("all file descriptors that connections may have are taken")
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._accept_later(error.strerror or "")
                    return
                raise
            self._full = False
            if len(server.links) >= server.config.connections_max:
                server.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.accepted += 1
            server.join(self._make(sock, address[:2]))

    def _accept_later(self, why: str) -> None:
        """Who comes now waits in the listener's queue. Said once, until somebody is let in again."""
        server = self._server
        if not self._full:
            log.warning("cannot accept", extra=logs.fields(error=why, connections=len(server.links)))
        self._full = True
        server.loop.remove_reader(self._sock.fileno())
        server.loop.call_later(ACCEPT_AGAIN_S, self._accept_again)

    def _accept_again(self) -> None:
        if self._open and not self._server.stopping:
            self._server.loop.add_reader(self._sock.fileno(), self._accept)
