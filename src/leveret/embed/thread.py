"""A broker on a thread of its own, for programs and tests without an event loop.

    with leveret.run_in_thread() as broker:
        pika.BlockingConnection(pika.URLParameters(broker.url))

`Loops` is the thread: several brokers may share it. What is called here may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from leveret.embed.broker import ANY_PORT, Broker
from leveret.embed.look import Waiting
from leveret.errors import ClientError
from leveret.server.run import new_loop
from leveret.server.server import GOODBYE_S

if TYPE_CHECKING:
    from leveret.client import Client
    from leveret.client.sync import SyncClient

T = TypeVar("T")
CALL_S: Final = 60.0  # the longest that a call of the thread may take


class LoopThread:
    """An event loop that runs on a daemon thread until it is stopped."""

    def __init__(self, name: str = "leveret-broker") -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def do(self, work: Coroutine[Any, Any, T], timeout_s: float | None = CALL_S) -> T:
        """Run this on the loop, and wait for what comes of it. Raises ClientError when the thread has ended."""
        if not self.thread.is_alive():
            work.close()
            raise ClientError(f"the thread '{self.thread.name}' has ended")
        if threading.current_thread() is self.thread:
            work.close()
            raise ClientError("called on the broker's own thread, which would wait for itself")
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.do(self._end_tasks())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    async def _end_tasks(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


class ThreadedBroker:
    """What `run_in_thread` returns: a running broker. Its attribute `broker` is the one on the thread's loop."""

    def __init__(self, broker: Broker, runner: LoopThread, own: bool = True) -> None:
        self.broker = broker
        self._runner = runner
        self._own = own

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on the broker's thread, and return what it returns."""

        async def called() -> T:
            return function(*args)

        return self._runner.do(called())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the broker's loop, and return what it returns."""
        return self._runner.do(work, None)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._runner.loop

    @property
    def url(self) -> str:
        """Where any client connects to. Listens on a free port of 127.0.0.1 from the first use on, if it does not."""
        if not self.broker.listening:
            return self.call(self._listen)
        return self.broker.url

    def _listen(self) -> str:
        return self.broker.url if self.broker.listening else self.broker.listen(ANY_PORT)

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and port of every listener, by its name: `amqp`, `stomp`, `web_stomp`, ..."""
        return self.call(lambda: self.broker.addresses)

    @property
    def stomp_address(self) -> tuple[str, int]:
        """Host and port of STOMP. Raises ClientError when it does not listen."""
        return self.call(lambda: self.broker.stomp_address)

    @property
    def web_stomp_address(self) -> tuple[str, int]:
        """Host and port of STOMP over WebSocket. Raises ClientError when it does not listen."""
        return self.call(lambda: self.broker.web_stomp_address)

    @property
    def running(self) -> bool:
        return self.broker.running

    def dial(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], /
    ) -> asyncio.Transport | Awaitable[asyncio.BaseTransport]:
        """Connect what the factory makes: without a socket on the broker's own loop, by `url` on any other, which takes
        an await. Raises ClientError when it is not running."""
        if asyncio.get_running_loop() is self.loop:
            return self.broker.dial(protocol_factory)
        return self._by_socket(protocol_factory)

    async def _by_socket(self, protocol_factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.BaseTransport:
        if not self.broker.listening:
            self.call(self._listen)
        host, port = self.broker.address
        transport, _ = await asyncio.get_running_loop().create_connection(protocol_factory, host, port)
        return transport

    def connect(self, **options: Any) -> Client:
        """A client for the loop of the caller: `leveret.connect(broker.url, **options)`."""
        import leveret

        return leveret.connect(self.url, **options)

    def connect_sync(self, **options: Any) -> SyncClient:
        """A client for code without a loop: `leveret.connect_sync(broker.url, **options)`."""
        import leveret

        return leveret.connect_sync(self.url, **options)

    def queues(self) -> list[str]:
        """The names of its queues."""
        return self.call(self.broker.queues)

    def messages(self, queue: str) -> list[Waiting]:
        """What waits in a queue, without taking it. Raises ClientError if there is no such queue."""
        return self.call(self.broker.messages, queue)

    def advance(self, seconds: float) -> None:
        """Move the broker's time ahead, as `Broker.advance`."""
        self.do(self.broker.advance(seconds))

    def stop(self, goodbye_s: float = GOODBYE_S) -> None:
        """Stop the broker, and its thread. May be called again. Raises StoreError if the disk failed before."""
        try:
            if self._runner.thread.is_alive():
                self.do(self.broker.stop(goodbye_s))
        finally:
            if self._own:
                self._runner.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def run_in_thread(
    data: str | os.PathLike[str] | None = None, listen: str | None = ANY_PORT, **settings: Any
) -> ThreadedBroker:
    """Start a broker on a thread of its own; arguments are those of `Broker`. Raises what starting it raises."""
    broker = Broker(data, listen, **settings)
    runner = LoopThread()
    try:
        runner.do(broker.start())
    except BaseException:
        with contextlib.suppress(Exception):
            runner.stop()
        raise
    return ThreadedBroker(broker, runner)
