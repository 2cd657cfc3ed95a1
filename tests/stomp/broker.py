"""The broker under test: a Leveret of our own with all its listeners, or a RabbitMQ that variables name.

COMPAT_URL=amqp://guest:guest@host:port/%2F STOMP_PORT=61613 WEB_STOMP_PORT=15674 pytest tests/stomp
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.compat.broker import Address, Leveret, parse_url

OPTIONS = ("--stomp-port", "0", "--web-stomp-port", "0")


@dataclass(frozen=True)
class Ports:
    """Where it listens, for each protocol."""

    amqp: Address
    stomp: Address
    web: Address


def listeners(log: str) -> dict[str, str]:
    """`host:port` by listener, of the last `ready` line of a log in JSON lines."""
    found: dict[str, str] = {}
    for line in log.splitlines():
        if '"ready"' in line:
            entry = json.loads(line)
            if entry.get("event") == "ready":
                found = entry["addresses"]
    return found


def ports_of(broker: Leveret) -> Ports:
    amqp = broker.address
    known = listeners(broker.log)
    stomp, web = (int(known[name].rpartition(":")[2]) for name in ("stomp", "web_stomp"))
    return Ports(amqp, amqp.at(stomp), amqp.at(web))


@contextlib.contextmanager
def running_broker() -> Iterator[Ports]:
    url = os.environ.get("COMPAT_URL")
    if url:
        amqp = parse_url(url)
        stomp = int(os.environ.get("STOMP_PORT", "61613"))
        web = int(os.environ.get("WEB_STOMP_PORT", "15674"))
        yield Ports(amqp, amqp.at(stomp), amqp.at(web))
        return
    with tempfile.TemporaryDirectory(prefix="leveret-stomp-") as folder:
        broker = Leveret(Path(folder), *OPTIONS)
        try:
            broker.start()
            yield ports_of(broker)
        finally:
            broker.stop()
