"""Clones: the same work by one worker, by two, by four, out of one queue; and a film cut up, so that all help with it.

    python examples/resize/run.py                      with 1, 2 and 4 clones, by turns
    python examples/resize/run.py --workers 1,8        with others

A shared folder stands for network attached storage: messages carry paths, the files stay where they are. For each
number of clones all pictures and all segments of the film are made small; a table and a plot show what more clones
brought, and that the film which was joined in the end has all its frames.

worker.py is one clone, jobs.py what it is asked; begin there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common import pictures
from examples.common.queues import until_consumed
from examples.common.report import table
from examples.common.stage import Stage, parser, play
from examples.resize import drawing, video
from examples.resize.jobs import PICTURES, SEGMENTS, Done, Job
from examples.resize.tally import Turn, judge

EDGE = 640  # of the small pictures
HEIGHT = 240  # of the small film
JOB_TIMEOUT_S = 300.0


class Resize:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.shared = folder / "shared"
        self.film = self.shared / "film.mp4"
        self.frames = 0
        self.photos: list[Path] = []
        self.turns: list[Turn] = []

    async def run(self) -> bool:
        async with Stage(self.folder) as stage:
            await self.make_material(stage)
            async with leveret.connect(stage.broker.url, name="resize") as broker:
                for clones in self.options.workers:
                    self.turns.append(await self.turn(stage, broker, clones))
            return self.tell(stage)

    async def make_material(self, stage: Stage) -> None:
        originals = self.shared / "originals"
        originals.mkdir(parents=True)
        making = [
            asyncio.to_thread(pictures.make, originals, number, self.options.size)
            for number in range(self.options.pictures)
        ]
        self.photos = await asyncio.gather(*making)
        await asyncio.to_thread(video.make, self.film, self.options.seconds, self.options.height)
        self.frames = await asyncio.to_thread(video.frames, self.film)
        size_mb = sum(path.stat().st_size for path in (*self.photos, self.film)) / 1e6
        stage.progress.say(
            f"made {len(self.photos)} pictures of {self.options.size} pixels and a film of {self.options.seconds} s"
            f" ({self.frames} frames): {size_mb:.0f} MB in the shared folder"
        )

    async def turn(self, stage: Stage, broker: leveret.Client, clones: int) -> Turn:
        """All the work, done by so many clones."""
        turn = Turn(clones)
        results = self.shared / f"small-{clones}"
        results.mkdir()
        variables = {"LEVERET_URL": stage.broker.url, "SHARED": str(self.shared)}
        for number in range(clones):
            await stage.start(
                f"clone-{clones}.{number + 1}",
                "leveret", "worker", "examples.resize.worker:app",
                variables=variables,
            )  # fmt: skip
        await self.warm_up(stage, broker, clones)
        await self.all_pictures(broker, results, turn)
        await self.whole_film(broker, results, turn)
        turn.codes = await stage.stop_children()
        stage.progress.say(
            f"{clones} clone{'s' * (clones > 1)}: {len(self.photos) / turn.pictures_s:.1f} pictures a second,"
            f" the film in {turn.film_s:.1f} s"
        )
        return turn

    async def warm_up(self, stage: Stage, broker: leveret.Client, clones: int) -> None:
        """Wait until all are there, and have started their processes: what is measured is the work."""
        for queue in (PICTURES, SEGMENTS):
            await until_consumed(broker, queue, clones, stage.children.values())
        there = Job(self.relative(self.film), self.relative(self.film), 0)  # the result exists: nothing to do
        for queue in (PICTURES, SEGMENTS):
            await asyncio.gather(*(self.ask(broker, queue, there) for _ in range(4 * clones)))

    async def all_pictures(self, broker: leveret.Client, results: Path, turn: Turn) -> None:
        targets = [results / photo.name for photo in self.photos]
        jobs = [
            Job(self.relative(photo), self.relative(target), EDGE)
            for photo, target in zip(self.photos, targets, strict=True)
        ]
        started_s = time.monotonic()
        await asyncio.gather(*(self.ask(broker, PICTURES, job) for job in jobs))
        turn.pictures_s = time.monotonic() - started_s
        turn.complete = sum(
            await asyncio.gather(*(asyncio.to_thread(pictures.is_complete, t) for t in targets))
        )

    async def whole_film(self, broker: leveret.Client, results: Path, turn: Turn) -> None:
        """Cut, every segment by whichever clone is free, join."""
        cuts = results / "cuts"
        cuts.mkdir()
        joined = results / "film.mp4"
        started_s = time.monotonic()
        segments = await asyncio.to_thread(video.split, self.film, cuts, self.options.segment)
        jobs = [
            Job(self.relative(s), self.relative(s.with_name(f"small-{s.name}")), HEIGHT) for s in segments
        ]
        turn.done = list(await asyncio.gather(*(self.ask(broker, SEGMENTS, job) for job in jobs)))
        # gather gives the answers in the order of the jobs, in whatever order the clones finished them.
        await asyncio.to_thread(video.join, [self.shared / done.target for done in turn.done], joined)
        turn.film_s = time.monotonic() - started_s
        turn.segments = len(segments)
        turn.frames = await asyncio.to_thread(video.frames, joined)

    async def ask(self, broker: leveret.Client, queue: str, job: Job) -> Done:
        reply = await broker.call(queue, job, timeout_s=JOB_TIMEOUT_S)
        done = reply.decode(Done)
        assert isinstance(done, Done)
        return done

    def relative(self, path: Path) -> str:
        return str(path.relative_to(self.shared))

    # ---- the end

    def tell(self, stage: Stage) -> bool:
        stage.progress.finish()
        cores = len(os.sched_getaffinity(0))
        first = self.turns[0]
        rows = [
            [
                str(turn.clones),
                f"{len(self.photos) / turn.pictures_s:.1f}",
                f"{first.pictures_s / turn.pictures_s:.2f} x",
                f"{turn.segments / turn.film_s:.1f}",
                f"{turn.film_s:.1f}",
                f"{first.film_s / turn.film_s:.2f} x",
                str(len({done.clone for done in turn.done})),
            ]
            for turn in self.turns
        ]
        header = ("clones", "pictures/s", "gain", "segments/s", "film s", "gain", "clones at the film")
        print("\n" + table(header, rows, left=()))
        print(
            f"\nThis machine gives us {cores} cores: more clones than cores share them. On other machines that see"
        )
        print("the folder, each clone would bring cores of its own. Nothing but their number was changed.")
        for path in drawing.draw(self.turns, len(self.photos), cores, self.options.out):
            print(f"plot: {path}")
        return stage.conclude(
            judge(self.turns, len(self.photos), self.frames, cores, self.options.least_gain)
        )


def numbers(text: str) -> list[int]:
    found = [int(part) for part in text.split(",")]
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise ValueError
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, "resize")
    made.add_argument(
        "--workers", type=numbers, default=[1, 2, 4], metavar="N,N", help="numbers of clones (1,2,4)"
    )
    made.add_argument("--pictures", type=int, default=32, help="how many pictures (32)")
    made.add_argument("--size", type=int, default=3000, help="their longer edge in pixels (3000)")
    made.add_argument("--seconds", type=int, default=24, help="how long the film is (24)")
    made.add_argument("--height", type=int, default=720, help="of the film in pixels (720)")
    made.add_argument("--segment", type=int, default=2, help="seconds of a segment (2)")
    made.add_argument(
        "--least-gain",
        type=float,
        default=1.2,
        metavar="X",
        help="fail if more clones gain less (1.2); 0: any",
    )
    made.add_argument("--keep", action="store_true", help="keep the shared folder")
    options = made.parse_args(arguments)
    if min(options.pictures, options.size, options.seconds, options.height, options.segment) < 1:
        made.error("--pictures, --size, --seconds, --height and --segment: 1 or more")
    return options


def main() -> int:
    options = parse()
    return play("resize", lambda folder: Resize(options, folder).run(), options.keep)


if __name__ == "__main__":
    sys.exit(main())
