"""An app that works in a test: on the test's own loop, or on a thread; `join` waits for it and raises what it raised.

It knows apps and the test's broker. The time of cron handlers is the broker's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Self

from leveret.core.queue import Queue
from leveret.errors import ClientError, Reject, RetryLater
from leveret.testing.broker import LeveretBroker

if TYPE_CHECKING:
    from leveret.embed.thread import LoopThread
    from leveret.worker.app import App
    from leveret.worker.running import Running

JOIN_S: Final = 10.0
GRACE_S: Final = 2.0  # for handlers that are at work when the test is over
LOOK_S: Final = 0.002  # between two looks at the queues
OF_CONNECTION: Final = (
    "credentials",
    "tls",
)  # options of an app's connection that are not for the test's broker


class CronClock:
    """The broker's time for cron handlers. `quiet`: how many of them wait for a time that has not come."""

    def __init__(self, broker: LeveretBroker) -> None:
        self._clock = broker.clock
        self._waiting: dict[asyncio.Event, float] = {}

    def now_s(self) -> float:
        return self._clock.wall_ms() / 1000

    async def wait_s(self, seconds_s: float) -> None:
        """Until then, or until time was moved."""
        loop = asyncio.get_running_loop()
        moved = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(moved.set)

        self._waiting[moved] = self.now_s() + seconds_s
        self._clock.watchers.add(wake)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), max(0.0, seconds_s))
        finally:
            self._clock.watchers.discard(wake)
            del self._waiting[moved]

    def quiet(self) -> int:
        now_s = self.now_s()
        return sum(until_s > now_s for until_s in self._waiting.values())


class RunningApp:
    """An app at work on the loop of the test: `async with leveret_app(app) as worker:`."""

    def __init__(self, app: App, broker: LeveretBroker, raises: bool, options: dict[str, Any]) -> None:
        self.app = app
        self.broker = broker
        self.errors: deque[tuple[BaseException, str]] = deque()  # not raised yet, with the queue of each
        self._raises = raises
        self._options = options
        self._clock = CronClock(broker)
        self._before: tuple[Any, Any] = ((), {})
        self.running: Running

    async def start(self) -> None:
        app = self.app
        self._before = (app.urls, app.connect_options)
        kept = {name: value for name, value in app.connect_options.items() if name not in OF_CONNECTION}
        app.urls = (self.broker.url,)
        app.connect_options = kept
        try:
            self.running = app.running(clock=self._clock, on_error=self._failed, **self._options)
            await self.running.start()
        except BaseException:
            app.urls, app.connect_options = self._before
            raise

    def _failed(self, error: BaseException, message: Any) -> None:
        if not isinstance(error, (Reject, RetryLater)):  # these are decisions, not failures
            self.errors.append((error, str(message.queue)))

    async def stop(self) -> None:
        try:
            await self.running.stop()
        finally:
            self.app.urls, self.app.connect_options = self._before

    @property
    def client(self) -> Any:
        """The client that the app works with."""
        return self.running.client

    async def join(self, timeout_s: float = JOIN_S) -> None:
        """Wait until all that was posted is worked off: nothing is ready or in work in the app's queues, and no cron
        handler is due. What waits for its time (a delay, another try) is not waited for.

        Raises what a handler raised, at once; TimeoutError, which says what is left.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.raise_error()
            if self.running.ended.done():
                self.running.ended.result()
                raise ClientError(f"the app '{self.app.name}' has stopped consuming")
            await self._flush(deadline)
            left = await self._left()
            if not left:
                self.raise_error()
                return
            if time.monotonic() >= deadline:
                raise TimeoutError(f"not worked off within {timeout_s:g} s: {'; '.join(left)}")
            await asyncio.sleep(LOOK_S)

    async def _flush(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            await self.client.flush(max(0.0, deadline - time.monotonic()))

    async def _left(self) -> list[str]:
        """What is still to be done."""
        crons = self.running.crons
        by_clock = {cron.token_queue for cron in crons} | {cron.queue for cron in crons}
        names = [name for name in self.running.queues if name not in by_clock]
        asked = asyncio.run_coroutine_threadsafe(_counts(self.broker, names), self.broker.loop)
        left = await asyncio.wrap_future(asked)
        due = len(crons) - self._clock.quiet()
        if due > 0:
            left.append(f"{due} cron handlers are due or at work")
        if not left and self.running.busy:
            left.append(f"{self.running.busy} messages are in work")
        return left

    def raise_error(self) -> None:
        """Raise what a handler raised, if one did; each is raised once."""
        if not self._raises or not self.errors:
            return
        error, queue = self.errors.popleft()
        error.add_note(f"raised by the handler of queue '{queue}' of the app '{self.app.name}'")
        if self.errors:
            error.add_note(f"{len(self.errors)} more handlers failed after it")
        raise error


async def _counts(broker: LeveretBroker, names: list[str]) -> list[str]:
    left = []
    for name in names:
        try:
            queue: Queue = broker.broker.find(name)
        except ClientError:
            continue  # it is gone, and nothing is in it
        ready, out = queue.ready_count(), queue.unsettled_count()
        if ready or out:
            left.append(f"queue '{name}' has {ready} messages ready and {out} in work")
    return left


class ThreadedApp:
    """An app at work on a thread: `with leveret_app(app) as worker:`. For tests without a loop."""

    def __init__(self, inner: RunningApp, runner: LoopThread) -> None:
        self._inner = inner
        self._runner = runner

    @property
    def app(self) -> App:
        return self._inner.app

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the app's loop, and return what it returns."""
        return self._runner.do(work, None)

    def post(self, task: Any, *args: Any, **kwargs: Any) -> None:
        """`task.post(...)` on the app's loop."""

        async def posted() -> None:
            await task.post(*args, **kwargs)

        self.do(posted())

    def call(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """`await task.call(...)` on the app's loop, and its result."""
        return self.do(task.call(*args, **kwargs))

    def publish(self, to: Any, body: object, **options: Any) -> None:
        """`await client.publish(...)` on the app's loop."""
        self.do(self._inner.client.publish(to, body, **options))

    def join(self, timeout_s: float = JOIN_S) -> None:
        """Wait until all that was posted is worked off, as `RunningApp.join`."""
        self.do(self._inner.join(timeout_s))


class AppInTest:
    """An app that is about to work: enter it with `with` or, on a loop, with `async with`."""

    def __init__(self, inner: RunningApp, thread: Callable[[], LoopThread]) -> None:
        self._inner = inner
        self._thread = thread
        self._runner: LoopThread | None = None

    def __enter__(self) -> ThreadedApp:
        self._runner = self._thread()
        self._runner.do(self._inner.start())
        return ThreadedApp(self._inner, self._runner)

    def __exit__(self, *exc: object) -> None:
        assert self._runner is not None
        self._runner.do(self._inner.stop())
        if exc[0] is None:
            self._inner.raise_error()

    async def __aenter__(self) -> RunningApp:
        await self._inner.start()
        return self._inner

    async def __aexit__(self, *exc: object) -> None:
        await self._inner.stop()
        if exc[0] is None:
            self._inner.raise_error()


class LeveretApp:
    """What the fixture `leveret_app` is: called with an app, it has it work on the test's broker."""

    def __init__(self, broker: LeveretBroker) -> None:
        self.broker = broker
        self._runner: LoopThread | None = None
        self._lock = threading.Lock()

    def __call__(self, app: App, *, raises: bool = True, **options: Any) -> AppInTest:
        """An app to be entered. Its addresses are the test's broker until it is left.

        raises: whether `join`, and leaving it, raise what handlers raised. options: those of `App.running`, such as
        `queues` and `concurrency`.
        """
        options.setdefault("grace_s", GRACE_S)
        return AppInTest(RunningApp(app, self.broker, raises, options), self._thread)

    def _thread(self) -> LoopThread:
        from leveret.embed.thread import LoopThread

        with self._lock:
            if self._runner is None:
                self._runner = LoopThread("leveret-app")
            return self._runner

    def close(self) -> None:
        if self._runner is not None:
            self._runner.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
