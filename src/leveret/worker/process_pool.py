"""Processes for handlers that keep a core busy: which process gets which job, and what becomes of it.

Each job is handed to the process with the least to do, a batch at a time while jobs are short and one by one when they
are long; what waits behind a long one is taken back for a process that has nothing to do. A process that dies takes one
job with it, the one that it was doing. Knows nothing of messages: jobs and results are whatever msgpack can carry.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from leveret.errors import Closed, ConfigError
from leveret.worker import child
from leveret.worker.interfaces import Done, JobTimeout, LostJob, Target
from leveret.worker.pools import tell
from leveret.worker.process_link import ProcessLink

BATCH_NS: Final = 5_000_000  # as much work as a process may have in hand
LONG_JOB_NS: Final = 20_000_000  # jobs of this length are handed over one by one
MOST_JOBS: Final = 512
FEW_JOBS: Final = 4  # as long as it is not known how long they take
LOOK_S: Final = 0.02
LONGEST_LOOK_S: Final = 0.25
LOOKS_PER_LIMIT: Final = 10  # a job may run over its limit by a tenth of it
LONGEST_BACKOFF_S: Final = 10.0
CLOSE_S: Final = 10.0  # for a process to end that has nothing more to do
MIB: Final = 1 << 20

log = logging.getLogger("leveret.worker")


class _Worker:
    """A process, and the jobs that it has in hand: by number, in the order in which it does them."""

    __slots__ = ("dropping", "given", "jobs", "link", "ready", "reason", "retiring", "stuck")

    def __init__(self, link: ProcessLink) -> None:
        self.link = link
        self.jobs: dict[int, tuple[Any, Done]] = {}
        self.given = 0
        self.ready = False
        self.retiring = False
        self.stuck = False  # in a long job: nothing is put behind it
        self.dropping = False  # what it gives back is not handed out again
        self.reason: Exception | None = None  # why we killed it


class ProcessPool:
    """`workers` processes that do `target.load()(job)`; methods are called on the loop. See `interfaces.Pool`.

    `timeout_s` ends the process of a job that runs for longer. A process is replaced after `recycle_after` jobs, and when
    it has more than `memory_limit_bytes` (it is killed within a job at twice as much).
    """

    def __init__(
        self,
        target: Target,
        workers: int,
        *,
        timeout_s: float | None = None,
        recycle_after: int | None = None,
        memory_limit_bytes: int | None = None,
        name: str = "leveret",
        start_timeout_s: float = 60.0,
    ) -> None:
        for what, value in (
            ("workers", workers),
            ("timeout_s", timeout_s),
            ("recycle_after", recycle_after),
            ("memory_limit_bytes", memory_limit_bytes),
        ):
            if value is not None and value <= 0:
                raise ConfigError(f"{name}: {what}={value}; it must be more than 0")
        if memory_limit_bytes is not None and not os.path.exists("/proc/self/statm"):
            raise ConfigError(f"{name}: memory_limit_bytes needs /proc, as Linux has it; leave it out here")
        self.target = target
        self.workers = workers
        self.timeout_s = timeout_s
        self.recycle_after = recycle_after
        self.memory_limit_bytes = memory_limit_bytes
        self.name = name
        self.start_timeout_s = start_timeout_s
        self.outstanding = 0
        self.recycled = 0
        self.died = 0
        self._pending: deque[tuple[Any, Done]] = deque()
        self._processes: dict[ProcessLink, _Worker] = {}
        self._number = 0
        self._job_ns = 0.0  # how long a job takes, the last ones counting most
        self._deaths_in_a_row = 0
        self._open = False
        self._closing = False
        self._dispatching = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed: asyncio.Event | None = None
        self._start_error: ConfigError | None = None

    # ---- opening and closing

    async def open(self) -> None:
        """Start the processes, and wait until all have imported the handler. Raises ConfigError with what they say."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        for _ in range(self.workers):
            self._start_process()
        try:
            async with asyncio.timeout(self.start_timeout_s):
                await self._until(lambda: self._start_error is not None or self._all_ready())
        except TimeoutError:
            self._start_error = ConfigError(
                f"{self.name}: the processes were not ready after {self.start_timeout_s:g} s:"
                f" importing {self.target.module} takes too long"
            )
        except BaseException:
            await self._end_all()
            raise
        if self._start_error is not None:
            await self._end_all()
            raise self._start_error
        self._open = True

    async def close(self, grace_s: float) -> None:
        """Take no more; what did not begin is LostJob, and so is what does not end within `grace_s` and is killed.

        A process without a job has time to close what its handler has open, whatever the grace.
        """
        if self._loop is None or self._closing:
            return
        self._open = False
        self._closing = True
        self.drop_waiting()
        for worker in self._processes.values():
            if not worker.ready:
                worker.link.kill()
            worker.link.send([child.STOP])
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._until(lambda: not self.outstanding)
        for worker in self._processes.values():
            if worker.jobs:
                self._kill(worker, LostJob(f"{self.name}: the job did not end within {grace_s:g} s of grace"))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._until(lambda: not self._processes)
        await self._end_all()
        if self._timer is not None:
            self._timer.cancel()

    async def _end_all(self) -> None:
        self._closing = True
        for worker in self._processes.values():
            worker.link.kill()
        await self._until(lambda: not self._processes)

    async def _until(self, condition: Callable[[], bool]) -> None:
        assert self._changed is not None
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _all_ready(self) -> bool:
        return len(self._processes) == self.workers and all(w.ready for w in self._processes.values())

    def drop_waiting(self) -> None:
        """What did not begin is LostJob: at once what waits here, and when its process has told what that had in hand."""
        waiting = list(self._pending)
        self._pending.clear()
        self._drop(waiting)
        for worker in self._processes.values():
            if worker.jobs:
                worker.dropping = True
                worker.link.send([child.RECALL])

    def _drop(self, entries: list[tuple[Any, Done]]) -> None:
        for _, on_done in entries:
            text = f"{self.name}: told to stop before the job began"
            self._report(on_done, None, LostJob(text, started=False))

    # ---- jobs

    @property
    def wanted(self) -> int:
        """How many jobs are worth having here: with fewer, processes wait; more could be done by others meanwhile."""
        return self.workers * (self._most_in_hand() if self._job_ns < LONG_JOB_NS else 2)

    def submit(self, job: Any, on_done: Done) -> None:
        """Have a process do `job`; `on_done(result, error)` is called on the loop. Never waits. Raises Closed."""
        if not self._open:
            raise Closed(f"{self.name}: the pool of processes is not open, and takes no job")
        self.outstanding += 1
        self._pending.append((job, on_done))
        if not self._dispatching:
            self._dispatching = True
            assert self._loop is not None
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Hand out what waits, so that all processes have as much in hand as the others."""
        self._dispatching = False
        pending = self._pending
        free = [w for w in self._processes.values() if w.ready and not w.retiring and not w.stuck]
        if not pending or not free:
            return
        in_hand = sum([len(worker.jobs) for worker in free])
        share = min(-(-(len(pending) + in_hand) // len(free)), self._most_in_hand())
        for worker in free:
            room = share - len(worker.jobs)
            if self.recycle_after is not None:
                room = min(room, self.recycle_after - worker.given)
            room = min(room, len(pending))
            if room > 0:
                self._hand_over(worker, [pending.popleft() for _ in range(room)])
        if self._timer is None:
            self._look_later()

    def _most_in_hand(self) -> int:
        if self._job_ns == 0:
            return FEW_JOBS
        if self._job_ns >= LONG_JOB_NS:
            return 1
        return min(MOST_JOBS, 2 + int(BATCH_NS / self._job_ns))

    def _hand_over(self, worker: _Worker, entries: list[tuple[Any, Done]]) -> None:
        number = self._number
        batch: list[tuple[int, Any]] = []
        for entry in entries:
            number += 1
            worker.jobs[number] = entry
            batch.append((number, entry[0]))
        self._number = number
        worker.dropping = False
        worker.given += len(batch)
        try:
            worker.link.send([child.JOBS, batch])
        except Exception:
            self._hand_over_sendable(worker, batch)
        if self.recycle_after is not None and worker.given >= self.recycle_after:
            self._retire(worker)

    def _hand_over_sendable(self, worker: _Worker, batch: list[tuple[int, Any]]) -> None:
        sendable: list[tuple[int, Any]] = []
        for number, job in batch:
            why_not = worker.link.encodable(job)
            if why_not:
                _, on_done = worker.jobs.pop(number)
                text = f"{self.name}: the job cannot be sent to a process: {why_not}"
                self._report(on_done, None, TypeError(text))
            else:
                sendable.append((number, job))
        worker.link.send([child.JOBS, sendable])

    def _report(self, on_done: Done, result: Any, error: BaseException | None) -> None:
        self.outstanding -= 1
        assert self._loop is not None
        tell(self._loop, self.name, on_done, result, error)

    # ---- processes

    def _start_process(self) -> None:
        link = ProcessLink(self.target, self._on_frame, self._on_exit)
        self._processes[link] = _Worker(link)

    def _retire(self, worker: _Worker) -> None:
        """Let a process end after what it has in hand; another is started at once."""
        worker.retiring = True
        self.recycled += 1
        worker.link.send([child.STOP])
        self._start_process()

    def _on_frame(self, link: ProcessLink, message: list[Any]) -> None:
        worker = self._processes[link]
        kind = message[0]
        if kind == child.RESULTS:
            self._on_results(worker, message[1], message[2])
        elif kind == child.RETURNED:
            unbegun = [worker.jobs.pop(number) for number in reversed(message[1]) if number in worker.jobs]
            worker.given -= len(message[1])
            self._put_back(worker, unbegun)
        elif kind == child.READY:
            worker.ready = True
            self._start_error = None
        else:
            log.error("%s: a process could not be started: %s\n%s", self.name, message[1], message[2])
            self._start_error = ConfigError(
                f"{self.name}: a process could not load {self.target.module}.{self.target.qualname}: {message[1]}"
            )
        self._go_on()

    def _go_on(self) -> None:
        assert self._changed is not None
        self._changed.set()
        if self._pending and not self._dispatching:
            self._dispatch()

    def _on_results(self, worker: _Worker, results: list[Any], busy_ns: int) -> None:
        worker.stuck = False
        self._deaths_in_a_row = 0
        took_ns = max(1.0, busy_ns / len(results))
        self._job_ns = took_ns if self._job_ns == 0 else self._job_ns + (took_ns - self._job_ns) / 8
        jobs = worker.jobs
        for ended in results:
            if type(ended) is int:
                _, on_done = jobs.pop(ended)
                self._report(on_done, None, None)
            elif len(ended) == 2:
                _, on_done = jobs.pop(ended[0])
                self._report(on_done, ended[1], None)
            else:
                _, on_done = jobs.pop(ended[0])
                self._report(on_done, None, LostJob(f"{self.name}: {ended[2]}"))
        if worker.retiring and not jobs:
            assert self._loop is not None
            self._loop.call_later(CLOSE_S, worker.link.kill)

    def _put_back(self, worker: _Worker, entries: list[tuple[Any, Done]]) -> None:
        """Jobs that never began, oldest first: to be the next ones, unless there are to be no more."""
        if self._closing or worker.dropping:
            self._drop(entries)
        else:
            self._pending.extendleft(reversed(entries))

    def _on_exit(self, link: ProcessLink, how: str) -> None:
        worker = self._processes.pop(link)
        started, _, finished = link.progress()
        unbegun: list[tuple[Any, Done]] = []
        for number, entry in worker.jobs.items():
            if number > started:
                unbegun.append(entry)
            elif number == started and started != finished:
                text = f"{self.name}: {how} while it did this job"
                self._report(entry[1], None, worker.reason or LostJob(text))
            elif link.told_all(number):
                self._report(entry[1], None, None)
            else:  # not its fault, whatever came of it
                text = f"{self.name}: {how} after this job, before it could tell what came of it"
                self._report(entry[1], None, LostJob(text, started=False))
        self._put_back(worker, unbegun)
        if not self._open and not self._closing:
            self._start_error = self._start_error or ConfigError(f"{self.name}: {how} while it was starting")
        elif not worker.retiring and not self._closing:
            self._replace(how, worker)
        self._go_on()

    def _replace(self, how: str, worker: _Worker) -> None:
        """At once after the first death; later and later while none of them gets anything done."""
        self.died += 1
        log.warning("%s: %s; another takes its place", self.name, worker.reason or how)
        if self._deaths_in_a_row == 0 and worker.ready:
            self._deaths_in_a_row = 1
            self._start_process()
        else:
            self._deaths_in_a_row += 1
            wait_s = min(0.05 * 2**self._deaths_in_a_row, LONGEST_BACKOFF_S)
            assert self._loop is not None
            self._loop.call_later(wait_s, self._restart)

    def _restart(self) -> None:
        if not self._closing:
            self._start_process()

    # ---- looking after them

    def _look_later(self) -> None:
        assert self._loop is not None
        wait_s = LONGEST_LOOK_S
        if self.timeout_s is not None:
            wait_s = min(wait_s, self.timeout_s / LOOKS_PER_LIMIT)
        if any(len(worker.jobs) > 1 for worker in self._processes.values()):
            wait_s = min(wait_s, LOOK_S)
        self._timer = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        """End what takes too long or too much, and take back what waits behind it."""
        self._timer = None
        now_ns = time.monotonic_ns()
        idle = any(w.ready and not w.retiring and not w.jobs for w in self._processes.values())
        for worker in list(self._processes.values()):
            if self.memory_limit_bytes is not None and worker.ready:
                self._look_at_memory(worker, self.memory_limit_bytes)
            started, began_ns, finished = worker.link.progress()
            running_ns = now_ns - began_ns if started != finished and started in worker.jobs else 0
            if self.timeout_s is not None and running_ns > self.timeout_s * 1e9:
                self._kill(worker, JobTimeout(f"{self.name}: the job ran for more than {self.timeout_s:g} s"))
            if running_ns > LONG_JOB_NS and len(worker.jobs) > 1 and idle and not worker.stuck:
                worker.stuck = True
                worker.link.send([child.RECALL])
        if self.outstanding:
            self._look_later()

    def _look_at_memory(self, worker: _Worker, limit_bytes: int) -> None:
        used_bytes = worker.link.memory_bytes()
        if used_bytes > 2 * limit_bytes:
            text = f"{self.name}: the process had {used_bytes // MIB} MiB of memory; its limit is {limit_bytes // MIB}"
            self._kill(worker, LostJob(text))
        elif used_bytes > limit_bytes and not worker.retiring:
            worker.link.send([child.RECALL])
            self._retire(worker)

    def _kill(self, worker: _Worker, reason: Exception) -> None:
        if worker.reason is None:
            worker.reason = reason
            worker.link.kill()
