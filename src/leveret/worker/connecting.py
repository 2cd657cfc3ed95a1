"""The first connection of a worker: in containers it often starts before its broker does.

Knows which failures pass by themselves. How to come back after a connection was lost is the client's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from leveret.client.backoff import Backoff
from leveret.errors import ConnectFailed

logger = logging.getLogger("leveret.worker")

FIRST_S: Final = 0.2
MOST_S: Final = 5.0
SAY_EVERY_S: Final = 60.0
# Answers of a broker that is there, and will say the same again: the login, the virtual host.
FINAL_CODES: Final = (402, 403, 530)


async def first_connection(
    make_client: Callable[[], Any],
    wait: bool,
    *,
    backoff: Backoff | None = None,
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    clock: Callable[[], float] | None = None,
) -> Any:
    """An open client. Raises ConnectFailed: at once unless `wait`, and for what does not mend by waiting."""
    now_s = clock if clock is not None else asyncio.get_running_loop().time
    backoff = backoff if backoff is not None else Backoff(FIRST_S, MOST_S, jitter="equal")
    began_s = now_s()
    said, said_s = "", began_s
    while True:
        client = make_client()
        try:
            await client.open()
        except ConnectFailed as error:
            if not wait or error.code in FINAL_CODES:
                raise
            if error.text != said:
                logger.warning("%s; trying again until one is there", error.text)
                said, said_s = error.text, now_s()
            elif now_s() - said_s >= SAY_EVERY_S:
                logger.warning("still waiting, for %.0f s now: %s", now_s() - began_s, error.text)
                said_s = now_s()
            await pause(backoff.next_s())
        else:
            if said:
                logger.info("the broker is there, after %.0f s", now_s() - began_s)
            return client
