"""A server in memory that says back what it hears, through layers that a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from leveret.embed import Broker
from leveret.protocol.peering import Link
from leveret.server.layers import Layer, LayeredLink
from leveret.server.link import ServerLink
from leveret.server.server import Server

from .echo import Echo

LIMIT_S = 20


class Place:
    """layers: makes those of a connection. ends: why each connection ended, in their order."""

    def __init__(self, server: Server, layers: Callable[[], list[Layer]]) -> None:
        self.server = server
        self.layers = layers
        self.spoken: list[Echo] = []
        self.links: list[LayeredLink] = []
        self.ends: list[str] = []
        server.forget = self._forget  # type: ignore[method-assign]
        self.address = server.take_at("echo", "127.0.0.1", 0, "--echo", self._make).address

    def _make(self, sock: socket.socket, address: tuple[str, int]) -> LayeredLink:
        link = LayeredLink(self.server, sock, address, self.layers(), self._speak)
        self.links.append(link)
        return link

    def _speak(self, link: Link, loopback: bool) -> Any:
        self.spoken.append(Echo(link))
        return self.spoken[-1]

    def _forget(self, link: ServerLink, reason: str) -> None:
        self.ends.append(reason)
        Server.forget(self.server, link, reason)

    async def until_ended(self) -> str:
        while not self.ends:
            await asyncio.sleep(0)
        return self.ends[0]


@contextlib.asynccontextmanager
async def place(layers: Callable[[], list[Layer]], **settings: Any) -> AsyncIterator[Place]:
    async with Broker(**settings) as broker:
        yield Place(broker.server, layers)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), LIMIT_S)

    asyncio.run(limited())
