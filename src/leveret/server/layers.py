"""What may stand between a socket's bytes and a conversation's: TLS, WebSocket, or one upon the other.

A `Layer` turns what was read into what the layer above reads, and what that says into what is sent. It does no I/O, knows
nothing of the conversation, and may have words of its own: handshakes, pongs, farewells. `LayeredLink` is a connection
over TCP with layers in it; how much is read, what waits and how a connection ends stays as it is without them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leveret.server.link import WITHOUT_A_CLOSE, Speak, TcpLink

if TYPE_CHECKING:
    from leveret.server.server import Server


class Layer:
    """`out`: bytes for the side of the socket that were not taken yet. `ended`: nothing comes from it any more, by the
    other side's wish or for an error; `reason`: which, for the log. `trusted`: the client has logged in."""

    name = ""  # for people

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.ended = False
        self.reason = ""
        self.trusted = False

    def received(self, data: bytes) -> bytes:
        """What the layer above gets of this. Never raises for what a client does wrong."""
        raise NotImplementedError

    def wrap(self, parts: list[bytes]) -> None:
        """Put what the layer above says into `out`. What cannot be said any more is dropped."""
        raise NotImplementedError

    def farewell(self, leaving: bool) -> None:
        """Say goodbye, once. leaving: the broker is being stopped."""
        raise NotImplementedError


class LayeredLink(TcpLink):
    """layers: the one next to the socket first."""

    def __init__(
        self,
        server: Server,
        sock: socket.socket,
        address: tuple[str, int],
        layers: Sequence[Layer],
        speak: Speak | None = None,
    ) -> None:
        super().__init__(server, sock, address, speak)
        self.layers = layers
        self.transport_name = " over ".join(layer.name for layer in reversed(layers))
        self.receive = self._rise
        self._trusted = False
        self._ended_by: Layer | None = None
        self._polite = False  # the conversation was over by then
        self._said_goodbye = False

    # ---- in

    def _rise(self, data: bytes) -> None:
        """What was read goes up, what layers answer to it goes down."""
        ended: Layer | None = None
        for layer in self.layers:
            data = layer.received(data)
            if layer.ended and ended is None:
                ended = layer
            if not data:
                break
        if data and not self.shut and not self._said_goodbye:
            self.peer.receive(data)
            if not self._trusted and not self.connection.is_opening():
                self._trusted = True
                for layer in self.layers:
                    layer.trusted = True
        if ended is not None and self._ended_by is None:
            self._polite = self.connection.is_over()
            self._ended_by = ended
        if ended is not None or any(layer.out for layer in self.layers):
            self.write([])

    # ---- out

    def write(self, parts: list[bytes]) -> None:
        if not self.closed:
            super().write(self._down(parts))

    def _down(self, parts: list[bytes]) -> list[bytes]:
        """Through all layers, with their farewells if this is the end."""
        goodbye = not self._said_goodbye and self.is_over() and not self._waits_for_client()
        for layer in reversed(self.layers):
            if parts:
                layer.wrap(parts)
            if goodbye:
                layer.farewell(self.server.stopping)
            parts, layer.out = layer.out, []
        self._said_goodbye = self._said_goodbye or goodbye
        return parts

    # ---- the end

    def is_over(self) -> bool:
        return self._ended_by is not None or self.connection.is_over()

    def _waits_for_client(self) -> bool:
        """Ending is left to the client, and it has not done so yet."""
        return self._ended_by is None and self.connection.client_ends

    def end(self) -> None:
        super().end()
        if self._said_goodbye and self.connection.client_ends and not self.backlog and not self.closed:
            self.end_stream()  # it was left to the client, which has ended it now

    def why(self) -> str:
        ended = self._ended_by
        if ended is None:
            return super().why()
        return ended.reason or (self.connection.close_reason if self._polite else WITHOUT_A_CLOSE)
