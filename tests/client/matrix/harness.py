"""One case of the matrix: a client behind a proxy, a consumer that must outlive every fault, a deadline, a ledger.

A case fails with a dump of what waited when its time is over. At its end nothing may be left: no task of the client,
no socket, no error that nobody saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import leveret
from leveret.errors import Disconnected, LeveretError, Refused, Stale

from ...compat.waiting import eventually_async
from .brokers import Side
from .proxy import Proxy

T = TypeVar("T")

DEADLINE_S: Final = 20.0  # of a case: generous, it says that something hangs
_numbers = itertools.count()


class Standing:
    """A consumer that stands throughout a case, on a queue that goes with its last consumer and is bound by the client.

    It sees the probe that is published after a fault only if the client has declared, bound and consumed again.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.queue = case.name("standing")
        self.exchange = case.name("exchange")
        self.held: leveret.Message | None = None
        self.probed: set[bytes] = set()
        self._sent = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        client = self.case.client
        await client.declare_exchange(self.exchange, "direct", durable=False)
        queue = leveret.Queue(self.queue, durable=False, auto_delete=True)
        await client.declare_queue(queue)
        await client.bind(self.queue, self.exchange, "probe")
        self._task = asyncio.ensure_future(self._consume(queue))
        self.case.side.publish(self.queue, b"held")
        await eventually_async(lambda: self.held, "the standing consumer has its first message")

    async def _consume(self, queue: leveret.Queue) -> None:
        async with self.case.client.consume(queue, prefetch=50) as messages:
            async for message in messages:
                if self.held is None:
                    self.held = message  # left alone, but for what becomes of it
                    continue
                with contextlib.suppress(Stale):
                    message.ack()
                if message.body != b"held":
                    self.probed.add(message.body)

    async def resumed(self) -> None:
        """Proven by a probe that comes through."""
        task = self._task
        assert task is not None
        first = self._sent

        def probe() -> bool:
            assert not task.done(), f"the standing consumer ended: {task}"
            if any(int(body) > first for body in self.probed):
                return True
            if self._sent - first < 200:
                self._sent += 1
                self.case.side.publish("probe", b"%d" % self._sent, exchange=self.exchange)
            return False

        await eventually_async(probe, "consuming has resumed", self.case.patience_s)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, LeveretError):
                await self._task


class Case:
    """What an operation of the matrix works with. Names are its own, so that cases share a broker."""

    def __init__(self, proxy: Proxy, side: Side, options: dict[str, Any], *urls: str) -> None:
        self.proxy = proxy
        self.side = side
        self.number = next(_numbers)
        self.patience_s = DEADLINE_S / 2  # with one thing of the case
        self.outcomes: list[leveret.Outcome] = []
        self.errors: list[LeveretError] = []  # what the operation was told and tried again after
        self._queues: list[str] = []
        self._exchanges: list[str] = []
        self.client = make_client(*(urls or (proxy.url,)), on_outcome=self.outcomes.append, **options)
        self.standing = Standing(self)

    def name(self, what: str) -> str:
        name = f"matrix-{os.getpid()}-{self.number}-{what}"
        (self._exchanges if "exchange" in what else self._queues).append(name)
        return name

    def queue(self, what: str = "queue", **arguments: Any) -> str:
        """A durable queue that was declared from the side."""
        name = self.name(what)
        self.side.declare(name, **arguments)
        return name

    async def insist(self, ask: Callable[[], Awaitable[T]], *more: type[LeveretError], tries: int = 20) -> T:
        """Asks until it is done. That a connection or channel ended may be told at most now and then, by its error."""
        for _ in range(tries):
            try:
                return await ask()
            except LeveretError as error:
                if not isinstance(error, (Disconnected, Refused, *more)):
                    raise
                self.errors.append(error)
        raise AssertionError(f"refused {tries} times: {self.errors[-3:]}")

    async def give_up(self) -> None:
        """The case has failed: end what it has begun, however that is."""
        await self.standing.stop()
        with contextlib.suppress(TimeoutError, LeveretError):
            await asyncio.wait_for(self.client.close(flush_s=0.01), 2.0)

    def clean(self) -> None:
        self.side.delete(*self._queues)
        self.side.delete_exchange(*self._exchanges)


def make_client(*urls: str, **options: Any) -> leveret.Client:
    """A client whose waits are short."""
    settings: dict[str, Any] = {
        "reconnect": leveret.Backoff(first_s=0.01, max_s=0.05),
        "connect_timeout_s": 5.0,
        "heartbeat_s": 10,
    }
    return leveret.connect(*urls, **(settings | options))


def dump(*more: object) -> str:
    """Every task with where it waits."""
    out = io.StringIO()
    for thing in more:
        print(thing, file=out)
    for task in asyncio.all_tasks():
        print(file=out)
        task.print_stack(file=out)
    return out.getvalue()


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """No task that was started within is there at the end, and no error that nobody saw."""
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    before = asyncio.all_tasks()
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    await _turn()
    left = [task for task in asyncio.all_tasks() - before if not task.get_name().startswith("proxy")]
    assert not left, dump("tasks are left:", *left)
    gc.collect()
    assert not seen, f"errors that nobody saw: {seen}"


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def deadline(case: Case, deadline_s: float = DEADLINE_S) -> AsyncIterator[None]:
    """Fails with a dump when the case takes longer. The dump is made before anything is cancelled."""
    loop = asyncio.get_running_loop()
    told: list[str] = []

    def late() -> None:
        told.append(dump(*case.proxy.log[-60:], case.client.stats, *case.errors))

    timer = loop.call_later(deadline_s - 0.1, late)
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        if told:
            raise AssertionError(f"not done after {deadline_s} s:\n{told[0]}") from None
        raise
    finally:
        timer.cancel()


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, after which nothing is left for the collector to complain of."""
    try:
        return asyncio.run(main)
    finally:
        gc.collect()
