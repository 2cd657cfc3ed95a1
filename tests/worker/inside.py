"""An app at work on a fresh broker in this process, for the length of one coroutine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from leveret.client import Client
from leveret.client.topology import Retry
from leveret.worker import App, Running

from ..client.inside import run, until, until_async

__all__ = ["AT_ONCE", "dead_letters", "run", "run_app", "until", "until_async"]

AT_ONCE = Retry(max=2, delay_s=0.0, max_delay_s=0.0)

Body = Callable[[Client, Running], Coroutine[Any, Any, None]]


def run_app(app: App, body: Body, **options: Any) -> None:
    """Run `body` with a client and the app at work by it."""

    async def work(client: Client) -> None:
        async with app.running(client, **options) as running:
            await body(client, running)

    run(work)


async def dead_letters(client: Client, queue: str, count: int = 1) -> list[Any]:
    """So many messages of the queue of dead letters, as they come."""
    found: list[Any] = []
    async with client.consume(queue) as messages:
        async for message in messages:
            message.ack()
            found.append(message)
            if len(found) == count:
                return found
    return found
