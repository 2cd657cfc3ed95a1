"""A handler that runs by the clock: of all workers of all hosts one at a time, each run once, a missed one made up for.

How: a durable queue `leveret.cron.APP.HANDLER` holds one message, the token, which says when the last run was planned. It
has a single active consumer, so the broker hands the token to one worker, and to another when that one is gone. Who has
it runs when it is due, then puts a new token there, and acks the old one when the broker has the new one. So a worker that
dies in a run leaves the old token behind: whoever gets that finds the run missed, and makes it. A token is renewed every few
minutes, since brokers take back what is held for long; with two tokens (a worker died between the two steps), or none of
value (the connection was lost), the later one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

from leveret.client.topology import Queue
from leveret.errors import AlreadySettled, Disconnected, LeveretError, Stale
from leveret.worker.consumer import QueueRunner
from leveret.worker.declared import Declared, Timing
from leveret.worker.interfaces import Clock
from leveret.worker.schedule import Run, Runs

logger = logging.getLogger("leveret.worker")

LAST_RUN: Final = "x-last-run"  # of the token: milliseconds since 1970
RENEW_S: Final = 300.0
AGAIN_S: Final = 1.0  # after the broker refused something


class SystemClock:
    """The time of this machine."""

    def now_s(self) -> float:
        return time.time()

    async def wait_s(self, seconds_s: float) -> None:
        await asyncio.sleep(seconds_s)


class CronRunner:
    """`make_runner` gives a fresh QueueRunner for a run."""

    def __init__(
        self,
        app_name: str,
        client: Any,
        declared: Declared,
        timing: Timing,
        make_runner: Callable[[], QueueRunner],
        clock: Clock,
    ) -> None:
        self.name = declared.name
        self.queue = declared.queue.name
        self.token_queue = f"leveret.cron.{app_name}.{declared.name}"
        self.runs = 0
        self.leads = False
        self._client = client
        self._timing = timing
        self._make_runner = make_runner
        self._clock = clock
        self._runners: dict[asyncio.Task[None], QueueRunner] = {}
        self._consumer: Any = None
        self._token: Any = None
        self._last_ms: int | None = None
        self._stopping = asyncio.Event()

    # ---- the token

    async def run(self) -> None:
        """Until `stop`."""
        spec = Queue(self.token_queue, single_active=True, max_length=1)
        info = await self._client.declare_queue(spec)
        if not info.messages and not info.consumers:
            await self._put_token(self._now_ms())
        self._consumer = self._client.consume(spec, prefetch=1)
        await self._consumer.start()
        while not self._stopping.is_set():
            token = await self._first_of(self._consumer.take())
            if token is None:
                return
            self._keep(token)
            self.leads = True
            try:
                await self._lead()
            except (Stale, AlreadySettled, Disconnected):
                logger.info("%s: another worker may run it now: the connection was lost", self.name)
            finally:
                self.leads = False

    def _keep(self, token: Any) -> None:
        """What it says, unless we know better."""
        self._token = token
        said = token.headers.get(LAST_RUN)
        if isinstance(said, int) and (self._last_ms is None or said > self._last_ms):
            self._last_ms = said

    def _now_ms(self) -> int:
        return round(self._clock.now_s() * 1000)

    async def _put_token(self, last_ms: int) -> None:
        await self._client.publish(self.token_queue, b"", headers={LAST_RUN: last_ms})

    async def _renew(self) -> bool:
        """Whether nobody else had it since. Raises Stale if the token is not ours any more."""
        before = self._last_ms
        await self._put_token(before if before is not None else self._now_ms())
        self._token.ack()
        token = await self._first_of(self._consumer.take())
        if token is None:
            return False
        self._keep(token)
        return before is None or self._last_ms == before

    # ---- runs

    async def _lead(self) -> None:
        timing = self._timing
        last_s = None if self._last_ms is None else self._last_ms / 1000
        runs = Runs(
            timing.schedule, self._clock.now_s,
            catch_up=timing.catch_up, overlap=timing.overlap, last_at=last_s,
        )  # fmt: skip
        renew_at_s = time.monotonic() + RENEW_S
        while not self._stopping.is_set():
            run = runs.begin()
            if run is None:
                if time.monotonic() >= renew_at_s:
                    if not await self._renew():
                        return
                    renew_at_s = time.monotonic() + RENEW_S
                await self._pause(min(runs.wait_s(), RENEW_S))
                continue
            if not await self._renew():
                return  # another worker had it meanwhile, and has made this run
            task = asyncio.create_task(self._do(run, runs))
            if not timing.overlap:
                await self._finish(task)
            if self._stopping.is_set() and not timing.overlap:
                return  # it was cut short: whoever is next makes it
            self._last_ms = math.ceil(run.began_at * 1000)
            if not await self._renew():
                return
            renew_at_s = time.monotonic() + RENEW_S

    async def _finish(self, task: asyncio.Task[None]) -> None:
        """Until the run is over; renews the token meanwhile."""
        while not task.done():
            await asyncio.wait({task}, timeout=RENEW_S)
            if not task.done():
                await self._renew()

    async def _do(self, run: Run, runs: Runs) -> None:
        task = asyncio.current_task()
        assert task is not None
        runner = self._make_runner()
        self._runners[task] = runner
        if run.missed:
            logger.warning("%s: a run was missed, and is made now", self.name)
        try:
            await runner.feed(self._client.drain(self.queue, limit=self._timing.limit))
        except LeveretError as error:
            logger.error("%s: a run ended early: %s", self.name, error.text)
            await self._pause(AGAIN_S)
        finally:
            del self._runners[task]
            self.runs += 1
            runs.end()

    async def _pause(self, seconds_s: float) -> None:
        """By the clock, or until it is time to stop."""
        until_s = self._clock.now_s() + seconds_s
        wait = asyncio.ensure_future(self._clock.wait_s(seconds_s))
        await asyncio.sleep(0)  # it begins; a clock that was moved before that is noticed here
        if self._clock.now_s() >= until_s:
            wait.cancel()
        await self._first_of(wait)

    async def _first_of(self, waiting: Any) -> Any:
        """Its result; None if it is time to stop before."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                with contextlib.suppress(StopAsyncIteration, asyncio.CancelledError):
                    return task.result()
            return None
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    # ---- ending

    @property
    def runners(self) -> list[QueueRunner]:
        return list(self._runners.values())

    def stop_taking(self) -> None:
        """Begin no more runs; take nothing more in those that go on."""
        self._stopping.set()
        for runner in self.runners:
            runner.stop_taking()

    async def close(self) -> None:
        """Give the token back, so that another worker goes on at once."""
        token = self._token
        with contextlib.suppress(Stale, AlreadySettled):
            if token is not None and not token.settled:
                token.release()
        if self._consumer is not None:
            await self._consumer.close()
