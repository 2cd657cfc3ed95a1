"""The client for code without an event loop: a thread of its own runs the asyncio client underneath.

    caller's threads: encode -> box ]  wake once  [ -> outbox -> link : the client's thread
                      messages <- deque of the consumer <- link

So heartbeats go on, and connections come back, however long the caller's code takes. What the callers hand over and take
crosses in batches. All its methods may be called by many threads. A forked child has to make a client of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import logging
import os
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Literal, Self, TypeVar, Unpack

from leveret.client.client import Client
from leveret.client.engine.message import Message
from leveret.client.engine.outbox import Template
from leveret.client.features import Features, ServerInfo
from leveret.client.opening import connect
from leveret.client.stats import Stats
from leveret.client.sync_consumer import SyncConsumer, SyncMessage
from leveret.client.sync_declaring import SyncDeclaring
from leveret.client.sync_sending import Handed, SyncSending
from leveret.client.targets import TOPICS, Options, Target
from leveret.client.thread import Box, Callbacks, LoopThread
from leveret.client.topology import Queue
from leveret.errors import Closed, LeveretError

T = TypeVar("T")
log = logging.getLogger("leveret.client")
AT_ONCE: Final = 32  # messages that `drain` fetches ahead
AT_EXIT_S: Final = 5.0  # how long the end of the program waits for confirms of a client that was not closed

SyncOnReply = Callable[[SyncMessage], object]


class SyncClient(SyncSending, SyncDeclaring):
    """Made by `leveret.connect_sync`. `with` opens and closes it; so do `open` and `close`.

    Its methods are those of `leveret.Client`, with the same options, and block instead of being awaited. Ctrl-C while one
    waits leaves the client usable. Callbacks (`on_outcome`, `on_reply`) are called one after the other on a thread of
    their own, and may take their time.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publisher = client.publisher
        self._thread = LoopThread("leveret-client", functools.partial(client.close, 0.0))
        self._callbacks = Callbacks("leveret-callbacks")
        self._posts: Box[Handed | tuple[Template, bytes]] = Box(self._thread, self._send)
        self._settles: Box[Callable[[], object]] = Box(self._thread, settle_all)
        self._open = False
        self._at_exit: Callable[[], None] | None = None
        if self._publisher.on_outcome is not None:
            self._publisher.on_outcome = self._later(self._publisher.on_outcome)

    # ---- life

    def open(self) -> None:
        """Connect. Raises ConnectFailed, which says why for every address."""
        if self._open or not self._thread.running:
            raise Closed("a client is opened once; make another with connect_sync()")
        self._open = True
        self._thread.start()
        try:
            self._thread.call(self._client.open)
        except BaseException:
            self._thread.stop()
            raise
        self._at_exit = functools.partial(close_at_exit, weakref.ref(self), os.getpid())
        atexit.register(self._at_exit)

    def close(self, flush_s: float = 10.0) -> None:
        """Wait for confirms of what was sent, for at most `flush_s`; stop consuming; hang up. Repeated calls do nothing."""
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None
        if self._open and self._thread.running:
            with contextlib.suppress(Closed):
                self._thread.call(functools.partial(self._client.close, flush_s))
        self._thread.stop()
        self._callbacks.stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()

    def __del__(self) -> None:
        thread = self._thread
        if self._open and thread.running:
            thread.tell(thread.loop.stop)

    @property
    def connected(self) -> bool:
        return self._client.connected and self._thread.running

    @property
    def server(self) -> ServerInfo:
        return self._client.server

    @property
    def features(self) -> Features:
        return self._client.features

    @property
    def stats(self) -> Stats:
        """A snapshot of what this client has done."""
        if not self._thread.running:
            return self._client.stats

        async def look() -> Stats:
            return self._client.stats

        return self._do(look)

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._open:
            raise Closed("the client is not open: use 'with', or open() first")
        return self._thread.call(work)

    def _check(self) -> None:
        if not self._open:
            raise Closed("the client is not open: use 'with', or open() first")
        self._thread.check()

    def _later(self, function: Callable[[T], object]) -> Callable[[T], None]:
        """The same, called on the thread of callbacks."""
        put = self._callbacks.put

        def later(argument: T) -> None:
            put(functools.partial(function, argument))

        return later

    def _wrap(self, message: Message) -> SyncMessage:
        return SyncMessage(message, self._settles, self._thread)

    # ---- answers

    def call(
        self, to: str | Target, body: object, *, timeout_s: float | None = 30.0, **options: Unpack[Options]
    ) -> SyncMessage:
        """Ask, and wait for the answer. Raises CallTimeout, CallFailed, Unroutable, Disconnected."""

        async def call() -> Message:
            return await self._client.call(to, body, timeout_s=timeout_s, **options)

        return self._wrap(self._do(call))

    def request(
        self,
        to: str | Target,
        body: object,
        *,
        on_reply: SyncOnReply,
        reply_queue: str | None = None,
        **options: Unpack[Options],
    ) -> str:
        """Ask, and go on: `on_reply` gets the answer when it comes. Returns the correlation id, once the broker has it.

        With `reply_queue`, a durable queue, answers outlive this process: see `on_reply`.
        """
        tell = self._on_reply(on_reply)

        async def request() -> str:
            return await self._client.request(to, body, on_reply=tell, reply_queue=reply_queue, **options)

        return self._do(request)

    def on_reply(self, reply_queue: str, callback: SyncOnReply) -> None:
        """Tell `callback` of answers in this queue that nobody waits for: those to requests of an earlier run."""
        self._do(lambda: self._client.on_reply(reply_queue, self._on_reply(callback)))

    def _on_reply(self, callback: SyncOnReply) -> Callable[[Message], asyncio.Future[None]]:
        """The answer is acked when the callback has returned, and comes again when it has raised."""

        def tell(message: Message) -> asyncio.Future[None]:
            future: asyncio.Future[None] = self._thread.loop.create_future()

            def run() -> None:
                error: Exception | None = None
                try:
                    callback(self._wrap(message))
                except Exception as found:
                    error = found
                self._thread.tell(bring, future, error)

            self._callbacks.put(run)
            return future

        return tell

    # ---- taking

    def consume(
        self,
        queue: str | Queue,
        *,
        prefetch: int | Literal["auto"] = "auto",
        declare: bool = True,
        exclusive: bool = False,
        priority: int | None = None,
        auto_ack: bool = False,
        arguments: Mapping[str, object] | None = None,
    ) -> SyncConsumer:
        """A consumer, to be iterated over. The queue is declared unless it was, or `declare` is False.

        A `Queue` says how; a name alone is what was declared before, or a durable queue. `prefetch` is how many messages may
        be here unsettled; 'auto' follows how fast they are worked through. Begins when iterated over; raises then.
        """

        async def make() -> SyncConsumer:
            consumer = self._client.consume(
                queue,
                prefetch=prefetch,
                declare=declare,
                exclusive=exclusive,
                priority=priority,
                auto_ack=auto_ack,
                arguments=arguments,
            )
            return SyncConsumer(consumer, self._settles, self._thread)

        return self._do(make)

    def subscribe(
        self,
        pattern: str = "#",
        *,
        name: str | None = None,
        exchange: str = TOPICS,
        headers: Mapping[str, object] | None = None,
        match: Literal["all", "any"] = "all",
        selector: str | None = None,
        prefetch: int | Literal["auto"] = "auto",
        queue: Queue | None = None,
    ) -> SyncConsumer:
        """A copy of everything that matches: a pattern of topics, or headers of messages to a headers exchange.

        With a `name` the subscription is a durable queue that gathers while nobody is there; without, it is gone with its
        connection. Raises Unsupported for a selector where the broker has none.
        """

        async def make() -> SyncConsumer:
            consumer = self._client.subscribe(
                pattern,
                name=name,
                exchange=exchange,
                headers=headers,
                match=match,
                selector=selector,
                prefetch=prefetch,
                queue=queue,
            )
            return SyncConsumer(consumer, self._settles, self._thread)

        return self._do(make)

    def get(self, queue: str | Queue, *, timeout_s: float | None = None) -> SyncMessage | None:
        """One message, or None if there is none; with a timeout, waits so long for one. Raises Refused."""
        message = self._do(lambda: self._client.get(queue, timeout_s=timeout_s))
        return None if message is None else self._wrap(message)

    def drain(
        self, queue: str | Queue, *, limit: int | None = None, timeout_s: float | None = None
    ) -> Iterator[SyncMessage]:
        """What is in the queue now, up to `limit`; ends when it is empty, or after `timeout_s`. Raises Refused."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        messages = self._client.drain(queue, limit=limit)

        async def some() -> list[Message]:
            found: list[Message] = []
            async for message in messages:
                found.append(message)
                if len(found) == AT_ONCE:
                    break
            return found

        async def end(left: list[Message]) -> None:
            await messages.aclose()  # type: ignore[attr-defined]
            for message in left:
                if not message.settled:
                    message.release()

        found: list[Message] = []
        try:
            while found := self._do(some):
                found.reverse()
                while found:
                    if deadline is not None and time.monotonic() >= deadline:
                        return
                    yield self._wrap(found.pop())
        finally:
            if self._thread.running:
                self._do(lambda: end(found))


def connect_sync(*addresses: Any, **options: Any) -> SyncClient:
    """A client for code without an event loop, to be opened with `with` or `open()`. All is as for `leveret.connect`."""
    return SyncClient(connect(*addresses, **options))


def settle_all(settles: list[Callable[[], object]]) -> int:
    """On the loop: settle what the callers' threads have settled. Those of a lost connection come again by themselves."""
    for settle in settles:
        try:
            settle()
        except LeveretError as error:
            log.debug("a message could not be settled: %s", error.text)
    return 0


def bring(future: asyncio.Future[None], error: Exception | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def close_at_exit(client: weakref.ref[SyncClient], pid: int) -> None:
    """The program ends, and nobody has closed it: what was posted is sent, if that goes quickly."""
    found = client()
    if found is not None and pid == os.getpid():
        found.close(AT_EXIT_S)
