"""A cron-like consumer: comes by, handles what has been announced since the last visit, and leaves. In a crontab:

    * * * * *  leveret drain demo.report examples.demo.cron:report --url amqp://broker

If the broker is away, the visit fails (its exit code says so), and the next one finds the messages.
"""

from __future__ import annotations

import time

import leveret
from examples.demo.client import say
from examples.demo.jobs import Announcement


async def report(announcement: Announcement, message: leveret.Message) -> None:
    again = message.redelivered or message.attempts > 1
    say("pulled", id=announcement.id, redelivered=again, ms=1000 * (time.time() - announcement.announced_at))
