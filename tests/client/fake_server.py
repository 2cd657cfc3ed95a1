"""A scripted AMQP server in memory: what the client is told is written in the test, what it says is looked at there.

`FakeServer` has no socket: bytes of the client go into `feed`, bytes for it come out of `take`. By itself it only
answers what has one obvious answer (`answers`: the handshake, opening, declaring, confirms, close); it holds no
queues, so a delivery is sent by the test. `fake_server` puts one behind a port of the loopback interface for each
connection, and plays a coroutine on it.

    server = FakeServer()
    server.feed(PROTOCOL_HEADER); client.receive(server.take())
    server.answers.pop("queue.declare")                      # not by itself, please
    declare = server.expect("queue.declare", queue="a")      # the next one that was not looked at yet
    server.send("queue.declare_ok", channel=declare.channel, queue="a", message_count=3)

    async def script(peer: Peer) -> None:
        await peer.handshake()
        await peer.expect("basic.consume", queue="a")
        peer.send("basic.deliver", consumer_tag="c", delivery_tag=1, body=b"hello", properties=Properties())
        peer.abort()
    async with fake_server(script) as listener:
        async with leveret.connect(listener.url) as broker: ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from leveret.wire.frames import PROTOCOL_HEADER, FrameSplitter
from leveret.wire.properties import Properties

from .speech import HEARTBEAT, Assembler, Command, command_bytes

DEADLINE_S: Final = 5.0

CAPABILITIES: Final[dict[str, object]] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "per_consumer_qos": True,
    "publisher_confirms": True,
}
SIMPLE: Final = {
    "channel.open": "channel.open_ok",
    "channel.close": "channel.close_ok",
    "connection.open": "connection.open_ok",
    "connection.close": "connection.close_ok",
    "connection.update_secret": "connection.update_secret_ok",
    "exchange.declare": "exchange.declare_ok",
    "exchange.delete": "exchange.delete_ok",
    "exchange.bind": "exchange.bind_ok",
    "exchange.unbind": "exchange.unbind_ok",
    "queue.bind": "queue.bind_ok",
    "queue.unbind": "queue.unbind_ok",
    "queue.purge": "queue.purge_ok",
    "queue.delete": "queue.delete_ok",
    "basic.qos": "basic.qos_ok",
    "basic.get": "basic.get_empty",
    "basic.recover": "basic.recover_ok",
}


class FakeServer:
    """One connection's other end. `received` holds every command in order, heartbeats left out."""

    def __init__(
        self,
        product: str = "RabbitMQ",
        version: str = "3.10.8",
        properties: dict[str, object] | None = None,
        channel_max: int = 2047,
        frame_max_bytes: int = 131_072,
        heartbeat_s: int = 0,
    ) -> None:
        self.received: list[Command] = []
        self.heartbeats = 0
        self.answers: dict[str, Callable[[Command], None]] = {
            "connection.start_ok": self._tune,
            "queue.declare": self._declared,
            "basic.consume": self.consuming,
            "basic.cancel": self._cancelled,
            "confirm.select": self._confirming,
            "basic.publish": self._published,
            **dict.fromkeys(SIMPLE, self._simple),
        }
        self._properties = {
            "product": product,
            "version": version,
            "capabilities": CAPABILITIES,
            **(properties or {}),
        }
        self._channel_max = channel_max
        self._heartbeat_s = heartbeat_s
        self._frame_max_bytes = frame_max_bytes
        self._greeting = b""
        self._greeted = False
        self._splitter = FrameSplitter()
        self._assembler = Assembler()
        self._looked_at = 0
        self._out: list[bytes] = []
        self._published_on: dict[int, int] = {}  # by channel that confirms: how many came
        self._named = 0

    def feed(self, data: bytes) -> None:
        """What the client sent. A first thing that is not the protocol's header fails the test."""
        if not self._greeted:
            self._greeting += data
            if len(self._greeting) < len(PROTOCOL_HEADER):
                return
            data, self._greeted = self._greeting[8:], True
            assert self._greeting[:8] == PROTOCOL_HEADER, f"the client began with {self._greeting[:8]!r}"
            self.send(
                "connection.start",
                0,
                version_minor=9,
                server_properties=self._properties,
                mechanisms=b"PLAIN AMQPLAIN",
                locales=b"en_US",
            )
        for frame in self._splitter.feed(data):
            for command in self._assembler.feed(frame):
                self._take_in(command)

    def take(self) -> bytes:
        """What is to go to the client, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def send(
        self,
        name: str,
        channel: int = 1,
        properties: Properties | None = None,
        body: bytes = b"",
        **fields: object,
    ) -> None:
        """Any method, `heartbeat` included. Fields that are left out are 0, empty or false."""
        self._out.append(
            command_bytes(Command(name, channel, fields, properties, body), self._frame_max_bytes)
        )

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are: half a frame, or none at all."""
        self._out.append(data)

    def unread(self) -> list[Command]:
        """What came and no `expect` has looked at yet."""
        return self.received[self._looked_at :]

    def expect(self, name: str, **fields: object) -> Command:
        """The next command, which must be of that name and have these values among its fields."""
        assert self._looked_at < len(self.received), (
            f"{name} was expected, and nothing came; so far: {self._names()}"
        )
        command = self.received[self._looked_at]
        assert command.fits(name, fields), (
            f"{name} {fields} was expected, not {command}; so far: {self._names()}"
        )
        self._looked_at += 1
        return command

    def skip_to(self, name: str, **fields: object) -> Command | None:
        """The next command that fits, those before it passed over; None where there is none yet."""
        for place in range(self._looked_at, len(self.received)):
            if self.received[place].fits(name, fields):
                self._looked_at = place + 1
                return self.received[place]
        return None

    def _names(self) -> str:
        return ", ".join(command.name for command in self.received)

    def _take_in(self, command: Command) -> None:
        if command.name == HEARTBEAT:
            self.heartbeats += 1
            return
        self.received.append(command)
        answer = self.answers.get(command.name)
        if answer is not None:
            answer(command)

    # What a broker would say

    def _simple(self, command: Command) -> None:
        if command.name == "channel.open":
            self._published_on.pop(command.channel, None)
        if not command.fields.get("no_wait"):
            self.send(SIMPLE[command.name], command.channel)

    def _tune(self, command: Command) -> None:
        self.send(
            "connection.tune",
            0,
            channel_max=self._channel_max,
            frame_max=self._frame_max_bytes,
            heartbeat=self._heartbeat_s,
        )

    def _declared(self, command: Command) -> None:
        self._named += 1
        if not command["no_wait"]:
            name = command["queue"] or f"amq.gen-{self._named}"
            self.send("queue.declare_ok", command.channel, queue=name)

    def consuming(self, command: Command) -> None:
        self._named += 1
        if not command["no_wait"]:
            tag = command["consumer_tag"] or f"amq.ctag-{self._named}"
            self.send("basic.consume_ok", command.channel, consumer_tag=tag)

    def _cancelled(self, command: Command) -> None:
        if not command["no_wait"]:
            self.send("basic.cancel_ok", command.channel, consumer_tag=command["consumer_tag"])

    def _confirming(self, command: Command) -> None:
        self._published_on[command.channel] = 0
        if not command["no_wait"]:
            self.send("confirm.select_ok", command.channel)

    def _published(self, command: Command) -> None:
        if command.channel in self._published_on:
            self._published_on[command.channel] += 1
            self.send("basic.ack", command.channel, delivery_tag=self._published_on[command.channel])


class Peer:
    """A client's connection to a `fake_server`: the same, waiting. `server` is what it speaks through."""

    def __init__(
        self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.number = 0
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self.ended = asyncio.Event()

    async def expect(self, name: str, **fields: object) -> Command:
        """The next command, which must fit; waits for it."""
        await self._until(lambda: bool(self.server.unread()), f"{name} {fields}")
        return self.server.expect(name, **fields)

    async def skip_to(self, name: str, **fields: object) -> Command:
        """The next command that fits, whatever comes before it."""
        found: list[Command] = []

        def look() -> bool:
            command = self.server.skip_to(name, **fields)
            found.extend([command] if command else [])
            return bool(found)

        await self._until(look, f"{name} {fields}")
        return found[0]

    async def handshake(self) -> None:
        """Up to the client's connection.open, which is answered without the script."""
        await self.skip_to("connection.open")

    async def until_gone(self) -> None:
        """Until the client has left, by whatever way."""
        await asyncio.wait_for(self.ended.wait(), DEADLINE_S)

    def send(
        self,
        name: str,
        channel: int = 1,
        properties: Properties | None = None,
        body: bytes = b"",
        **fields: object,
    ) -> None:
        self.server.send(name, channel, properties, body, **fields)
        self._flush()

    def send_raw(self, data: bytes) -> None:
        self.server.send_raw(data)
        self._flush()

    def close(self) -> None:
        """FIN, once everything is sent."""
        self._writer.close()

    def abort(self) -> None:
        """The line is gone without a word."""
        self._writer.transport.abort()

    def _flush(self) -> None:
        data = self.server.take()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not there():
                    if self.ended.is_set():
                        raise AssertionError(f"{what} was expected, and the client left after {self._said()}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what} was expected, and did not come after {self._said()}") from None

    def _said(self) -> str:
        return ", ".join(command.name for command in self.server.received)

    async def read(self) -> None:
        """Feeds the server until the client has gone."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                self.server.feed(data)
                self._flush()
                self._news.set()
        self.ended.set()
        self._news.set()


class Listener:
    """A port with a `FakeServer` behind it for each connection; `peers` are those that came, in order."""

    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def fake_server(
    *scripts: Script, make: Callable[[], FakeServer] = FakeServer
) -> AsyncIterator[Listener]:
    """Plays the first script to the first connection, and so on; the last one to all that come later.

    Without a script a server only answers by itself. What went wrong in a script is raised at the end.
    """
    listener = Listener()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(make(), reader, writer)
        peer.number = len(listener.peers)
        listener.peers.append(peer)
        reading = asyncio.ensure_future(peer.read())
        reading.add_done_callback(lambda task: _note(task, listener))
        try:
            if scripts:
                await scripts[min(peer.number, len(scripts) - 1)](peer)
            await asyncio.wait({reading})
        except Exception as error:
            listener.failures.append(error)
        finally:
            reading.cancel()
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.wait_for(server.wait_closed(), DEADLINE_S)
    if listener.failures:
        raise listener.failures[0]


def _note(task: asyncio.Task[None], listener: Listener) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        listener.failures.append(error)
