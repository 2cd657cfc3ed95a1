"""A daemon-like consumer: takes jobs, resizes images, announces them. Start as many as there is work for: they take turns.

    DEMO_NAME=demo LEVERET_URL=amqp://broker leveret worker examples.demo.worker:app

What makes it safe to kill a worker, or the broker, at any moment:
  * a job is acknowledged when the handler returns: after the result is in the shared folder and the announcements are
    confirmed. A job that was not finished goes to another worker;
  * hence a job can come twice. Doing it again must do no harm: a result that is there is not made again.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import leveret
from examples.common import pictures
from examples.demo.client import say
from examples.demo.jobs import Announcement, Job

NAME = os.environ.get("DEMO_NAME", "demo")
WORKER = os.environ.get("DEMO_WORKER", f"worker-{os.getpid()}")

app = leveret.App(name=WORKER)  # the broker is the one that $LEVERET_URL names

# What a worker had in hand when it was killed goes to another one after a moment.
RETRY = leveret.Retry(max=20, backoff="fixed", delay_s=0.1)


@app.consumer(f"{NAME}.jobs", concurrency=1, prefetch=1, retry=RETRY)
async def resize(job: Job, message: leveret.Message) -> None:
    again = message.redelivered or message.attempts > 1
    say("taken", id=job.id, redelivered=again, waited_ms=1000 * (time.time() - job.sent_at))
    started = time.monotonic()
    announcement = await asyncio.to_thread(do, job)  # in a thread: the connection goes on meanwhile
    say("written", id=job.id, ms=1000 * (time.monotonic() - started), state=announcement.state)
    # To whoever subscribed to the topic, and to whoever has a rule for such headers.
    for to in (leveret.topic(announcement.topic, f"{NAME}.images"), leveret.exchange(f"{NAME}.rules")):
        await app.client.publish(to, announcement, headers=announcement.headers, message_id=job.id)
    say("announced", id=job.id)


def do(job: Job) -> Announcement:
    """Have the result in its place, and return what to tell about it."""
    result = Path(job.result)
    state, shape = "resized", "none"
    if result.exists():
        say("found", id=job.id)  # an earlier worker got this far and no further
        shape = pictures.orientation(result)
    else:
        try:
            pictures.shrink(Path(job.image), result, job.edge)
            shape = pictures.orientation(result)
        except pictures.Unreadable as error:
            state = "unreadable"  # say so to whom it concerns, and let the job be done with
            say("unreadable", id=job.id, reason=str(error))
    return Announcement(job.id, state, shape, job.result, WORKER, time.time())


if __name__ == "__main__":
    asyncio.run(app.run())
