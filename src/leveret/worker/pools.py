"""Threads for handlers that would block the loop. For processes see `process_pool`.

A pool is given jobs and tells how each ended, on the loop; it knows nothing of messages. Jobs are handed over and
reported in batches: one that does nothing costs some microseconds, and the loop is woken once for many.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Final

from leveret.errors import Closed, ConfigError
from leveret.worker.interfaces import Done, JobTimeout, LostJob

BATCH_S: Final = 0.002  # as much work as is worth having in hand for each thread
LONG_JOB_S: Final = 0.02
MOST_JOBS: Final = 64
LOOKS_PER_LIMIT: Final = 10  # a job may run over its limit by a tenth of it
LONGEST_LOOK_S: Final = 0.5


def tell(
    loop: asyncio.AbstractEventLoop, pool: str, on_done: Done, result: Any, error: BaseException | None
) -> None:
    """A job of `pool` has ended. What is wrong with who is told is the loop's to report."""
    try:
        on_done(result, error)
    except Exception as raised:
        loop.call_exception_handler({"message": f"{pool}: on_done failed", "exception": raised})


class _Slot:
    """A thread and what it does. The token is the job's own: who pops it, the thread or the time limit, reports."""

    __slots__ = ("began_s", "thread_id", "token")

    def __init__(self) -> None:
        self.thread_id = 0
        self.token: list[Done] = []
        self.began_s = 0.0


class ThreadPool:
    """`workers` threads that call `function(job)`; methods are called on the loop.

    A job that runs for longer than `timeout_s` is reported as JobTimeout and its thread abandoned, for another to take
    its place. Python cannot end a thread: JobTimeout is raised in it, which code that waits in C (a socket, a lock) sees
    only when it comes back; what it returns then is dropped.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        workers: int,
        *,
        timeout_s: float | None = None,
        name: str = "leveret",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"{name}: a pool of {workers} threads; it needs at least one")
        if timeout_s is not None and timeout_s <= 0:
            raise ConfigError(f"{name}: a time limit of {timeout_s} s; it must be more than 0")
        self.function = function
        self.workers = workers
        self.timeout_s = timeout_s
        self.name = name
        self.outstanding = 0
        self.abandoned = 0
        self._clock = clock
        self._jobs: SimpleQueue[tuple[Any, Done, Context] | None] = SimpleQueue()
        self._ended: deque[tuple[Done, Any, BaseException | None, float]] = deque()
        self._job_s = 0.0  # how long a job takes, the last ones counting most
        self._slots: set[_Slot] = set()
        self._woken = False
        self._closed = True
        self._threads = 0  # started so far
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Start the threads."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        for _ in range(self.workers):
            self._start_thread()

    @property
    def wanted(self) -> int:
        """How many jobs are worth having here: with fewer, threads wait; more could be done by others meanwhile."""
        if self._job_s == 0 or self._job_s >= LONG_JOB_S:  # not known, or long
            return self.workers
        return self.workers * min(MOST_JOBS, 2 + int(BATCH_S / self._job_s))

    def submit(self, job: Any, on_done: Done) -> None:
        """Have a thread do `job`; `on_done(result, error)` is called on the loop. Never waits. Raises Closed."""
        if self._closed:
            raise Closed(f"{self.name}: the pool of threads is closed, and takes no job")
        self.outstanding += 1
        if self.timeout_s is not None and self._timer is None:
            self._look_later()
        self._jobs.put((job, on_done, copy_context()))

    async def close(self, grace_s: float) -> None:
        """Take no more; report what did not begin, wait `grace_s` for what runs, and leave the rest to itself.

        Both are reported as LostJob, with `started` False or True. Threads do not keep the process alive.
        """
        if self._closed or self._loop is None:
            return
        self._closed = True
        self.drop_waiting()
        if self.outstanding:
            self._idle = self._loop.create_future()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle, grace_s)
        for slot in list(self._slots):
            self._abandon(
                slot, slot.token, LostJob(f"{self.name}: the job did not end within {grace_s:g} s of grace")
            )
        if self._timer is not None:
            self._timer.cancel()
        for _ in self._slots:
            self._jobs.put(None)

    def drop_waiting(self) -> None:
        """What did not begin is reported as LostJob."""
        with suppress(Empty):
            while True:
                entry = self._jobs.get_nowait()
                if entry is not None:
                    self._report(
                        entry[1],
                        None,
                        LostJob(f"{self.name}: told to stop before the job began", started=False),
                    )

    # ---- in the threads

    def _start_thread(self) -> None:
        self._threads += 1
        slot = _Slot()
        self._slots.add(slot)
        threading.Thread(
            target=self._work, args=(slot,), name=f"{self.name}-{self._threads}", daemon=True
        ).start()

    def _work(self, slot: _Slot) -> None:
        slot.thread_id = threading.get_ident()
        # What is raised in an abandoned thread may come only here.
        with suppress(JobTimeout):
            self._do_jobs(slot)

    def _do_jobs(self, slot: _Slot) -> None:
        get, function, clock = self._jobs.get, self.function, self._clock
        while (entry := get()) is not None:
            job, on_done, context = entry
            result: Any = None
            error: BaseException | None = None
            slot.began_s = clock()
            slot.token = token = [on_done]
            try:
                result = context.run(function, job)
            except BaseException as raised:
                error = raised
            try:
                token.pop()
            except IndexError:
                return  # abandoned: it was reported, and another thread is in this one's place
            self._ended.append((on_done, result, error, clock() - slot.began_s))
            if not self._woken:
                self._woken = True
                try:
                    self._wake()
                except RuntimeError:
                    return  # the loop is closed: nobody is there to be told
            del (
                entry,
                job,
                on_done,
                context,
                result,
                error,
                token,
            )  # not kept alive while this waits for the next

    def _wake(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._collect)

    # ---- on the loop

    def _collect(self) -> None:
        self._woken = False
        ended = self._ended
        while ended:
            on_done, result, error, took_s = ended.popleft()
            self._job_s += (took_s - self._job_s) / 8 if self._job_s else took_s
            self._report(on_done, result, error)

    def _report(self, on_done: Done, result: Any, error: BaseException | None) -> None:
        self.outstanding -= 1
        assert self._loop is not None
        tell(self._loop, self.name, on_done, result, error)
        if self.outstanding == 0 and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _look_later(self) -> None:
        assert self._loop is not None and self.timeout_s is not None
        self._timer = self._loop.call_later(min(self.timeout_s / LOOKS_PER_LIMIT, LONGEST_LOOK_S), self.look)

    def look(self) -> None:
        """Abandon what runs for longer than it may; called by a timer while there is anything to do."""
        self._timer = None
        assert self.timeout_s is not None
        begun_before = self._clock() - self.timeout_s
        for slot in list(self._slots):
            token = slot.token
            if token and slot.began_s <= begun_before:
                error = JobTimeout(f"{self.name}: the job ran for more than {self.timeout_s:g} s")
                self._abandon(slot, token, error)
        if self.outstanding:
            self._look_later()

    def _abandon(self, slot: _Slot, token: list[Done], error: BaseException) -> None:
        try:
            on_done = token.pop()
        except IndexError:
            return  # it ended just now
        self._slots.discard(slot)
        self.abandoned += 1
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(slot.thread_id), ctypes.py_object(JobTimeout)
        )
        if not self._closed:
            self._start_thread()
        self._report(on_done, None, error)
