"""Handles messages and notes each in the ledger. May be killed at any moment: it acknowledges after that only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import leveret
from examples.selfheal import QUEUE
from examples.selfheal.ledger import Ledger

WORK_S = float(os.environ.get("SELFHEAL_WORK_MS", "10")) / 1000
NAME = os.environ.get("SELFHEAL_WORKER", "worker")

app = leveret.App(name=NAME)  # the broker is the one that $LEVERET_URL names
ledger = Ledger(Path(os.environ["SELFHEAL_LEDGER"]))


# What a worker had in hand when it was killed, or its connection cut, goes to another one after a moment.
RETRY = leveret.Retry(max=50, backoff="fixed", delay_s=0.1)


@app.consumer(QUEUE, concurrency=4, retry=RETRY)
async def handle(number: int, message: leveret.Message) -> None:
    await asyncio.sleep(WORK_S)
    assert message.message_id is not None
    ledger.handled(message.message_id, NAME)  # a repeat is noted, and has no second effect


if __name__ == "__main__":
    asyncio.run(app.run())
