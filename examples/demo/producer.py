"""Sends a job for each image in a folder, and ends when the broker has confirmed all of them.

A message is sent when it is *confirmed*: the broker has it on disk. `publish` returns then. If the connection is lost
before, the client connects again and sends again what was not confirmed. That may then be there twice, which is why the
job carries an id and the workers look whether it is done already.

Each job waits for its confirm here. Who has many, and does not want to wait for each, uses `post`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import leveret
from examples.demo.client import arguments, run_until_told, say
from examples.demo.jobs import Job

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.is_file())


def jobs_for(folder: Path, results: Path, edge: int) -> Iterator[Job]:
    for image in images(folder):
        result = results / (image.name if image.suffix.lower() == ".jpg" else image.name + ".jpg")
        yield Job(image.name, str(image), str(result), edge, time.time())


async def send(url: str, queue: str, jobs: Iterator[Job], burst: int, interval_s: float) -> None:
    async with leveret.connect(url, name="producer") as broker:
        for number, job in enumerate(jobs):
            if number >= burst:
                await asyncio.sleep(interval_s)
            started = time.monotonic()
            await broker.publish(queue, job, message_id=job.id)
            say("sent", id=job.id, ms=1000 * (time.monotonic() - started))
        say("finished", again=broker.stats.resent)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="the folder with images")
    parser.add_argument("--results", type=Path, required=True, help="where the resized ones go")
    parser.add_argument("--edge", type=int, default=640, help="the longer edge of a resized image, in pixels")
    parser.add_argument("--burst", type=int, default=0, help="so many at once, the others one by one")
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between the others")
    options = parser.parse_args()
    jobs = jobs_for(options.images, options.results, options.edge)
    run_until_told(send(options.url, f"{options.name}.jobs", jobs, options.burst, options.interval))


if __name__ == "__main__":
    main()
