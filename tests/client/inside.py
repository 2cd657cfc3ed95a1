"""A client and a broker in this process, connected without a socket, for the length of one coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from leveret.client import Backoff, Client
from leveret.embed import Broker

DEADLINE_S = 20.0
QUICKLY = Backoff(0.001, 0.01)


def run(work: Callable[[Client], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `work` with an open client of a fresh broker. What hangs fails."""

    async def main() -> None:
        async with Broker() as broker, broker.connect(**{"reconnect": QUICKLY, **options}) as client:
            await work(client)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def run_with_broker(work: Callable[[Broker], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with Broker() as broker:
            await work(broker)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until it holds; the deadline of `run` ends what never does."""
    while not condition():
        await asyncio.sleep(0)


async def until_async(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0)


async def cut(client: Client) -> None:
    """The connection goes, as when a network fails."""
    assert client.link is not None and client.link.transport is not None
    client.link.transport.abort()
    await until(lambda: not client.connected)
