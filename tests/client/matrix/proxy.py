"""A TCP proxy that understands AMQP and does a fault at a named point of the conversation.

    async with Proxy(broker) as proxy:
        strike = proxy.at(Point("client", "basic.publish", "after"), faults.reset)
        async with leveret.connect(proxy.url) as client: ...
        await strike.happened()

Lives in the event loop of the test. `refuse` and `admit` make the port refuse connections and take them again; it
stays ours in between. `passwords` are those that clients may come in with, each turned into the broker's own.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self

from ...compat.broker import Address
from ..speech import method_frame
from .faults import Fault, connection_close
from .link import Heard, Link, Side, Strikes

DEADLINE_S: Final = 10.0
When = Literal["before", "middle", "after"]


@dataclass(frozen=True)
class Point:
    """The `nth` frame `name` of `side` that fits `fields`, and whether before it, in its middle or after it.

    Counted over all connections through a proxy, from when it was planned.
    """

    side: Side
    name: str
    when: When = "after"
    nth: int = 1
    fields: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        number = "" if self.nth == 1 else f"-{self.nth}"
        return f"{self.when}-{self.side}-{self.name}{number}"


@dataclass
class Strike:
    """A fault that is planned, and when it came the `link` that it came upon."""

    point: Point
    fault: Fault
    seen: int = 0
    link: Link | None = None
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def happened(self, deadline_s: float = DEADLINE_S) -> Link:
        """Waits until the fault came; gives the connection that it came upon."""
        try:
            await asyncio.wait_for(self.event.wait(), deadline_s)
        except TimeoutError:
            raise AssertionError(f"{self.point} did not come within {deadline_s} s") from None
        assert self.link is not None
        return self.link


class Proxy:
    """Between clients and the broker `target`. `log` has every frame that came, as text, for dumps."""

    def __init__(self, target: Address, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target = target
        self.links: list[Link] = []
        self.log: list[str] = []
        self.passwords: set[str] | None = None
        self.turn_away = 0  # of the next connections, so many are reset as soon as they come
        self.heartbeat_s = (
            0.0  # how often clients get a heartbeat, so that theirs may be shorter than AMQP's second
        )
        self._strikes: list[Strike] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # keeps the port while nobody listens; a socket that is bound and does not listen refuses
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind((host, port))
        self.address = replace(target, host=host, port=self._place.getsockname()[1])

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def accepted(self) -> int:
        """How many connections came."""
        return len(self.links)

    async def __aenter__(self) -> Self:
        await self.admit()
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        for link in self.links:
            link.drop()
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for link in self.links:
            await asyncio.wait_for(link.gone.wait(), DEADLINE_S)
        self._place.close()

    async def admit(self) -> None:
        """Listens (again)."""
        if self._server is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((self.address.host, self.address.port))
            self._server = await asyncio.get_running_loop().create_server(self._accept, sock=listener)

    def refuse(self) -> None:
        """New connections are refused by the system until `admit`. Those that are there stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def at(self, point: Point, fault: Fault) -> Strike:
        """Plans a fault, which happens once."""
        strike = Strike(point, fault)
        self._strikes.append(strike)
        return strike

    def forget(self, strike: Strike) -> None:
        """It is not to happen any more, if it has not."""
        if strike in self._strikes:
            self._strikes.remove(strike)

    def open_links(self) -> list[Link]:
        """The connections that no fault has broken and nobody has left."""
        return [link for link in self.links if not (link.broken or link.silent or link.ends["client"].lost)]

    def strike_all(self, fault: Fault) -> None:
        """The fault now, on every open connection."""
        for link in self.open_links():
            fault(link, Heard("server", "now", 0, b""))

    def cut_and_refuse(self) -> Fault:
        """A fault: the line is cut, and connections are refused until `admit`."""

        def strike(link: Link, frame: Heard) -> None:
            self.refuse()
            link.reset()

        return strike

    def _accept(self) -> asyncio.Protocol:
        link = Link(len(self.links), self._look)
        self.links.append(link)
        if self.turn_away > 0:
            self.turn_away -= 1
            link.ends["server"].connection_lost(None)
            link.reset()
            return link.ends["client"]
        task = asyncio.get_running_loop().create_task(self._connect(link), name=f"proxy link {link.number}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return link.ends["client"]

    async def _connect(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: link.ends["server"], self.target.host, self.target.port)
        except (OSError, asyncio.CancelledError):
            link.ends["server"].connection_lost(None)
            link.reset()

    def _look(self, link: Link, frame: Heard) -> Strikes:
        self.log.append(f"{link.number} {frame}")
        if frame.name == "connection.open_ok" and self.heartbeat_s:
            self._beat(link)
        if frame.name == "connection.start_ok" and self.passwords is not None:
            self._admit_user(link, frame)
        found: Strikes = []
        for strike in list(self._strikes):
            point = strike.point
            if (point.side, point.name) != (frame.side, frame.name):
                continue
            if any(frame.fields[name] != value for name, value in point.fields):
                continue
            strike.seen += 1
            if strike.seen == point.nth:
                self._strikes.remove(strike)
                found.append((point.when, partial(_happen, strike, link, frame)))
        return found

    def _beat(self, link: Link) -> None:
        if not link.broken and not link.ends["client"].lost:
            link.beat()
            asyncio.get_running_loop().call_later(self.heartbeat_s, self._beat, link)

    def _admit_user(self, link: Link, frame: Heard) -> None:
        """A PLAIN login with one of `passwords` is made the broker's own; with any other one it is refused."""
        response = frame.fields["response"]
        assert isinstance(response, bytes)
        if response.split(b"\0")[-1].decode() in (self.passwords or ()):
            own = f"\0{self.target.user}\0{self.target.password}".encode()
            frame.raw = method_frame(frame.name, 0, {**frame.fields, "response": own})
        else:
            connection_close(403, "ACCESS_REFUSED - this password is not taken, by the proxy")(link, frame)


def _happen(strike: Strike, link: Link, frame: Heard) -> None:
    strike.link = link
    strike.fault(link, frame)
    strike.event.set()
