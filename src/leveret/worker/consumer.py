"""One queue being worked on: takes messages, runs their handlers, and settles each by how that ended.

    taken -> handler -> done: acked | failed: retried by the broker, or dead | given up: released

Nothing here waits for one message: a handler that waits goes on beside the others, up to the queue's concurrency. Knows
the client's consumers and messages, and handlers as `Work`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from leveret.client.targets import Target
from leveret.errors import AlreadySettled, LeveretError, Stale
from leveret.worker import failures
from leveret.worker.failures import Brake, FailureLog, HandlerTimeout, Lost, UnknownTask
from leveret.worker.interfaces import Job
from leveret.worker.lanes import Lanes
from leveret.worker.stepping import Exited, Stepper
from leveret.worker.work import Work

logger = logging.getLogger("leveret.worker")

ABANDON_S: Final = 5.0  # for a handler to end that was cancelled
BLOCKED_S: Final = 1.0
CANCEL_S: Final = 1.0  # the same, when the worker leaves

OnError = Callable[[BaseException, Any], None]


@dataclass
class Counts:
    """What became of messages. `stale`: their connection was gone when they were done, and they come again."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    rejected: int = 0
    released: int = 0
    abandoned: int = 0
    stale: int = 0

    @property
    def failed(self) -> int:
        return self.retried + self.dead + self.rejected

    def plus(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})


class Entry:
    """A message in work, where more has to be known of it than is in a call's arguments."""

    __slots__ = (
        "began_in_round", "began_s", "job", "message", "over", "queue", "task", "timed_out", "timer", "work",
    )  # fmt: skip

    def __init__(self, queue: QueueRunner, work: Work, message: Any) -> None:
        self.queue = queue
        self.work = work
        self.message = message
        self.job: Job | None = None
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.began_s = 0.0
        self.began_in_round = queue.brake.round
        self.timed_out = False
        self.over = False

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.queue.task_ended(self, task)

    def pool_ended(self, result: Any, error: BaseException | None) -> None:
        self.queue.pool_ended(self, result, error)


class QueueRunner:
    """`works` are handlers by the name of their task; by None the one handler of a queue without tasks."""

    def __init__(
        self,
        queue: str,
        works: dict[str | None, Work],
        dead_letter: str | None,
        *,
        log: FailureLog | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self.queue = queue
        self.concurrency = max(work.in_hand for work in works.values())
        self.counts = Counts()
        self.busy = 0
        self._works = works
        self._only = works.get(None)
        self._adapts = any(work.declared.pool != "async" for work in works.values())
        self._dead_letter = dead_letter
        self._log = log if log is not None else FailureLog()
        self._on_error = on_error
        self.brake = Brake()
        self._entries: set[Entry] = set()
        groups = next(iter(works.values())).declared.queue.groups
        self._lanes = Lanes(groups) if groups else None
        self._fed = False
        self._told_blocked = False
        self._stopping = False
        self._waiters: list[asyncio.Future[None]] = []  # for room, or for the end
        self._stepper: Stepper | None = None
        self._loop = asyncio.get_running_loop()

    # ---- taking

    async def consume(self, deliveries: Any) -> None:
        """Work on what a client's consumer gets, until `stop_taking` or the consumer's end."""
        await self._begin()
        try:
            while not self._stopping:
                if self._adapts:
                    self._adapt()
                await self._room()
                try:
                    batch = await some(deliveries, max(1, self.concurrency - self.busy))
                except StopAsyncIteration:
                    return
                await self._take(batch)
        finally:
            self._end()

    async def feed(self, messages: AsyncIterator[Any]) -> None:
        """Work on these messages, and return when all are settled."""
        await self._begin()
        try:
            async for message in messages:
                if self._adapts:
                    self._adapt()
                await self._take([message])
                if self._stopping:
                    break
                await self._room()
        finally:
            self._end()
            self._fed = True
        await self.settled()

    @property
    def over(self) -> bool:
        """It was given all its messages, and all are settled."""
        return self._fed and not self.busy

    def _adapt(self) -> None:
        self.concurrency = max(work.in_hand for work in self._works.values())

    async def _begin(self) -> None:
        self._stepper = Stepper()
        await asyncio.sleep(0)  # its spare task begins

    def _end(self) -> None:
        assert self._stepper is not None
        self._stepper.close()

    async def _take(self, batch: list[Any]) -> None:
        at = 0
        stepper = self._stepper
        assert stepper is not None
        try:
            while at < len(batch):
                await self._room()
                while (pause_s := self.brake.left_s) > 0 and not self._stopping:
                    await self._wait(pause_s)
                if self._stopping:
                    return
                stepper.enter()
                began_s = time.monotonic()
                try:
                    while True:
                        message = batch[at]
                        at += 1
                        if self._lanes is None:
                            self._start(message)
                        elif self._lanes.holds(message):
                            self._settle(message, message.release)
                        elif self._lanes.enter(message):
                            self._start_lane(message)
                        if at == len(batch) or self.busy >= self.concurrency or self.brake.left_s:
                            break
                finally:
                    stepper.leave()
                    if time.monotonic() - began_s > BLOCKED_S and not self._told_blocked:
                        self._tell_blocked(time.monotonic() - began_s)
        finally:
            for message in batch[at:]:
                self._settle(message, message.release)

    def _tell_blocked(self, took_s: float) -> None:
        """Once: the most common mistake with a loop, and what it leads to (a lost connection) does not point to it."""
        self._told_blocked = True
        names = ", ".join(work.name for work in self._works.values())
        logger.warning(
            "%s kept the event loop for %.1f s without waiting: meanwhile nothing else runs and no heartbeat is sent."
            " Make it a plain `def`, which runs in a thread, or use pool='process'", names, took_s,
        )  # fmt: skip

    async def _room(self) -> None:
        while self.busy >= self.concurrency and not self._stopping:
            await self._wait(None)

    async def _wait(self, timeout_s: float | None) -> None:
        """Until something ended, or it is time to stop; at most so long."""
        changed = self._loop.create_future()
        self._waiters.append(changed)
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, _set, changed)
        try:
            await changed
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for changed in waiters:
            _set(changed)

    # ---- running

    def _start(self, message: Any) -> None:
        work = self._only
        if work is None:
            found = self._works.get(message.type)
            if found is None:
                self._unknown(message)
                return
            work = found
        if work.plain is None:
            self._start_entry(work, message)
            return
        stepper = self._stepper
        assert stepper is not None
        try:
            task = stepper.run(work.plain(message))
        except StopIteration as stop:
            stepper.tidy()
            self._done(work, message, stop.value, None)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            stepper.tidy()
            self._failed(work, message, error, None)
        except KeyboardInterrupt:
            self._settle(message, message.release)
            raise
        else:
            entry = Entry(self, work, message)
            self._goes_on(entry, task)

    def _start_lane(self, message: Any) -> None:
        """It, and after it, if it ends at once, those of its group that wait for it."""
        assert self._lanes is not None
        while message is not None:
            if message.stale:  # the broker has it again, in its place
                message = self._lanes.leave(message)
                continue
            self._start(message)
            if any(entry.message is message for entry in self._entries):
                return
            message = self._lanes.leave(message)

    def _start_entry(self, work: Work, message: Any) -> None:
        """The ways that are not the shortest: pools, middleware, resources of a job."""
        entry = Entry(self, work, message)
        entry.began_s = time.monotonic()
        if work.whole is None:
            self._in_work(entry)
            try:
                work.submit(message, entry.pool_ended)
            except Exception as error:
                self._finish(entry, None, error)
            return
        entry.job = job = Job(work.info, message)
        for hook in work.received:
            try:
                hook(job)
            except Exception:
                logger.exception("%s: a middleware's `received` failed", work.name)
        stepper = self._stepper
        assert stepper is not None
        try:
            task = stepper.run(work.whole(job))
        except StopIteration as stop:
            stepper.tidy()
            self._done(work, message, stop.value, entry)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            stepper.tidy()
            self._failed(work, message, error, entry)
        except KeyboardInterrupt:
            self._failed(work, message, Lost("interrupted"), entry)
            raise
        else:
            self._goes_on(entry, task)

    def _in_work(self, entry: Entry) -> None:
        self.busy += 1
        self._entries.add(entry)

    def _goes_on(self, entry: Entry, task: asyncio.Task[Any]) -> None:
        self._in_work(entry)
        entry.task = task
        if entry.work.timeout_s is not None:
            entry.timer = self._loop.call_later(entry.work.timeout_s, self._time_is_over, entry)
        task.add_done_callback(entry.ended)

    def _time_is_over(self, entry: Entry) -> None:
        assert entry.task is not None
        entry.timed_out = True
        entry.task.cancel()
        entry.timer = self._loop.call_later(ABANDON_S, self._abandon, entry)

    def _abandon(self, entry: Entry) -> None:
        """It does not end. The message goes to others, the handler's slot to the next message."""
        self.counts.abandoned += 1
        logger.error(
            "%s does not end %.0f s after it was cancelled, and is left to itself", entry.work.name, ABANDON_S
        )
        self._finish(entry, None, HandlerTimeout(f"no end within {entry.work.timeout_s:g} s, nor after"))

    def task_ended(self, entry: Entry, task: asyncio.Task[Any]) -> None:
        error: BaseException | None
        result: Any = None
        if task.cancelled():
            if entry.timed_out:
                error = HandlerTimeout(f"no end within {entry.work.timeout_s:g} s")
            elif self._stopping:
                error = Lost("the worker stopped")
            else:
                error = asyncio.CancelledError("the handler was cancelled, by itself or what it called")
        else:
            error = task.exception()
            if isinstance(error, KeyboardInterrupt):  # it ends the program, not the message
                error = Lost("interrupted")
            elif error is None:
                result = task.result()
                if type(result) is Exited:
                    error = result.error
        self._finish(entry, result, error)

    def pool_ended(self, entry: Entry, result: Any, error: BaseException | None) -> None:
        if error is None:
            result, error = entry.work.read_result(result)
        else:
            error = entry.work.read_error(error, self._stopping)
        self._finish(entry, result, error)

    def _finish(self, entry: Entry, result: Any, error: BaseException | None) -> None:
        if entry.over:
            return
        entry.over = True
        if entry.timer is not None:
            entry.timer.cancel()
        try:
            if error is None:
                self._done(entry.work, entry.message, result, entry)
            else:
                self._failed(entry.work, entry.message, error, entry)
        finally:
            self._entries.discard(entry)
            self.busy -= 1
            if self._lanes is not None:
                following = self._lanes.leave(entry.message)
                if following is not None:
                    self._start_lane(following)
            if self._waiters:
                self._wake()

    # ---- settling

    def _done(self, work: Work, message: Any, result: Any, entry: Entry | None) -> None:
        try:
            if not message.settled:
                if message.reply_to is not None:
                    body, options = work.reply(result)
                    message.reply(body, **options)
                message.ack()
        except (Stale, AlreadySettled):
            self.counts.stale += 1
        except LeveretError as error:  # the result cannot be sent
            self._failed(work, message, error, entry)
            return
        self.counts.done += 1
        if self.brake.in_a_row:
            self.brake.succeeded()
        if entry is not None and entry.job is not None:
            self._tell(entry, "done", None)

    def _failed(self, work: Work, message: Any, error: BaseException, entry: Entry | None) -> None:
        headers = message.headers
        attempts = failures.attempts_of(headers)
        most = failures.most_attempts(work.retry, headers)
        verdict = failures.verdict_on(error, attempts, most, work.retry)
        if verdict != failures.RELEASED:
            if not failures.is_meant(error):
                self.brake.failed(self.brake.round if entry is None else entry.began_in_round)
            name = work.name if not isinstance(error, UnknownTask) else f"queue {self.queue}"
            self._log.add(name, error, self._wording(verdict), attempts, message.message_id)
            if self._on_error is not None:
                self._on_error(error, message)
        count = getattr(self.counts, verdict)
        setattr(self.counts, verdict, count + 1)
        if entry is not None and entry.job is not None:
            self._tell(entry, verdict, error)
        if message.settled:
            return
        if verdict == failures.RELEASED:
            if self._settle(message, message.release):
                self._hold_group(message)
        elif verdict == failures.RETRY:
            delay_s = failures.delay_of(error)
            # With a delay of its own it is published again, behind the others: its place is given up.
            if self._settle(message, lambda: message.retry(delay_s)) and delay_s is None:
                self._hold_group(message)
        else:
            self._settle(message, lambda: self._bury(message, error, attempts))

    def _wording(self, verdict: str) -> str:
        if verdict == failures.RETRY:
            return verdict
        return (
            f"{verdict}, in {self._dead_letter}" if self._dead_letter is not None else f"{verdict}, dropped"
        )

    def _bury(self, message: Any, error: BaseException, attempts: int) -> None:
        """To the dead letters, with what happened. Acked when the broker has it there; until then the message is ours."""
        if message.reply_to is not None:
            said = {"x-error": failures.text_of(error), "x-error-type": failures.kind_of(error)}
            message.reply(b"", headers=said)
        if self._dead_letter is None:
            message.ack()
            return
        headers = failures.dead_letter_headers(error, attempts, self.queue)
        moved = message.move(Target("", self._dead_letter), headers)
        self.busy += 1
        moved.add_done_callback(self._buried)

    def _buried(self, moved: asyncio.Future[None]) -> None:
        self.busy -= 1
        self._wake()
        if not moved.cancelled():
            moved.exception()  # the client has logged it, and the message is back in its queue

    def _unknown(self, message: Any) -> None:
        known = ", ".join(str(name) for name in self._works)
        error = UnknownTask(
            f"no task {message.type!r} is known here for queue {self.queue!r}; there are {known}"
        )
        work = next(iter(self._works.values()))
        self._failed(work, message, error, None)

    def _hold_group(self, message: Any) -> None:
        """It keeps its place in its queue: what waits here behind it goes back, too, to come again after it."""
        for waiting in self._lanes.hold(message) if self._lanes is not None else ():
            self._settle(waiting, waiting.release)

    def _settle(self, message: Any, how: Callable[[], Any]) -> bool:
        """Whether it was done: it was not settled, and its connection is there."""
        if message.settled:
            return False
        try:
            how()
        except (Stale, AlreadySettled):
            self.counts.stale += 1
            return False
        return True

    def _tell(self, entry: Entry, outcome: str, error: BaseException | None) -> None:
        assert entry.job is not None
        took_s = time.monotonic() - entry.began_s
        for hook in entry.work.finished:
            try:
                hook(entry.job, outcome, error, took_s)
            except Exception:
                logger.exception("%s: a middleware's `finished` failed", entry.work.name)

    # ---- ending

    def stop_taking(self) -> None:
        """Start nothing more; what was taken and not begun is released."""
        self._stopping = True
        for message in self._lanes.clear() if self._lanes is not None else ():
            self._settle(message, message.release)
        for work in self._works.values():
            work.recall()
        self._wake()

    async def settled(self) -> None:
        """Until nothing is in work."""
        while self.busy:
            await self._wait(None)

    async def give_up(self) -> None:
        """Cancel what is in work; what does not end is released all the same."""
        self._stopping = True
        for entry in list(self._entries):
            if entry.task is not None:
                entry.task.cancel()
        try:
            async with asyncio.timeout(CANCEL_S):
                await self.settled()
        except TimeoutError:
            for entry in list(self._entries):
                self._finish(entry, None, Lost("the worker left"))


async def some(deliveries: Any, limit: int) -> list[Any]:
    """What has come, at least one message and at most `limit`. Raises StopAsyncIteration at the end.

    The rest stays with the client's consumer, whose prefetch follows how much of it is taken.
    """
    messages = [await deliveries.take()]
    while len(messages) < limit:
        step = deliveries.take()
        try:
            step.send(None)
        except StopIteration as stop:
            messages.append(stop.value)
        except StopAsyncIteration:
            break
        else:
            step.close()  # it would wait
            break
    return messages


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
