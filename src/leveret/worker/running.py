"""An app at work in this process: connects, makes everything ready, consumes, and ends without losing anything.

    start: client, middleware, resources, pools, queues, consumers -> working -> stop: the same backwards

Knows the order of these. What is done with a message is known to `consumer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from leveret.errors import ConfigError, Refused
from leveret.worker.connecting import first_connection
from leveret.worker.consumer import Counts, OnError, QueueRunner
from leveret.worker.cron import CronRunner, SystemClock
from leveret.worker.declared import Declared
from leveret.worker.failures import FailureLog
from leveret.worker.interfaces import Clock
from leveret.worker.middleware import Chain
from leveret.worker.work import Work

if TYPE_CHECKING:
    from leveret.worker.app import App

logger = logging.getLogger("leveret.worker")

NO_HANDLERS: Final = (
    "the app {!r} has no handlers: the module that is named has to import those in which they are declared"
)
CLOSE_S: Final = 1.0  # for the broker to end consumers, if there is no grace time left
DIFFERENT: Final = 406  # what a broker answers when a queue is declared otherwise than it is there


class Running:
    """Made by `App.running`, a context manager. `concurrency` replaces that of every handler.

    `wait`: while no broker can be reached, starting tries again and again; else, and if a broker refuses us, it raises.
    `on_error` is told of every failure, with the exception and the message. `clock` is the time for cron. `ended` is done
    when a consumer ended by itself, and its exception is why.
    """

    def __init__(
        self,
        app: App,
        client: Any,
        handlers: Iterable[Declared],
        *,
        concurrency: int | None = None,
        on_error: OnError | None = None,
        clock: Clock | None = None,
        grace_s: float | None = None,
        wait: bool = False,
    ) -> None:
        self.app = app
        self.client = client
        self._waits = wait
        self.grace_s = app.grace_s if grace_s is None else grace_s
        self._handlers = [with_concurrency(one, concurrency) for one in handlers]
        self._on_error = on_error
        self._clock = clock if clock is not None else SystemClock()
        self._own_client = client is None
        self._before: Any = None
        self._chain = Chain(app.middleware)
        self._log = FailureLog()
        self._works: list[Work] = []
        self._consumers: list[Any] = []
        self._runners: list[QueueRunner] = []
        self._crons: list[CronRunner] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._past: dict[str, Counts] = {}
        self._undo = contextlib.AsyncExitStack()
        self._stopping = False

    # ---- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return when everything is consumed. Raises what keeps it from that, with all undone."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        try:
            await self._open()
        except BaseException:
            await self._undo.aclose()
            raise

    async def _open(self) -> None:
        undo = self._undo
        if self._own_client:
            self.client = await first_connection(self.app.make_client, self._waits)
            undo.push_async_callback(self.client.close)
        self._before = self.app.use(self.client)
        undo.callback(self._unuse)
        undo.callback(self._log.close)
        await self._chain.started(self.app)
        undo.push_async_callback(self._chain.stopped)
        undo.push_async_callback(self.app.resources.close)
        works: dict[int, Work] = {}
        for declared in self._handlers:
            work = Work(declared, self._chain, self.app.resources)
            undo.push_async_callback(work.close, 0.0)
            await work.open()
            works[id(declared)] = work
        for group in by_queue(self._handlers):
            await self._open_queue(group, [works[id(one)] for one in group])

    def _unuse(self) -> None:
        self.app.use(self._before)

    async def _open_queue(self, group: list[Declared], works: list[Work]) -> None:
        first = group[0]
        if first.topic is None or not first.topic.ephemeral:
            await self._declare(first)
        if first.timing is not None:
            cron = CronRunner(
                self.app.name, self.client, first, first.timing,
                lambda: self._runner(first, {None: works[0]}), self._clock,
            )  # fmt: skip
            self._crons.append(cron)
            self._undo.push_async_callback(cron.close)
            self._go(cron.run())
            return
        named: dict[str | None, Work] = {None: works[0]}
        if first.kind == "task":
            named = {one.name: work for one, work in zip(group, works, strict=True)}
        runner = self._runner(first, named)
        consumer = self._consumer(group)
        self._undo.push_async_callback(consumer.close)
        await consumer.start()
        self._consumers.append(consumer)
        self._go(runner.consume(consumer))

    async def _declare(self, declared: Declared) -> None:
        try:
            await self.client.declare_queue(declared.queue)
        except Refused as error:
            if error.code != DIFFERENT:
                raise
            name = declared.queue.name
            raise Refused(
                error.code,
                f"{declared.where} wants queue {name!r} otherwise than it is there: {error.text}. Delete it (`leveret delete"
                " queue`), handle another, or say by queue=Queue(...) and retry=... how it was declared",
            ) from None

    def _runner(self, declared: Declared, works: dict[str | None, Work]) -> QueueRunner:
        runner = QueueRunner(
            declared.queue.name, works, declared.dead_letter, log=self._log, on_error=self._on_error
        )  # fmt: skip
        self._runners = [one for one in self._runners if not self._is_past(one)]
        self._runners.append(runner)
        return runner

    def _is_past(self, runner: QueueRunner) -> bool:
        """A run of a cron handler that is over: its counts are kept, it is not."""
        if not runner.over:
            return False
        self._past[runner.queue] = runner.counts.plus(self._past.get(runner.queue, Counts()))
        return True

    def _consumer(self, group: list[Declared]) -> Any:
        declared = group[0]
        topic = declared.topic
        ahead = [one.prefetch for one in group if isinstance(one.prefetch, int)]
        prefetch = max(ahead) if len(ahead) == len(group) else "auto"
        if topic is None:
            consumer = self.client.consume(declared.queue, prefetch=prefetch)
        else:
            consumer = self.client.subscribe(
                topic.pattern,
                name=None if topic.ephemeral else declared.queue.name,
                exchange=topic.exchange,
                prefetch=prefetch,
                queue=None if topic.ephemeral else declared.queue,
            )
        if prefetch == "auto":
            consumer.prefetch.count = max(one.first_prefetch for one in group)
        return consumer

    def _go(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._stopping or task.cancelled() or self.ended.done():
            return
        error = task.exception()
        if error is not None:
            self.ended.set_exception(error)
            self.ended.exception()  # whoever looks is told; nobody has to look
        else:
            self.ended.set_result(None)

    # ---- what is done

    @property
    def counts(self) -> dict[str, Counts]:
        """By queue, since the start."""
        found = dict(self._past)
        for runner in self._runners:
            found[runner.queue] = runner.counts.plus(found.get(runner.queue, Counts()))
        return found

    @property
    def busy(self) -> int:
        """How many messages are in work."""
        return sum(runner.busy for runner in self._runners)

    async def idle(self) -> None:
        """Until nothing is in work here. More may be in the queues."""
        for runner in self._runners:
            await runner.settled()

    @property
    def queues(self) -> list[str]:
        """Those that are consumed from, as the broker calls them."""
        return [consumer.queue for consumer in self._consumers] + [cron.queue for cron in self._crons]

    @property
    def crons(self) -> list[CronRunner]:
        return list(self._crons)

    # ---- ending

    async def stop(self, grace_s: float | None = None) -> None:
        """Take nothing more; finish what is in work within `grace_s`, cancel and release the rest; undo the start."""
        if self._stopping:
            return
        self._stopping = True
        grace_s = self.grace_s if grace_s is None else grace_s
        end_s = time.monotonic() + grace_s
        try:
            for cron in self._crons:
                cron.stop_taking()
            for runner in self._runners:
                runner.stop_taking()
            # Beside what is in work: a broker that does not answer keeps nothing from its grace time.
            closing = [asyncio.ensure_future(consumer.close()) for consumer in self._consumers]
            if not await self._settled(grace_s):
                logger.warning("%d messages are not done in time, and go back to their queues", self.busy)
            await asyncio.gather(*(runner.give_up() for runner in self._runners))
            await self._closed(closing, end_s)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._closed([asyncio.ensure_future(cron.close()) for cron in self._crons], end_s)
        finally:
            await self._undo.aclose()

    def hurry(self) -> None:
        """No grace any more for what is in work."""
        self._hurry.set()

    async def _closed(self, closing: list[asyncio.Future[None]], end_s: float) -> None:
        """Until they are, or the time is over: then the broker takes back what they had when the connection ends."""
        hurry: asyncio.Future[Any] = asyncio.ensure_future(self._hurry.wait())
        left: asyncio.Future[Any] = asyncio.gather(*closing, return_exceptions=True)
        left_s = end_s - time.monotonic()
        if left_s > CLOSE_S:
            await asyncio.wait({left, hurry}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({left}, timeout=CLOSE_S)
        hurry.cancel()
        left.cancel()
        for error in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(error, Exception):
                raise error

    async def _settled(self, grace_s: float) -> bool:
        idle = asyncio.ensure_future(self.idle())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({idle, hurry}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        done = idle.done()
        for task in (idle, hurry):
            task.cancel()
        return done


def with_concurrency(declared: Declared, concurrency: int | None) -> Declared:
    """The handler with another concurrency."""
    if concurrency is None or declared.concurrency == concurrency:
        return declared
    return dataclasses.replace(declared, concurrency=concurrency)


def by_queue(handlers: Iterable[Declared]) -> list[list[Declared]]:
    """Tasks of one queue together, every other handler for itself."""
    found: dict[object, list[Declared]] = {}
    for declared in handlers:
        key: object = declared.queue.name if declared.kind == "task" else id(declared)
        found.setdefault(key, []).append(declared)
    return list(found.values())


async def run_until_told(
    app: App,
    *,
    queues: Iterable[str] | None = None,
    concurrency: int | None = None,
    grace_s: float | None = None,
    wait: bool = True,
    ready: Callable[[Running], None] | None = None,
) -> Running:
    """Work until SIGTERM or SIGINT, drain, and return; at a second signal leave at once. Raises what ended it else."""
    if not app.handlers:
        raise ConfigError(NO_HANDLERS.format(app.name))
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    running = app.running(queues=queues, concurrency=concurrency, grace_s=grace_s, wait=wait)

    def signalled() -> None:
        if told.is_set():
            running.hurry()
        elif running.busy:
            logger.info(
                "stopping: what is in work (%d) may end within %g s; a second signal gives it back at once",
                running.busy, running.grace_s,
            )  # fmt: skip
        told.set()

    handled = [number for number in (signal.SIGTERM, signal.SIGINT) if _handle(loop, number, signalled)]
    try:
        starting = asyncio.ensure_future(running.start())
        try:
            if await _unless(told, starting):
                if ready is not None:
                    ready(running)
                await _unless(told, running.ended)
        finally:
            if not starting.cancelled() and starting.exception() is None:
                await running.stop()
        return running
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _unless(told: asyncio.Event, work: asyncio.Future[Any]) -> bool:
    """Whether it was done before we were told to stop; if not, it is cancelled. Raises what it raises."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            return True
        return False
    finally:
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, callback: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, callback)
    except (NotImplementedError, RuntimeError, ValueError):  # not in the main thread, or not on this system
        return False
    return True
