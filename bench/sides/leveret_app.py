"""A Leveret application with one task that does nothing, and a program that posts it as fast as it can.

JOBS_QUEUE and JOBS_POOL (async, thread or process) configure it, LEVERET_URL says where the broker is.
"""

from __future__ import annotations

import argparse
import os

from bench.sides import window as w
from bench.sides.window import Window
from leveret import App

POOL = os.environ.get("JOBS_POOL", "async")
QUEUE = os.environ.get("JOBS_QUEUE", "jobs")

app = App(os.environ.get("LEVERET_URL", "amqp://localhost"))

if POOL == "async":

    @app.task(queue=QUEUE)
    async def noop(body: str) -> None:
        pass

else:

    @app.task(queue=QUEUE, pool=POOL)
    def noop(body: str) -> None:
        pass


async def _post(o: argparse.Namespace) -> None:
    body = "x" * o.size
    window = Window(0.0, o.seconds)
    async with app:
        while window.step():
            await noop.post(body)
        await app.client.flush()
    w.say({"messages": window.done})


def post(o: argparse.Namespace) -> None:
    w.run(lambda: _post(o), o.loop)


if __name__ == "__main__":
    w.choose({"post": post})
