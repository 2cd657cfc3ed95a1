"""The real broker inside a program, on its running loop.

    async with leveret.Broker() as broker:              # in memory, connected without a socket
        async with broker.connect() as client: ...

It is the server of `leveret serve` with nothing of that process about it: no signals, no admin socket, no settings of
the interpreter. Several may run on one loop. It knows the server; how messages move is not its business.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from leveret import config
from leveret.clock import Clock
from leveret.core.queue import Queue
from leveret.embed.clock import MovableClock
from leveret.embed.look import Waiting, waiting
from leveret.errors import ClientError, ConfigError, StoreError
from leveret.server.listeners import KINDS, Listeners
from leveret.server.server import GOODBYE_S, Server

if TYPE_CHECKING:
    from leveret.client import Client

ANY_PORT: Final = "127.0.0.1:0"
ADDRESS: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:]*):(?P<port>[0-9]{1,5})")
OWN: Final = {
    "data_dir": "data=",
    "memory": "data=None",
    "host": "listen=",
    "amqp_port": "listen=",
    **{kind.key: f"listen_{kind.name}=" for kind in KINDS.values()},
    "busy_poll_us": "leveret serve for that: an embedded one does not have the process to itself",
    "log_format": "the logging module, for the logger 'leveret'",
    "log_level": "the logging module, for the logger 'leveret'",
}
STEPS: Final = 32  # in which time is moved, so that what is looked at now and then is seen to grow old


class Broker:
    """A broker on this loop.

    data: None for memory, or the directory of everything durable.
    listen: None, or "host:port" to take connections at; port 0 picks a free one, see `url`.
    listen_stomp, listen_web_stomp, listen_amqps, listen_stomps, listen_web_stomps: the same for other protocols, see
    `addresses`; those with an s at the end (TLS) want `tls_certificate` and `tls_key` among the settings.
    clock: what it takes for the time (default: the system's, which `advance` moves).
    settings: keys of the configuration, such as `message_size_max_bytes=1000`. The environment is not looked at.
    Raises ConfigError.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        *,
        listen_stomp: str | None = None,
        listen_web_stomp: str | None = None,
        listen_amqps: str | None = None,
        listen_stomps: str | None = None,
        listen_web_stomps: str | None = None,
        clock: Clock | None = None,
        **settings: object,
    ) -> None:
        for name in settings:
            if name in OWN:
                raise ConfigError(f"Broker: '{name}' is not a setting of an embedded broker; use {OWN[name]}")
        options: dict[str, object] = {**settings, "memory": data is None}
        if data is not None:
            options["data_dir"] = Path(data)
        if listen is not None:
            options["host"], options["amqp_port"] = _address(listen)
        self.config = config.load(None, {}, options)
        asked = {
            "stomp": listen_stomp,
            "web_stomp": listen_web_stomp,
            "amqps": listen_amqps,
            "stomps": listen_stomps,
            "web_stomps": listen_web_stomps,
        }
        self._more = {name: address for name, address in asked.items() if address is not None}
        for name, address in self._more.items():
            self._check_host(_address(address, f"listen_{name}")[0])
        self._listeners = Listeners(self.config)
        self.clock = MovableClock() if clock is None else clock
        self._wanted = listen
        self._server: Server | None = None
        self._ending: asyncio.Task[None] | None = None
        self._failure = ""

    # ---- life

    async def start(self) -> None:
        """Recover what the directory has, and begin. Raises DirectoryLocked, Damaged, StoreError, OSError (the address
        is taken)."""
        if self._server is not None:
            raise ClientError("this broker is running already")
        server = self._make(self.config, self.clock)
        try:
            server.open()
        except BaseException:
            server.storage.close()
            raise
        self._server = server
        self._failure = ""
        self._ending = None
        try:
            await server.start(listen=self._wanted is not None)
            for name, where in self._more.items():
                self._listeners.open(server, name, *_address(where))
        except BaseException:
            await self.stop(0)
            raise
        assert server.fatal is not None
        server.fatal.add_done_callback(self._failed)

    def _make(self, effective: config.Config, clock: Clock) -> Server:
        return Server(effective, clock)

    def _failed(self, fatal: asyncio.Future[str]) -> None:
        """The disk failed: as `leveret serve` ends then, so does this."""
        if not fatal.cancelled():
            self._failure = fatal.result()
            self._ending = asyncio.ensure_future(self.stop(0))

    async def stop(self, goodbye_s: float = GOODBYE_S) -> None:
        """Close every connection, bring everything to disk, let go of the directory. goodbye_s: how long clients have
        to answer. Raises StoreError if the disk failed before."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(goodbye_s)
        if self._ending is not None and self._ending is not asyncio.current_task():
            await self._ending
        if self._failure and self._ending is not asyncio.current_task():
            raise StoreError(self._failure)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is None:
            await self.stop()
        else:
            with contextlib.suppress(StoreError):  # what is on its way out says more
                await self.stop()

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def server(self) -> Server:
        """Raises ClientError when it is not running."""
        if self._server is None:
            why = f": {self._failure}" if self._failure else "; enter it (`async with`), or await its start()"
            raise ClientError("this broker is not running" + why)
        return self._server

    def _here(self) -> Server:
        """The server, for a caller on its loop."""
        server = self.server
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not server.loop:
            raise ClientError(
                "this broker runs on another event loop: connect to its url (listen='127.0.0.1:0'), or use"
                " run_in_thread"
            )
        return server

    # ---- connections

    def dial(self, protocol_factory: Callable[[], asyncio.BaseProtocol], /) -> asyncio.Transport:
        """Connect what the factory makes, without a socket, and return its transport. The protocol is called as asyncio
        does, from `connection_made` in the loop's next round on. For this loop only.

        Raises ClientError on another loop, ConnectionRefusedError when no more connections are taken.
        """
        return self._here().dial(protocol_factory())

    def connect(self, **options: Any) -> Client:
        """A client of this broker, as `leveret.connect(broker, **options)` makes it, with `credentials` that let in.
        Without a socket it is in the virtual host '/'. Raises ClientError if there is none."""
        import leveret

        if "/" not in self.config.vhosts:
            raise ClientError(
                "this broker has no virtual host '/', which connections without a socket are in: listen, and connect to"
                " its url"
            )

        options.setdefault("credentials", self.credentials)
        return leveret.connect(self, **options)

    def listen(self, address: str = ANY_PORT) -> str:
        """Take connections there from now on, and return the url. Raises OSError, ConfigError, ClientError."""
        server = self._here()
        if server.listener is not None:
            raise ClientError(f"this broker listens already, at {self.url}")
        host, port = _address(address)
        self._check_host(host)
        server.listen(host, port)
        return self.url

    def _check_host(self, host: str) -> None:
        config.check(dataclasses.replace(self.config, host=host))

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.listener is not None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Raises ClientError when it does not listen."""
        server = self.server
        if server.listener is None:
            raise ClientError(
                "this broker does not listen: make it with listen='127.0.0.1:0', or call listen()"
            )
        return server.address

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and port of every listener, by its name: `amqp`, `stomp`, `web_stomp`, ..."""
        return {name: listener.address for name, listener in self.server.listeners.items()}

    @property
    def stomp_address(self) -> tuple[str, int]:
        """Host and port of STOMP. Raises ClientError when it does not listen."""
        return self._address_of("stomp")

    @property
    def web_stomp_address(self) -> tuple[str, int]:
        """Host and port of STOMP over WebSocket. Raises ClientError when it does not listen."""
        return self._address_of("web_stomp")

    def _address_of(self, name: str) -> tuple[str, int]:
        found = self.addresses.get(name)
        if found is None:
            raise ClientError(f"this broker does not listen for it: make it with listen_{name}='{ANY_PORT}'")
        return found

    @property
    def credentials(self) -> tuple[str, str] | None:
        """A name and a password that let in, None if all passwords are hashed."""
        for user in self.config.users.values():
            if user.password is not None:
                return user.name, user.password
        return None

    @property
    def url(self) -> str:
        """Where any client connects to, with credentials and the first virtual host. Raises ClientError when it does
        not listen."""
        host, port = self.address
        known = self.credentials
        who = "" if known is None else f"{quote(known[0], safe='')}:{quote(known[1], safe='')}@"
        shown = f"[{host}]" if ":" in host else host
        return f"amqp://{who}{shown}:{port}/{quote(self.config.vhosts[0], safe='')}"

    # ---- looking, and time

    def queues(self, vhost: str | None = None) -> list[str]:
        """The names of its queues."""
        return sorted(self._vhost(vhost).topology.queues)

    def messages(self, queue: str, vhost: str | None = None) -> list[Waiting]:
        """What waits in a queue, without taking it. Raises ClientError if there is no such queue."""
        return waiting(self.find(queue, vhost))

    def find(self, queue: str, vhost: str | None = None) -> Queue:
        """The queue itself. Raises ClientError, which names those that are there."""
        known = self._vhost(vhost).topology.queues
        found = known.get(queue)
        if found is None:
            names = ", ".join(f"'{name}'" for name in sorted(known)[:20]) or "none"
            raise ClientError(f"there is no queue '{queue}'; there are: {names}")
        assert isinstance(found, Queue)
        return found

    def _vhost(self, vhost: str | None) -> Any:
        name = self.config.vhosts[0] if vhost is None else vhost
        found = self.server.broker.vhosts.get(name)
        if found is None:
            raise ClientError(f"there is no virtual host '{name}'")
        return found

    async def advance(self, seconds: float) -> None:
        """Move the broker's time ahead: what expires or falls due until then does, before this returns. Heartbeats and
        timeouts of connections keep to the system's time. Raises ClientError if its clock cannot be moved."""
        clock = self.clock
        if not isinstance(clock, MovableClock):
            raise ClientError(f"{type(clock).__name__} cannot be moved: give the broker a MovableClock")
        ms = round(seconds * 1000)
        done = 0
        for step in range(1, STEPS + 1):
            upto = ms * step // STEPS
            if upto > done or step == STEPS:
                clock.move(upto - done)
                done = upto
                await self._here().catch_up()


def _address(text: str, option: str = "listen") -> tuple[str, int]:
    match = ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigError(f"{option}: {text!r} is not allowed; allowed: 'host:port', such as '{ANY_PORT}'")
    return match["host"].strip("[]") or "127.0.0.1", int(match["port"])
