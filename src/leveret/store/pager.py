"""Pages on their way to and from disk, in a thread of their own, off the loop.

The loop hands tasks over and is called back with what became of them; a page is deleted only when the log that says
its messages are settled is on disk. It knows tasks and page files, not what is in them.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from leveret.errors import StoreError
from leveret.journal import Journal, Pager, PageTask
from leveret.native import i64

if TYPE_CHECKING:
    from collections.abc import Callable

    from leveret.seams import Pages

PUT: Final = 1
GET: Final = 2
DELETE: Final = 3
DELETE_LANE: Final = 4
STOP: Final = 5
PREPARE: Final = 6
TOGETHER: Final = 16  # pages whose names are synced at once
PAUSE_S: Final = 0.03  # between steps of preparing, or
HURRY_S: Final = 0.0005


class Deletion:
    def __init__(self, position: i64, kind: int, lane: i64, base: i64) -> None:
        self.position: i64 = position
        self.kind = kind
        self.lane: i64 = lane
        self.base: i64 = base


class Job:
    def __init__(self, kind: int, lane: i64, base: i64, task: PageTask | None) -> None:
        self.kind = kind
        self.lane: i64 = lane
        self.base: i64 = base
        self.task = task
        self.error = ""
        self.full = False  # the error is that there is no room


class FilePager(Pager):
    """Runs inline until `start`, for recovery; then `work` is the body of a thread and `wake` tells the loop."""

    def __init__(self, pages: Pages, limit_bytes: i64) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes
        self.pages = pages
        self.journal: Journal | None = None
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.performed: list[Job] = []
        self.done: deque[Job] = deque()
        self.deletions: deque[Deletion] = deque()
        self.wake: Callable[[], None] | None = None
        self.background: Callable[[], bool] | None = None
        self.hurry: Callable[[], bool] | None = None
        self.pending_bytes: i64 = 0  # handed to the thread and not written yet
        self.reading = 0
        self.held = False  # deletions wait
        self.failure = ""  # what ends the broker
        self.full = False  # the last page that was to be written found no room: it stays in memory
        self.put_bytes: i64 = 0

    # ---- on the loop

    def put(self, task: PageTask) -> bool:
        job = Job(PUT, task.lane, task.base, task)
        for part in task.parts:
            self.pending_bytes += i64(len(part))
        self._submit(job)
        return True

    def get(self, task: PageTask) -> None:
        self.reading += 1
        self._submit(Job(GET, task.lane, task.base, task))

    def delete(self, lane: i64, base: i64) -> None:
        self._delete(DELETE, lane, base)

    def delete_lane(self, lane: i64) -> None:
        self._delete(DELETE_LANE, lane, 0)

    def _delete(self, kind: int, lane: i64, base: i64) -> None:
        journal = self.journal
        position: i64 = 0 if journal is None else journal.all_said()
        self.deletions.append(Deletion(position, kind, lane, base))

    def settle_deletions(self, durable: i64) -> None:
        """Delete what the log has settled, as far as it is on disk; nothing while a backup is made."""
        if self.held:
            return
        deletions = self.deletions
        journal = self.journal
        while deletions:
            d = deletions[0]
            if d.position < 0 and journal is not None:  # came with a transaction, which is over
                d.position = journal.all_said()
            if d.position > durable:
                return
            deletions.popleft()
            self._submit(Job(d.kind, d.lane, d.base, None))

    def _submit(self, job: Job) -> None:
        if self.wake is None:
            self.perform(job)
            self._names()
            self.finish()
        else:
            self.jobs.put(job)

    def finish(self) -> None:
        """Tell the tasks that are done. Called on the loop after `wake`."""
        done = self.done
        while done:
            job = done.popleft()
            task = job.task
            if job.error and job.kind != GET and not job.full:
                self.failure = job.error
            if task is None:
                continue
            if job.kind == PUT:
                self.full = job.full
                for part in task.parts:
                    self.pending_bytes -= i64(len(part))
                    self.put_bytes += i64(len(part))
            else:
                self.reading -= 1
            task.finished(job.error)
            task.parts = []
            task.data = b""

    # ---- in the thread

    def work(self) -> None:
        """Do jobs until told to stop; between them, a little at a time, keep the log's next segment ready."""
        preparing = False
        while True:
            try:
                job = self.jobs.get(True, self._patience() if preparing else None)
            except Empty:
                preparing = self._prepare()
                continue
            if job.kind == STOP:
                return
            if job.kind == PREPARE:
                preparing = True
                continue
            self.perform(job)
            written = 0
            while job.kind == PUT and written < TOGETHER and not self.jobs.empty():
                job = self.jobs.get()  # whatever it is, the pages before it get their names in one go
                if job.kind in (STOP, PREPARE):
                    break
                self.perform(job)
                written += 1
            self._names()
            if self.wake is not None:
                self.wake()
            if job.kind == STOP:
                return
            preparing = preparing or job.kind == PREPARE

    def _names(self) -> None:
        """Bring the names of pages just written to disk; only then are they reported."""
        performed = self.performed
        if not performed:
            return
        self.performed = []
        try:
            self.pages.sync_directories()
        except StoreError as error:
            for job in performed:
                if job.kind == PUT and not job.error:
                    job.error = error.text
                    job.full = error.full
        self.done.extend(performed)

    def perform(self, job: Job) -> None:
        try:
            if job.kind == PUT:
                task = job.task
                assert task is not None
                self.pages.put(int(job.lane), int(job.base), task.parts, False)
            elif job.kind == GET:
                task = job.task
                assert task is not None
                task.data = self.pages.get(int(job.lane), int(job.base))
            elif job.kind == DELETE:
                self.pages.delete(int(job.lane), int(job.base))
            elif job.kind == DELETE_LANE:
                self.pages.delete_queue(int(job.lane))
        except StoreError as error:
            job.error = error.text
            job.full = error.full
        self.performed.append(job)

    def _patience(self) -> float:
        hurry = self.hurry
        return HURRY_S if hurry is not None and hurry() else PAUSE_S

    def _prepare(self) -> bool:
        """One step of it. True if there is more to do."""
        background = self.background
        if background is None:
            return False
        try:
            return background()
        except StoreError as error:
            job = Job(PREPARE, 0, 0, None)
            job.error = error.text
            self.done.append(job)
            if self.wake is not None:
                self.wake()
            return False

    def prepare(self) -> None:
        """Let the thread ready the log's next segment when it has nothing else to do."""
        self.jobs.put(Job(PREPARE, 0, 0, None))

    def stop(self) -> None:
        self.jobs.put(Job(STOP, 0, 0, None))
