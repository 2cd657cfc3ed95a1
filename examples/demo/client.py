"""What every client process of the demo needs: its arguments, a connection that is tried again, a way to say
what it does, and a way to be told to stop.

Knows nothing of jobs and images.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import time

import pika
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPConnectionError, ChannelWrongStateError

# What pika raises when the connection is gone: connect again and go on. Everything else is an error in the
# program (a queue that does not exist, an argument that differs) and would only happen again: let it end us.
LOST = (AMQPConnectionError, ChannelWrongStateError, ConnectionError, socket.gaierror)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2F", help="where the broker is")
    parser.add_argument("--name", default="demo", help="what the names of queues and exchanges begin with")
    return parser


def say(event: str, **fields: object) -> None:
    """One JSON line to stdout for each thing that happens: whoever started us may watch, or nobody."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Stop:
    """Becomes true with SIGTERM or SIGINT: finish what is in hand, say goodbye, leave."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.wanted = True

    def __bool__(self) -> bool:
        return self.wanted


def connect(url: str, stop: Stop) -> BlockingConnection:
    """A connection, however long it takes: a broker that restarts is back in a moment.

    The pauses grow, so that an absent broker is not hammered, and differ by chance, so that a hundred clients
    which lost the same broker do not come back in the same millisecond.
    """
    parameters = pika.URLParameters(url)
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            connection = BlockingConnection(parameters)
            say("connected")
            return connection
        except LOST as error:
            if stop:
                raise SystemExit(0) from None
            say("retrying", reason=repr(error))
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
