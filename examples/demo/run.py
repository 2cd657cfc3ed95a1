"""The demonstration: real work through a real broker, with a worker and the broker killed in the middle.

    python examples/demo/run.py                    some dozens of large JPEGs, made for the occasion
    python examples/demo/run.py --images DIR       your own; they are read only

A job goes out for each image in a folder; three workers in processes of their own take turns at resizing
(worker.py), and announce each finished image to two subscribers and one with a rule (subscriber.py), and to
one that comes by every second (cron.py). Meanwhile one worker is killed with SIGKILL and replaced, and the
broker is killed with SIGKILL and started again. In the end everything is counted: exit code 0 if all held.

jobs.py has the messages and the picture of who sends what where; begin there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common import pictures, report
from examples.common.broker import Broker
from examples.common.children import Child, python
from examples.common.queues import until_consumed
from examples.common.stage import play
from examples.common.waiting import Stalled
from examples.demo import jobs, producer
from examples.demo.report import status_of, summary
from examples.demo.tally import Outcome, Tally, judge

WORKERS = 3
CRON_INTERVAL_S = 1.0
PUBLISH_INTERVAL_S = 0.1  # between jobs, after a first third that goes out at once
BROKER_AWAY_S = 1.0
KILL_ATTEMPTS = 5
LEFT_TIMEOUT_S = 20.0
FEWEST_TO_KILL = 12


class Demo:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.progress = report.Progress()
        self.originals = options.images or folder / "originals"
        self.results = folder / "resized"
        self.name = f"demo-{uuid.uuid4().hex[:6]}"
        self.broker = None if options.broker_url else Broker(folder / "broker")
        self.children: dict[str, Child] = {}
        self.outcome = Outcome()
        self.tally = Tally(0)
        self._worker_number = 0
        self._visit: Child | None = None

    @property
    def url(self) -> str:
        return self.broker.url if self.broker else str(self.options.broker_url)

    # ---- the story

    async def run(self) -> bool:
        """All of it. Returns whether all expectations were met; leaves no process behind, whatever happens."""
        self.results.mkdir()
        try:
            if self.broker:
                await self.broker.start()
            async with leveret.connect(self.url, name="demo") as self.client:
                await self.play()
            if self.broker:
                self.outcome.exit_codes["broker"] = await self.broker.stop()
        finally:
            await self.stop_everything()
        return self.tell()

    async def play(self) -> None:
        try:
            self.progress.say(f"broker: {self.broker_in_words()}")
            await jobs.declare(self.client, self.name)
            if not self.options.images:
                await self.make_images()
            self.tally = Tally(len(producer.images(self.originals)))
            await self.work()
            await self.count_consumers()
            await self.stop_clients(lambda name: name != "subscriber")
            await self.take_what_is_left()
            await self.stop_clients()
            await asyncio.to_thread(self.look_at_results)
        finally:
            if not self.broker:
                await jobs.delete(self.client, self.name)

    def broker_in_words(self) -> str:
        if not self.broker:
            return "the one at --broker-url"
        broker = self.broker
        return f"{broker.describes_itself}, port {broker.port}, pid {broker.pid}, data in {broker.data}"

    async def make_images(self) -> None:
        self.originals.mkdir()
        loop, count = asyncio.get_running_loop(), self.options.count
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow lets other threads run while it works
            making = [
                loop.run_in_executor(pool, pictures.make, self.originals, number, self.options.size)
                for number in range(count)
            ]
            for made, image in enumerate(asyncio.as_completed(making)):
                await image
                if self.progress.live or made % 20 == 19:
                    self.progress.status(f"{report.bar(made + 1, count)} made {made + 1}/{count} images")
        self.progress.finish()
        size_mb = sum(path.stat().st_size for path in self.originals.iterdir()) / 1e6
        self.progress.say(
            f"made {count} JPEGs of {self.options.size} pixels ({size_mb:.0f} MB) in {self.originals}"
        )

    async def work(self) -> None:
        """From the first job to the last announcement, with what happens in between."""
        await asyncio.gather(self.start_client("subscriber"), *(self.start_worker() for _ in range(WORKERS)))
        self.outcome.consumers_wanted = {
            "jobs": WORKERS,
            **dict.fromkeys(("gallery", "audit", "portraits"), 1),
        }
        await self.until_consumed()
        await self.start_producer()
        beside = [asyncio.create_task(self.show()), asyncio.create_task(self.cron())]
        try:
            async with asyncio.TaskGroup() as group:
                if not self.options.no_kill:
                    group.create_task(self.go_wrong())
                group.create_task(
                    self.tally.watch.until(self.tally.everything_arrived, "the last announcement")
                )
        except* Stalled as stalled:
            self.outcome.stalled = str(stalled.exceptions[0])
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self.progress.finish()

    # ---- clients

    async def start_client(self, script: str, *arguments: str) -> Child:
        command = python(f"examples.demo.{script}", "--url", self.url, "--name", self.name, *arguments)
        return await self.start_child(script, command, {})

    async def start_worker(self) -> Child:
        self._worker_number += 1
        called = f"worker-{self._worker_number}"
        variables = {"LEVERET_URL": self.url, "DEMO_NAME": self.name, "DEMO_WORKER": called}
        child = await self.start_child(called, python("examples.demo.worker"), variables)
        self.progress.say(f"{called} started, pid {child.pid}")
        return child

    async def start_child(self, name: str, command: list[str], variables: dict[str, str]) -> Child:
        child = await Child.start(name, command, self.tally.hear, variables)
        self.children[name] = child
        return child

    async def until_consumed(self) -> None:
        """All consumers are there. Raises RuntimeError, TimeoutError when that does not happen."""
        daemons = [child for name, child in self.children.items() if name not in ("cron", "producer")]
        for queue, count in self.outcome.consumers_wanted.items():
            await until_consumed(self.client, f"{self.name}.{queue}", count, daemons)

    async def start_producer(self) -> None:
        folders = ["--images", str(self.originals), "--results", str(self.results)]
        pace = ["--burst", str(self.tally.total // 3), "--interval", str(PUBLISH_INTERVAL_S)]
        await self.start_client("producer", *folders, *pace)

    async def cron(self) -> None:
        """Start a visit every second, as cron would. One at a time, and none is cut short."""
        while True:
            visit = asyncio.create_task(self.visit())
            try:
                await asyncio.shield(visit)
            except asyncio.CancelledError:
                await visit
                raise
            await asyncio.sleep(CRON_INTERVAL_S)

    async def visit(self) -> None:
        handler = "examples.demo.cron:report"
        command = python("leveret", "drain", f"{self.name}.report", handler, "--url", self.url)
        self.tally.visited(await (await self.start_child("cron", command, {})).ended())

    async def show(self) -> None:
        while True:
            self.progress.status(status_of(self.tally))
            await asyncio.sleep(self.progress.refresh_s)

    # ---- what goes wrong on purpose

    async def go_wrong(self) -> None:
        if self.broker:
            await self.kill_the_broker(self.broker)
        await self.kill_a_worker()

    async def kill_the_broker(self, broker: Broker) -> None:
        """SIGKILL when half of the jobs are sent and the others are on their way; back after a moment."""
        tally = self.tally
        await tally.watch.until(lambda: 2 * len(tally.sent.ids) >= tally.total, "half of the jobs")
        await broker.kill()
        self.outcome.broker_killed = True
        self.outcome.confirmed_at_kill = frozenset(tally.sent.ids)
        self.progress.say(
            f"killed the broker (SIGKILL, pid {broker.pid}): {len(tally.sent.ids)} jobs sent,"
            f" {tally.resized} images resized"
        )
        await asyncio.sleep(BROKER_AWAY_S)
        await broker.start()
        self.progress.say(
            f"broker is back on port {broker.port}, pid {broker.pid}, in {broker.ready_after_s:.2f} s"
        )
        tally.in_hand.clear()  # what workers had in hand is anybody's now

    async def kill_a_worker(self) -> None:
        """SIGKILL for one that is resizing. It may have finished just then: then it has to be another one."""
        for _ in range(KILL_ATTEMPTS):
            await self.tally.watch.until(
                lambda: self.tally.resized >= WORKERS and self.tally.worker_at_work(),
                "a worker in the middle of a job",
            )
            name = self.tally.worker_at_work()
            assert name is not None
            victim = self.children.pop(name)
            await victim.kill()
            self.outcome.killed_workers.add(name)
            job, stage = self.tally.in_hand.pop(name, ("", ""))
            in_the_middle = stage in ("taken", "written")  # it acknowledges only after "announced"
            had = f"in the middle of {job}" if in_the_middle else "which had just finished its job"
            self.progress.say(f"killed {name} (SIGKILL, pid {victim.pid}), {had}")
            await self.start_worker()
            if in_the_middle:
                self.outcome.killed_job = job
                return

    # ---- the end

    async def count_consumers(self) -> None:
        """Who is there in the end, as the broker sees it: also the last worker, which has only just been started."""
        with contextlib.suppress(TimeoutError, RuntimeError):
            await self.until_consumed()
        looked = await jobs.look(self.client, self.name)
        self.outcome.consumers = {queue: looked[queue].consumers for queue in self.outcome.consumers_wanted}

    async def take_what_is_left(self) -> None:
        """A job that was done twice was announced twice: the last of these may still be on their way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEFT_TIMEOUT_S):
                while True:
                    await self.visit()
                    looked = await jobs.look(self.client, self.name)
                    self.outcome.waiting = {queue: info.messages for queue, info in looked.items()}
                    if not any(self.outcome.waiting.values()):
                        return

    async def stop_clients(self, chosen: Callable[[str], bool] = lambda _: True) -> None:
        """Ask these to leave. The producer leaves by itself when all is sent."""
        leaving = {name: child for name, child in self.children.items() if chosen(name)}
        codes = await asyncio.gather(*(child.stop() for child in leaving.values()))
        for name, code in zip(leaving, codes, strict=True):
            if name != "cron":  # a visit to a broker that is away fails, and may
                self.outcome.exit_codes[name] = code

    def look_at_results(self) -> None:
        """What is really there, in the shared folder."""
        for job in jobs_of(self.originals, self.results):
            result = Path(job.result)
            if not result.exists():
                continue
            if pictures.is_complete(result):
                self.outcome.results[job.id] = pictures.orientation(result)
            else:
                self.outcome.broken_results.append(job.id)

    async def stop_everything(self) -> None:
        await asyncio.gather(*(child.stop() for child in self.children.values()))
        if self.broker:
            await self.broker.stop()

    def tell(self) -> bool:
        kill = not self.options.no_kill
        expectations = judge(self.tally, self.outcome, kill, kill and self.broker is not None)
        print("\n" + summary(self.tally, self.outcome, expectations), flush=True)
        met = all(expectation.met for expectation in expectations)
        if not met:
            talkers: list[Any] = [*self.children.items(), *([("broker", self.broker)] if self.broker else [])]
            for name, talker in talkers:
                for line in talker.words:
                    print(f"{name}: {line}", file=sys.stderr)
        return met


def jobs_of(originals: Path, results: Path) -> list[jobs.Job]:
    return list(producer.jobs_for(originals, results, 0))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="resize these instead of made-up ones")
    parser.add_argument("--count", type=int, default=60, help="how many to make up (60)")
    parser.add_argument("--size", type=int, default=6000, help="their longer edge in pixels (6000)")
    parser.add_argument("--keep", action="store_true", help="keep the resized images and the broker's data")
    parser.add_argument("--broker-url", metavar="URL", help="use this broker, which is then not killed")
    parser.add_argument("--no-kill", action="store_true", help="let everybody live")
    options = parser.parse_args(arguments)
    if options.images and not (options.images.is_dir() and producer.images(options.images)):
        parser.error(f"--images {options.images}: no images there ({' '.join(sorted(producer.IMAGES))})")
    if options.count < 1 or options.size < 1:
        parser.error("--count and --size: 1 or more")
    count = len(producer.images(options.images)) if options.images else options.count
    if count < FEWEST_TO_KILL and not options.no_kill:
        parser.error(
            f"it takes {FEWEST_TO_KILL} images or more for something to happen in the middle (or --no-kill)"
        )
    return options


def main() -> int:
    options = parse()
    return play("demo", lambda folder: Demo(options, folder).run(), options.keep)


if __name__ == "__main__":
    sys.exit(main())
