"""One clone. Start as many as you like, on as many machines as see the folder:

    SHARED=/mnt/nas LEVERET_URL=amqp://broker leveret worker examples.resize.worker:app

All of them are the same, and none knows of the others: the queue hands each job to one that is free. The work is
done in a process of its own, so that this one goes on talking to the broker meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from examples.common import pictures
from examples.resize import video
from examples.resize.jobs import PICTURES, SEGMENTS, Done, Job
from leveret import App, Retry

SHARED = Path(os.environ.get("SHARED", "."))

app = App(name="resize")  # the broker is the one that $LEVERET_URL names


def timed(work: Callable[[Path, Path, int], None], job: Job) -> Done:
    started_s = time.time()
    target = SHARED / job.target
    if (
        not target.exists()
    ):  # it may be there: an earlier clone was killed after the work, before it could say so
        work(SHARED / job.source, target, job.size)
    return Done(job.target, os.getpid(), started_s, time.time())


@app.consumer(PICTURES, concurrency=1, pool="process", prefetch=1, retry=Retry(max=2, delay_s=0.5))
def picture(job: Job) -> Done:
    return timed(pictures.shrink, job)


@app.consumer(SEGMENTS, concurrency=1, pool="process", prefetch=1, retry=Retry(max=2, delay_s=0.5))
def segment(job: Job) -> Done:
    return timed(video.shrink, job)
