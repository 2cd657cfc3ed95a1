"""Three subscriptions in one process: the gallery, the audit, and the one with a rule of its own. Each has a
queue, so each gets its copy and none waits for another; asyncio serves them side by side.

aio-pika's robust connection comes back by itself after a loss, with its channels and consumers. What had
been delivered but not acknowledged is delivered again: a subscriber remembers what it has had.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from examples.demo.client import arguments, say
from examples.demo.jobs import SUBSCRIPTIONS, Announcement

RECONNECT_S = 0.3
PREFETCH = 50


async def subscribe(channel: Any, name: str, subscription: str) -> None:
    queue = await channel.get_queue(f"{name}.{subscription}")
    had: set[str] = set()

    async def take(message: Any) -> None:
        announcement = Announcement.decode(message.body)
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
        # When the connection has gone meanwhile there is nothing to acknowledge: the message comes again.
        with contextlib.suppress(ChannelInvalidStateError, AMQPError, ConnectionError):
            await message.ack()

    await queue.consume(take)


async def run(url: str, name: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def lost(_: object, reason: BaseException | None) -> None:
        if not stop.is_set():
            say("lost", reason=repr(reason))

    connection = await aio_pika.connect_robust(url, reconnect_interval=RECONNECT_S)
    connection.reconnect_callbacks.add(lambda *_: say("connected"))
    connection.close_callbacks.add(lost)
    say("connected")
    for subscription in (*SUBSCRIPTIONS, "portraits"):
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        await subscribe(channel, name, subscription)
    say("ready")
    await stop.wait()
    await connection.close()


def main() -> None:
    options = arguments(__doc__).parse_args()
    asyncio.run(run(options.url, options.name))


if __name__ == "__main__":
    main()
