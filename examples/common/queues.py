"""What an example has to know of its queues before it begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import leveret
from examples.common.children import Child
from leveret.errors import Refused

LOOK_S = 0.05
NOT_FOUND = 404


async def until_consumed(
    broker: leveret.Client, queue: str, consumers: int = 1, of: Iterable[Child] = (), timeout_s: float = 60.0
) -> None:
    """Wait until so many consumers are at a queue, which their workers, the processes `of`, declare.

    Raises RuntimeError when one of these has ended, TimeoutError.
    """
    deadline_s = time.monotonic() + timeout_s
    while (found := await consumers_of(broker, queue)) < consumers:
        for child in of:
            if child.exit_code is not None:
                raise RuntimeError(
                    f"{child.name} ended with {child.exit_code} instead of consuming from {queue!r}"
                )
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{found} of {consumers} consumers at {queue!r} within {timeout_s:g} s")
        await asyncio.sleep(LOOK_S)


async def consumers_of(broker: leveret.Client, queue: str) -> int:
    try:
        return (await broker.look_at_queue(queue)).consumers
    except Refused as error:
        if error.code != NOT_FOUND:
            raise
        return 0
