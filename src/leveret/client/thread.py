"""An event loop on a thread of its own, and how other threads make it work: calls they wait for, and boxes they fill.

Whatever is put into a box wakes the loop once, however much is put there until it comes to look: so the price of
crossing from thread to thread is paid for a batch. When the thread ends, for whatever reason, everybody who waits for it
is told. Knows nothing of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from leveret.errors import ClientError, Closed, Disconnected, LeveretError

T = TypeVar("T")
log = logging.getLogger("leveret.client")
END_S: Final = 5.0  # how long its tasks may take to end


class Waiting(Generic[T]):
    """One thread waits for what another brings, once. A wait that ends by an exception (Ctrl-C) leaves nothing behind."""

    __slots__ = ("_error", "_lock", "_result", "abandon", "done")

    def __init__(self) -> None:
        self.done = False
        self.abandon: Callable[[], object] | None = None  # called on the loop when nobody waits any more
        self._result: T | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def given_up(self) -> None:
        """On the loop: nobody waits any more."""
        if self.abandon is not None:
            self.abandon()

    def set(self, result: T) -> None:
        if not self.done:
            self._result = result
            self.done = True
            self._lock.release()

    def fail(self, error: BaseException) -> None:
        if not self.done:
            self._error = error
            self.done = True
            self._lock.release()

    def wait(self, timeout_s: float | None = None) -> T:
        """What was brought. Raises TimeoutError, and the error that was brought instead."""
        if not self._lock.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Callbacks:
    """Calls functions of the application one after the other, on a thread of its own, so that they may take their time
    and wait for the client. The thread begins with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, function: Callable[[], object]) -> None:
        self._queue.put(function)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while (function := self._queue.get()) is not None:
            try:
                function()
            except Exception:
                log.exception("a callback failed")

    def stop(self) -> None:
        """When those that were put are called. On its own thread, it ends after this one."""
        self._queue.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(END_S)


class LoopThread:
    """The loop runs as a daemon thread from `start` to `stop`, and does `last` at its end, whatever ends it. `why_not` says
    why it does not run, once it does not."""

    def __init__(self, name: str, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.why_not = ""
        self._last = last
        self._crashed = False
        self._name = name
        self._pid = os.getpid()
        self._waiting: set[Waiting[Any]] = set()
        self._thread: threading.Thread | None = None
        _THREADS.add(self)

    def start(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        except BaseException as error:  # whatever ends it, those who wait are to know
            self._crashed = True
            self.why_not = f"the client's thread ended: {error!r}"
            log.exception("the client's thread ended")
        self.why_not = self.why_not or "the client was closed"
        for waiting in list(self._waiting):
            waiting.fail(self.error())
        with contextlib.suppress(BaseException):
            self.loop.run_until_complete(asyncio.wait_for(self._last(), END_S))
        with contextlib.suppress(BaseException):
            self.loop.run_until_complete(self._end_tasks())
        with contextlib.suppress(RuntimeError):
            self.loop.close()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_S)
        await self.loop.shutdown_asyncgens()

    def error(self) -> LeveretError:
        """Why the loop does nothing any more."""
        return Disconnected(self.why_not) if self._crashed else Closed(self.why_not)

    @property
    def running(self) -> bool:
        return not self.why_not

    @property
    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def check(self) -> None:
        """Raises Closed or Disconnected where the thread does not run, ClientError on the thread itself."""
        if self.why_not:
            raise self.error()
        if self.is_here:
            raise ClientError(
                "a call that waits was made on the client's own thread, and would wait for itself"
            )

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Call it on the loop, soon; nothing happens when the loop is gone."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def expect(self, waiting: Waiting[Any]) -> None:
        """It will be told if the thread ends. Forget it when it is done."""
        self._waiting.add(waiting)
        if self.why_not:
            waiting.fail(self.error())

    def forget(self, waiting: Waiting[Any]) -> None:
        self._waiting.discard(waiting)

    def wait(self, waiting: Waiting[T], timeout_s: float | None = None) -> T:
        """Wait for what the loop brings. If that is interrupted, `waiting.abandon` is called on the loop."""
        try:
            return waiting.wait(timeout_s)
        except BaseException:
            if not waiting.done:
                self.tell(waiting.given_up)
            raise
        finally:
            self.forget(waiting)

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop, and return or raise what comes of it. Interrupted, it is cancelled."""
        self.check()
        waiting: Waiting[T] = Waiting()
        self.expect(waiting)
        self.tell(self._begin, work, waiting)
        return self.wait(waiting)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], waiting: Waiting[T]) -> None:
        try:
            task = self.loop.create_task(work())
        except Exception as error:
            waiting.fail(error)
            return
        waiting.abandon = task.cancel
        task.add_done_callback(lambda done: self._ended(done, waiting))

    def _ended(self, task: asyncio.Task[T], waiting: Waiting[T]) -> None:
        if task.cancelled():
            waiting.fail(Closed("the client was closed while something waited for it"))
        elif (error := task.exception()) is not None:
            waiting.fail(error)
        else:
            waiting.set(task.result())

    def stop(self) -> None:
        """End the loop, and wait for its thread. Repeated calls do nothing."""
        thread = self._thread
        if thread is None:
            self.why_not = self.why_not or "the client was closed"
        elif thread.is_alive() and not self.is_here and self._pid == os.getpid():
            if self.running:  # else it is ending already, and must not be stopped in that
                self.tell(self.loop.stop)
            thread.join(3 * END_S)

    def _forked(self) -> None:
        """In a forked child there is no such thread."""
        if not self.why_not:
            self.why_not = (
                f"this client belongs to the process {self._pid}, which forked this one: make another here"
            )


class Box(Generic[T]):
    """Things that any thread puts in and the loop takes out, all at once. `take` returns how many bytes it has taken.

    Without a lock: who puts something in looks at `_asked` after that, and the loop takes `_asked` back before it looks
    how much there is. So whatever is put in without asking is seen.
    """

    __slots__ = ("_asked", "_lock", "_take", "_thread", "items", "size_bytes")

    def __init__(self, thread: LoopThread, take: Callable[[list[T]], int]) -> None:
        self.items: deque[T] = deque()
        self.size_bytes = 0
        self._asked = False
        self._lock = threading.Lock()  # for the sum alone
        self._thread = thread
        self._take = take

    def put(self, item: T, size_bytes: int = 0) -> None:
        """Raises Closed, Disconnected where the thread does not run."""
        thread = self._thread
        if thread.why_not:
            raise thread.error()
        if size_bytes:
            with self._lock:
                self.size_bytes += size_bytes
        self.items.append(item)
        if not self._asked:
            self._asked = True
            thread.tell(self.empty)

    def empty(self) -> None:
        """On the loop: take what is there."""
        self._asked = False
        take = self.items.popleft
        items = [take() for _ in range(len(self.items))]
        if items:
            taken_bytes = self._take(items)
            if taken_bytes:
                with self._lock:
                    self.size_bytes -= taken_bytes


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_THREADS: Final[weakref.WeakSet[LoopThread]] = weakref.WeakSet()


def _after_fork() -> None:
    for thread in list(_THREADS):
        thread._forked()


os.register_at_fork(after_in_child=_after_fork)
