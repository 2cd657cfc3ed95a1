"""Messages that are due between two ticks: the server is there in time, and not ten times a second only."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.broker import Broker

pika = pytest.importorskip("pika")

MESSAGES = 100
APART_MS = 10
FIRST_MS = 500


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()
    assert not broker.errors()


def test_what_is_due_apart_comes_apart(broker: Broker) -> None:
    """A second's messages, due 10 ms apart, come one by one or nearly so: ticks alone make ten crowds of them."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port)) as connection:
        channel = connection.channel()
        channel.exchange_declare("later", "x-delayed-message", arguments={"x-delayed-type": "fanout"})
        channel.queue_declare("q")
        channel.queue_bind("q", "later")
        for number in range(MESSAGES):
            headers = {"x-delay": FIRST_MS + APART_MS * number}
            channel.basic_publish("later", "", str(number).encode(), pika.BasicProperties(headers=headers))
        bodies, times = [], []
        for _, _, body in channel.consume("q", auto_ack=True, inactivity_timeout=20):
            bodies.append(body)
            times.append(time.monotonic())
            if body is None or len(bodies) == MESSAGES:
                break
    assert bodies == [str(number).encode() for number in range(MESSAGES)]
    crowds = 1 + sum(later - earlier > 0.004 for earlier, later in itertools.pairwise(times))
    assert crowds > 30
