"""A client that is connected without a socket, and what a test asks of it. It reads methods with their contents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from leveret.embed import Broker
from leveret.wire import methods, requests
from leveret.wire.frames import FRAME_BODY, FRAME_METHOD, ContentHeader, FrameSplitter
from leveret.wire.signatures import decode_method

from ..protocol.talker import PERSISTENT, Heard, opening, publish, request

DEADLINE_S = 20.0
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine, not for ever."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await work

    return asyncio.run(bounded())


class Dialled(asyncio.Protocol):
    """`calls` are the names of what asyncio's side was told, in order."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.calls: list[str] = []
        self.waiting: list[Heard] = []
        self.splitter = FrameSplitter()
        self.came = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.received_bytes = 0
        self.polite = True  # answers when the broker closes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def eof_received(self) -> bool:
        self.calls.append("eof_received")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(error)
        self.came.set()

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        for frame in self.splitter.feed(data):
            if frame.kind == FRAME_METHOD:
                method = decode_method(frame.payload)
                self.waiting.append(Heard(frame.channel, method.name, method.fields))
                if method.name == "connection.close" and self.polite:
                    self.transport.write(request(methods.connection_close_ok))
            elif frame.kind == FRAME_BODY:
                self.waiting[-1].body += frame.payload
            else:
                self.waiting[-1].properties = ContentHeader(frame.payload).properties
        self.came.set()

    async def next(self) -> Heard:
        """The next method that comes, with all of its content."""
        while not self.waiting:
            assert not self.lost.done(), "the connection was lost"
            self.came.clear()
            await self.came.wait()
        return self.waiting.pop(0)

    async def hears(self, *names: str) -> Heard:
        for name in names:
            heard = await self.next()
            assert heard.name == name, heard
        return heard

    async def asks(self, write: Callable[..., None], *args: object, **options: object) -> Heard:
        self.transport.write(request(write, *args, **options))
        return await self.next()

    async def declares(self, queue: str, **options: bool) -> None:
        assert (await self.asks(requests.queue_declare, 1, queue, **options)).name == "queue.declare_ok"

    async def publishes(self, queue: str, *bodies: bytes) -> None:
        """Persistent messages; on disk when this returns."""
        if not hasattr(self, "confirming"):
            self.confirming = (await self.asks(requests.confirm_select, 1)).name
        for body in bodies:
            self.transport.write(publish(1, queue, body, PERSISTENT))
            assert (await self.next()).name == "basic.ack"

    async def bodies(self, queue: str) -> list[bytes]:
        """Empty a queue."""
        found = []
        while (got := await self.asks(requests.basic_get, 1, queue, no_ack=True)).name == "basic.get_ok":
            found.append(got.body)
        return found


def dial(broker: Broker) -> Dialled:
    client = Dialled()
    client.transport = broker.dial(lambda: client)
    return client


async def opened(broker: Broker) -> Dialled:
    """A client with channel 1."""
    client = dial(broker)
    client.transport.write(opening())
    client.transport.write(request(requests.channel_open, 1))
    await client.hears("connection.start", "connection.tune", "connection.open_ok", "channel.open_ok")
    return client
