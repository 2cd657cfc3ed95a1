"""What an example has to know of its queues before it begins."""

from __future__ import annotations

import asyncio

import leveret
from leveret.errors import Refused

LOOK_S = 0.05
NOT_FOUND = 404


async def until_consumed(
    broker: leveret.Client, queue: str, consumers: int = 1, timeout_s: float = 60.0
) -> None:
    """Wait until so many consumers are at a queue, which their workers declare. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while await consumers_of(broker, queue) < consumers:
            await asyncio.sleep(LOOK_S)


async def consumers_of(broker: leveret.Client, queue: str) -> int:
    try:
        return (await broker.look_at_queue(queue)).consumers
    except Refused as error:
        if error.code != NOT_FOUND:
            raise
        return 0
