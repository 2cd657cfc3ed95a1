"""A spike: ten times the normal load for some seconds, at a queue; and the same without one.

    python examples/spike/run.py

Callers send requests to something that can do only so many a second. With a queue, a caller has its answer ("we have
it") as soon as the broker has the message on disk, however much waits; what is too much for now is done afterwards.
Without one, each caller waits until its request was done, behind all the others, and gives up after a second.

work.py is the work, worker.py does it with a queue, direct.py without; load.py says who comes when.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common.queues import until_consumed
from examples.common.stage import Stage, parser, play
from examples.common.waiting import Watch
from examples.spike import drawing
from examples.spike.load import TICK_S, Load, Seen, judge
from examples.spike.work import QUEUE

REST_S = 5 * TICK_S  # after the last one was handled: the plot goes on for a moment


class Spike:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.load = Load(
            options.normal, options.times, options.before_s, options.spike_s, after_s=2 * options.before_s
        )
        self.variables = {"SPIKE_SLOTS": str(options.slots), "SPIKE_WORK_MS": str(options.work_ms)}

    async def run(self) -> bool:
        async with Stage(self.folder) as stage:
            capacity = 1000 * self.options.slots / self.options.work_ms
            peak = self.load.normal * self.load.times
            stage.progress.say(
                f"normally {self.load.normal:g} requests a second, {peak:g} for {self.load.spike_s:g} s;"
                f" {capacity:g} can be handled"
            )
            queued = await self.with_queue(stage)
            direct = await self.without_queue(stage)
            runs = (queued, direct)
            print("\n" + drawing.summary(runs))
            print(
                f"\nWith a queue callers waited {queued.p(99):.0f} ms (p99) and all work was done, some of it later."
            )
            print(
                f"Without one they waited {direct.p(99):.0f} ms, and {direct.failed} of {direct.sent} gave up."
            )
            for path in drawing.draw(runs, self.load, self.options.out):
                print(f"plot: {path}")
            return stage.conclude(judge(queued, direct))

    async def with_queue(self, stage: Stage) -> Seen:
        async with leveret.connect(stage.broker.url, name="callers") as broker:
            watch = Watch()
            seen = Seen("with a queue")
            hear = self.counter(watch, seen)
            variables = {**self.variables, "LEVERET_URL": stage.broker.url}
            await stage.start("worker", "examples.spike.worker", hear=hear, variables=variables)
            await until_consumed(broker, QUEUE, 1, stage.children.values())

            async def request() -> bool:
                await broker.publish(QUEUE, {"what": "something that takes time"})
                return True

            async def waiting() -> int:
                return (await broker.look_at_queue(QUEUE)).messages

            return await self.drive(stage, watch, seen, request, waiting)

    async def without_queue(self, stage: Stage) -> Seen:
        watch = Watch()
        seen = Seen("without a queue")
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        count = self.counter(watch, seen)

        def hear(name: str, event: dict[str, Any]) -> None:
            if event["event"] == "ready":
                ready.set_result(event["port"])
            count(name, event)

        await stage.start("service", "examples.spike.direct", hear=hear, variables=self.variables)
        port = await ready

        async def ask() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"do it\n")
                await reader.readline()
            finally:
                writer.close()

        async def request() -> bool:
            try:
                await asyncio.wait_for(ask(), self.options.patience_s)
            except (TimeoutError, OSError):
                return False
            return True

        async def waiting() -> int:
            return seen.sent - len(seen.waits_ms)

        return await self.drive(stage, watch, seen, request, waiting)

    def counter(self, watch: Watch, seen: Seen) -> Callable[[str, dict[str, Any]], None]:
        def hear(_: str, event: dict[str, Any]) -> None:
            if event["event"] == "handled":
                seen.handled += 1
                watch.touch()

        return hear

    async def drive(
        self,
        stage: Stage,
        watch: Watch,
        seen: Seen,
        request: Callable[[], Awaitable[bool]],
        waiting: Callable[[], Awaitable[int]],
    ) -> Seen:
        """Offer the load, and go on watching until everything that was sent has been handled."""
        seen.begin()
        watching = asyncio.create_task(
            seen.watch(waiting, lambda: stage.progress.status(*drawing.live(seen)))
        )
        try:
            await seen.offer(self.load, request)
            await watch.until(lambda: seen.handled >= seen.sent, "the last request to be handled")
            await asyncio.sleep(REST_S)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            stage.progress.finish()
        await stage.stop_children()
        stage.progress.say(
            f"{seen.name}: {seen.sent} requests, callers waited {seen.p(50):.1f} ms (p50), {seen.p(99):.1f} ms (p99),"
            f" {seen.failed} gave up; all done after {seen.elapsed_s:.1f} s"
        )
        return seen


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, "spike")
    made.add_argument("--normal", type=float, default=60, help="requests a second (60)")
    made.add_argument("--times", type=float, default=10, help="how many times as many in the spike (10)")
    made.add_argument(
        "--before-s", type=float, default=2, help="seconds before it (2); afterwards twice as long"
    )
    made.add_argument("--spike-s", type=float, default=3, help="seconds it lasts (3)")
    made.add_argument("--slots", type=int, default=4, help="how many requests are worked at, at once (4)")
    made.add_argument("--work-ms", type=float, default=20, help="what each takes (20)")
    made.add_argument(
        "--patience-s", type=float, default=1, help="after which callers give up, without a queue (1)"
    )
    options = made.parse_args(arguments)
    if min(options.normal, options.times, options.spike_s, options.slots, options.work_ms) <= 0:
        made.error("rates, times, slots and work have to be above 0")
    if options.normal >= 1000 * options.slots / options.work_ms:
        made.error(
            "the normal load is more than --slots / --work-ms can do: the queue would never be empty again"
        )
    return options


def main() -> int:
    options = parse()
    return play("spike", lambda folder: Spike(options, folder).run())


if __name__ == "__main__":
    sys.exit(main())
