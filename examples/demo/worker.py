"""Takes jobs, resizes images, announces them. Start as many as there is work for: they take turns.

What makes it safe to kill a worker, or the broker, at any moment:
  * it acknowledges a job after the result is in the shared folder and the announcement is confirmed, so a job
    that was not finished goes to another worker;
  * hence a job can come twice. Doing it again must do no harm: a result that is there is not made again;
  * a result appears under its name complete or not at all: it is written under another name, then renamed.

A resize takes less than a second. Work that takes minutes belongs in a thread, with this one calling
`connection.process_data_events()`, or the broker misses the heartbeats and takes the worker for dead.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from examples.demo.client import LOST, Stop, arguments, connect, say
from examples.demo.jobs import Announcement, Job, properties

LOOK_UP_S = 0.2  # how often an idle worker looks whether it should stop


class Unreadable(Exception):
    """No image that Pillow can read: trying again would fail again."""


def read(image: Path) -> Image.Image:
    try:
        with Image.open(image) as source:
            return ImageOps.exif_transpose(source).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unreadable(repr(error)) from error


def resize(image: Path, result: Path, edge: int) -> None:
    small = read(image)
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    # Each process has a temporary name of its own: after a lost connection two may be at the same job.
    temporary = result.with_name(f".{result.name}.{os.getpid()}")
    # A full disk, say, ends this worker: the job goes back to the queue, not away.
    with temporary.open("wb") as file:
        small.save(file, "JPEG", quality=85)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(result)


def orientation(image: Path) -> str:
    with Image.open(image) as opened:
        return "portrait" if opened.height > opened.width else "landscape"


def do(job: Job, worker: str) -> Announcement:
    """Have the result in its place, and return what to tell about it."""
    result = Path(job.result)
    state, shape = "resized", "none"
    if result.exists():
        say("found", id=job.id)  # an earlier worker got this far and no further
        shape = orientation(result)
    else:
        try:
            resize(Path(job.image), result, job.edge)
            shape = orientation(result)
        except Unreadable as error:
            state = "unreadable"  # say so to whom it concerns, and let the job be done with
            say("unreadable", id=job.id, reason=str(error))
    return Announcement(job.id, state, shape, job.result, worker, time.time())


def handle(job: Job, redelivered: bool, announcements: Any, name: str, worker: str) -> None:
    say("taken", id=job.id, redelivered=redelivered, waited_ms=1000 * (time.time() - job.sent_at))
    started = time.monotonic()
    announcement = do(job, worker)
    say("written", id=job.id, ms=1000 * (time.monotonic() - started), state=announcement.state)
    announcements.basic_publish(
        f"{name}.images",
        announcement.routing_key,
        announcement.encode(),
        properties(job.id, announcement.headers),
    )
    say("announced", id=job.id)


def work(connection: Any, name: str, worker: str, stop: Stop) -> None:
    """Take jobs until told to stop."""
    jobs = connection.channel()
    jobs.basic_qos(prefetch_count=1)  # one job in hand: the next goes to whoever is free first
    announcements = connection.channel()
    announcements.confirm_delivery()  # so that basic_publish returns when the broker has it
    for method, _, body in jobs.consume(f"{name}.jobs", inactivity_timeout=LOOK_UP_S):
        if method is not None:
            handle(Job.decode(body), method.redelivered, announcements, name, worker)
            jobs.basic_ack(method.delivery_tag)
            say("done")
        if stop:
            break
    connection.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--worker", default=f"worker-{os.getpid()}", help="what this one is called")
    options = parser.parse_args()

    stop = Stop()
    while not stop:
        try:
            work(connect(options.url, stop), options.name, options.worker, stop)
        except LOST as error:
            # The job in hand is not ours any more. The broker gives it to somebody, perhaps to us.
            say("lost", reason=repr(error))


if __name__ == "__main__":
    main()
