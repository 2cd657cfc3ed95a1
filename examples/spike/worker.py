"""With a queue: takes requests from it as fast as it can work, no faster."""

from __future__ import annotations

import asyncio
from typing import Any

from examples.spike.work import QUEUE, SLOTS, work
from leveret import App

app = App(name="spike")  # the broker is the one that $LEVERET_URL names


@app.consumer(QUEUE, concurrency=SLOTS)
async def handle(_request: dict[str, Any]) -> None:
    await work()


if __name__ == "__main__":
    asyncio.run(app.run())
