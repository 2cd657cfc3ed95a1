"""The work itself: what it costs, and that only so much is done at once. The same with and without a queue."""

from __future__ import annotations

import asyncio
import json
import os

QUEUE = "spike"
SLOTS = int(os.environ.get("SPIKE_SLOTS", "4"))  # how many requests are worked at, at once
WORK_S = float(os.environ.get("SPIKE_WORK_MS", "20")) / 1000  # what each takes


async def work() -> None:
    """A call of a database, a payment, a mail: it takes its time, whoever waits for it."""
    await asyncio.sleep(WORK_S)
    print(json.dumps({"event": "handled"}), flush=True)  # run.py counts these lines
