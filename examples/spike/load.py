"""How many requests come when, and what was seen of them: sent, handled, failed, how long callers waited, what waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from examples.common.report import Expectation, percentile

TICK_S = 0.2  # of the series: rates are counted in pieces of this length


@dataclass(frozen=True)
class Load:
    """`normal` requests a second, for `spike_s` seconds `times` as many, and normal again."""

    normal: float
    times: float
    before_s: float
    spike_s: float
    after_s: float

    @property
    def total_s(self) -> float:
        return self.before_s + self.spike_s + self.after_s

    def rate(self, at_s: float) -> float:
        in_spike = self.before_s <= at_s < self.before_s + self.spike_s
        return self.normal * (self.times if in_spike else 1)

    def arrivals(self) -> Iterator[float]:
        """When each request comes, in seconds since the beginning."""
        at_s = 0.0
        while at_s < self.total_s:
            yield at_s
            # A step that crosses an edge is cut there, so that the new rate begins on time.
            step_s = 1 / self.rate(at_s)
            edges = [
                edge for edge in (self.before_s, self.before_s + self.spike_s) if at_s < edge < at_s + step_s
            ]
            at_s = edges[0] if edges else at_s + step_s


@dataclass
class Sample:
    """What happened in one tick, and how much waits at its end."""

    at_s: float
    sent: int
    handled: int
    failed: int
    slowest_ms: float  # of the callers whose wait ended in this tick
    waiting: int


@dataclass
class Seen:
    """One run. Whoever sends and whoever hears of handled work counts here; `watch` makes the series."""

    name: str
    sent: int = 0
    handled: int = 0
    failed: int = 0
    waits_ms: list[float] = field(default_factory=list)  # of callers that were answered, or gave up
    samples: list[Sample] = field(default_factory=list)
    started_s: float = 0.0

    def begin(self) -> None:
        """The clock starts now."""
        self.started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    @property
    def peak(self) -> int:
        return max((sample.waiting for sample in self.samples), default=0)

    def p(self, percent: float) -> float:
        return percentile(self.waits_ms, percent)

    async def call(self, at_s: float, request: Callable[[], Awaitable[bool]]) -> None:
        """One request, of a caller that came at `at_s`: what it waits counts from then."""
        self.sent += 1
        answered = await request()
        self.failed += not answered
        self.waits_ms.append(1000 * (self.elapsed_s - at_s))

    async def offer(self, load: Load, request: Callable[[], Awaitable[bool]]) -> None:
        """Send as the load says, whether or not earlier ones have been answered: callers do not know of each other."""
        async with asyncio.TaskGroup() as group:
            for at_s in load.arrivals():
                late_s = self.elapsed_s - at_s
                if late_s < 0:
                    await asyncio.sleep(-late_s)
                group.create_task(self.call(at_s, request))

    async def watch(self, waiting: Callable[[], Awaitable[int]], show: Callable[[], None]) -> None:
        """Take a sample in every tick, for ever."""
        sent = handled = failed = waits = 0
        while True:
            await asyncio.sleep(TICK_S)
            now = await waiting()
            slowest_ms = max(self.waits_ms[waits:], default=0.0)
            delta = (self.sent - sent, self.handled - handled, self.failed - failed)
            self.samples.append(Sample(self.elapsed_s, *delta, slowest_ms, now))
            sent, handled, failed, waits = self.sent, self.handled, self.failed, len(self.waits_ms)
            show()


def judge(queued: Seen, direct: Seen) -> list[Expectation]:
    return [
        Expectation("with a queue, no caller was turned away", queued.failed == 0, f"{queued.failed} were"),
        Expectation(
            "every request was handled in the end",
            queued.handled >= queued.sent,
            f"{queued.handled} of {queued.sent}",
        ),
        Expectation("the spike became a backlog", queued.peak > 0, "nothing ever waited"),
        Expectation(
            "which was gone in the end",
            bool(queued.samples) and queued.samples[-1].waiting == 0,
            f"{queued.samples[-1].waiting if queued.samples else 'no'} left",
        ),
        Expectation("without a queue, callers gave up", direct.failed > 0, "none did"),
        Expectation(
            "with a queue, callers waited less (p99)",
            queued.p(99) < direct.p(99),
            f"{queued.p(99):.0f} ms against {direct.p(99):.0f} ms",
        ),
    ]
