"""Sends a job for each image in a folder, and ends when the broker has confirmed all of them.

A message is sent when it is *confirmed*: the broker has it on disk. Before that anything may have happened
to it, so what was not confirmed when the connection broke is sent again. It may then be there twice, which
is why the job carries an id and the workers look whether it is done already.

Each job waits for its confirm here: simple, and fast enough for hundreds a second. Who needs more keeps a
window of unconfirmed messages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pika.exceptions import NackError

from examples.demo.client import LOST, Stop, arguments, connect, say
from examples.demo.jobs import Job, properties

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
NACK_PAUSE_S = 0.2


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.is_file())


class Producer:
    def __init__(self, url: str, queue: str, stop: Stop) -> None:
        self.url = url
        self.queue = queue
        self.stop = stop
        self._channel: Any = None

    def send(self, job: Job) -> None:
        """Publish until it is confirmed."""
        attempts = 0
        while True:
            attempts += 1
            started = time.monotonic()
            try:
                # mandatory: a job that reaches no queue is an error (UnroutableError), not a silent loss.
                self._open().basic_publish("", self.queue, job.encode(), properties(job.id), mandatory=True)
            except NackError:
                say("refused", id=job.id)  # the broker cannot keep it now (its disk is full, say)
                time.sleep(NACK_PAUSE_S)
            except LOST as error:
                say("lost", reason=repr(error))
                self._channel = None
            else:
                say("sent", id=job.id, ms=1000 * (time.monotonic() - started), again=attempts > 1)
                return

    def rest(self, seconds: float) -> None:
        """Wait, and serve the connection's heartbeats meanwhile. A connection that is lost is for `send` to find."""
        try:
            self._open().connection.sleep(seconds)
        except LOST as error:
            say("lost", reason=repr(error))
            self._channel = None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.connection.close()

    def _open(self) -> Any:
        if self._channel is None:
            self._channel = connect(self.url, self.stop).channel()
            self._channel.confirm_delivery()
        return self._channel


def jobs_for(folder: Path, results: Path, edge: int) -> Iterator[Job]:
    for image in images(folder):
        result = results / (image.name if image.suffix.lower() == ".jpg" else image.name + ".jpg")
        yield Job(image.name, str(image), str(result), edge, time.time())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="the folder with images")
    parser.add_argument("--results", type=Path, required=True, help="where the resized ones go")
    parser.add_argument("--edge", type=int, default=640, help="the longer edge of a resized image, in pixels")
    parser.add_argument("--burst", type=int, default=0, help="so many at once, the others one by one")
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between the others")
    options = parser.parse_args()

    stop = Stop()
    producer = Producer(options.url, f"{options.name}.jobs", stop)
    for number, job in enumerate(jobs_for(options.images, options.results, options.edge)):
        if stop:
            break
        if number >= options.burst and options.interval:
            producer.rest(options.interval)
        producer.send(job)
    producer.close()


if __name__ == "__main__":
    main()
