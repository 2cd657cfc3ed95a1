"""Which places of taking connections a configuration asks for, beside AMQP's own, and what is made of who comes there.

It knows the names of all protocols and of all that carries them; each of them is another file's business.
"""

from __future__ import annotations

import importlib.util
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from leveret import logs
from leveret.config import OFF, Config
from leveret.errors import ConfigError
from leveret.server import tls
from leveret.server.layers import Layer, LayeredLink
from leveret.server.link import Speak, TcpLink
from leveret.server.listener import Listener, Make
from leveret.server.stomp import stomp

if TYPE_CHECKING:
    from leveret.server.server import Server

log = logs.get("server")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of listener. key: of its port in the configuration; style: the key that says what destinations mean, for
    STOMP."""

    name: str
    key: str
    tls: bool = False
    web: bool = False
    style: str = ""

    @property
    def option(self) -> str:
        return "--" + self.key.replace("_", "-")


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("amqps", "amqps_port", tls=True),
        Kind("stomp", "stomp_port", style="stomp_destinations"),
        Kind("stomps", "stomps_port", tls=True, style="stomp_destinations"),
        Kind("web_stomp", "web_stomp_port", web=True, style="web_stomp_destinations"),
        Kind("web_stomps", "web_stomps_port", tls=True, web=True, style="web_stomp_destinations"),
    )
}
NO_LIBRARY: Final = "STOMP over WebSocket needs the package websockets: install leveret[web]"


def has_web() -> bool:
    """Whether the library for WebSocket is installed."""
    return importlib.util.find_spec("websockets") is not None


class Listeners:
    """Those of a configuration. Raises ConfigError for TLS files that cannot be used."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.context: ssl.SSLContext | None = None if config.tls_certificate is None else tls.context(config)

    def wanted(self) -> list[Kind]:
        """Those that `leveret serve` opens. What was asked for and cannot be is a ConfigError, what is on by itself and
        cannot be is told in the log."""
        found = []
        for kind in KINDS.values():
            if getattr(self.config, kind.key) == OFF or (kind.tls and self.context is None):
                continue
            if kind.web and not has_web():
                if self.config.asks_for(kind.key):
                    raise ConfigError(f"{kind.option}: {NO_LIBRARY}, or give {kind.option} off")
                log.info("not listening", extra=logs.fields(listener=kind.name, why=NO_LIBRARY))
                continue
            found.append(kind)
        return found

    def open_wanted(self, server: Server) -> None:
        """Raises OSError, ConfigError."""
        for kind in self.wanted():
            self.open(server, kind.name, self.config.host, getattr(self.config, kind.key))

    def open(self, server: Server, name: str, host: str, port: int) -> Listener:
        """Take connections of this kind there; port 0 picks a free one. Raises OSError, ConfigError."""
        kind = KINDS[name]
        if kind.tls and self.context is None:
            raise ConfigError(f"{name}: TLS needs a certificate; allowed: give tls_certificate and tls_key")
        if kind.web and not has_web():
            raise ConfigError(f"{name}: {NO_LIBRARY}")
        option = f"{kind.option} (or leave it out: {kind.option} off)"
        return server.take_at(name, host, port, option, self._make(server, kind))

    def _make(self, server: Server, kind: Kind) -> Make:
        speak: Speak | None = stomp(server, getattr(self.config, kind.style)) if kind.style else None

        def make(sock: socket.socket, address: tuple[str, int]) -> TcpLink:
            if not kind.tls and not kind.web:
                return TcpLink(server, sock, address, speak)
            return LayeredLink(server, sock, address, self._layers(kind), speak)

        return make

    def _layers(self, kind: Kind) -> Sequence[Layer]:
        layers: list[Layer] = []
        if kind.tls:
            assert self.context is not None
            layers.append(tls.TlsLayer(self.context))
        if kind.web:
            # Its library is an extra.
            from leveret.server.web import WebSocketLayer

            layers.append(WebSocketLayer(self.config.web_stomp_origins, self.config.message_size_max_bytes))
        return layers
