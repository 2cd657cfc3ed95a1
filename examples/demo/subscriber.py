"""Three subscriptions in one process: the gallery and the audit by topic, and the portraits by a rule of their own.

Each has a queue, so each gets its copy and none waits for another. The connection comes back by itself after a loss, with
all of them. What had been delivered but not acknowledged is delivered again: a subscriber remembers what it has had.
"""

from __future__ import annotations

import asyncio
import time

import leveret
from examples.demo.client import arguments, run_until_told, say
from examples.demo.jobs import RULE, SUBSCRIPTIONS, Announcement


async def listen(subscription: str, consumer: leveret.Consumer) -> None:
    had: set[str] = set()
    async for message in consumer:
        async with message:  # acknowledged when the block ends well
            announcement = message.decode(Announcement)
            assert isinstance(announcement, Announcement)
            again = announcement.id in had
            had.add(announcement.id)
            # Here one would put the image on a page, or write a line to the audit log, unless `again` is true.
            say(
                "got",
                subscription=subscription,
                id=announcement.id,
                again=again,
                redelivered=message.redelivered,
                ms=1000 * (time.time() - announcement.announced_at),
            )


async def run(url: str, name: str) -> None:
    async with leveret.connect(url, name="subscriber") as broker, asyncio.TaskGroup() as group:
        for subscription, pattern in SUBSCRIPTIONS.items():
            consumer = broker.subscribe(pattern, name=f"{name}.{subscription}", exchange=f"{name}.images")
            group.create_task(listen(subscription, consumer))
        portraits = broker.subscribe(headers=RULE, name=f"{name}.portraits", exchange=f"{name}.rules")
        group.create_task(listen("portraits", portraits))


def main() -> None:
    options = arguments(__doc__).parse_args()
    run_until_told(run(options.url, options.name))


if __name__ == "__main__":
    main()
