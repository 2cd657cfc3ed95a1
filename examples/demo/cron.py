"""Comes by, pulls what has been announced since the last visit, reports it, and leaves. Cron starts it.

Nothing here tries again: if the broker is away, this visit fails (exit code 75, "try later") and the next
one finds the messages.
"""

from __future__ import annotations

import sys
import time

import pika

from examples.demo.client import LOST, arguments, say
from examples.demo.jobs import Announcement

TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h


def visit(url: str, name: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    pulled = redelivered = last_tag = 0
    while True:
        method, _, body = channel.basic_get(f"{name}.report")
        if method is None:
            break
        announcement = Announcement.decode(body)
        say(
            "pulled",
            id=announcement.id,
            redelivered=method.redelivered,
            ms=1000 * (time.time() - announcement.announced_at),
        )
        pulled += 1
        redelivered += method.redelivered
        last_tag = method.delivery_tag
    if last_tag:
        # After the report is written, and all in one: a visit that dies before this is made again as a whole.
        channel.basic_ack(last_tag, multiple=True)
    connection.close()
    say("visited", pulled=pulled, redelivered=redelivered)


def main() -> None:
    options = arguments(__doc__).parse_args()
    try:
        visit(options.url, options.name)
    except LOST as error:
        say("away", reason=repr(error))
        sys.exit(TRY_LATER)


if __name__ == "__main__":
    main()
