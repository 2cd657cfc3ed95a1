"""What the tests of the client for threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from leveret.client.sync import SyncClient, connect_sync
from leveret.client.sync_consumer import SyncMessage
from leveret.embed import ThreadedBroker, run_in_thread

WAIT_S = 20.0


# A conftest gives these to the tests.


@pytest.fixture(scope="module")
def running() -> Iterator[ThreadedBroker]:
    with run_in_thread() as broker:
        yield broker


@pytest.fixture
def broker(running: ThreadedBroker) -> Iterator[SyncClient]:
    with connect_sync(running.url) as client:
        yield client


@pytest.fixture
def queue(broker: SyncClient, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    broker.declare_queue(name)
    return name


def bodies(messages: list[SyncMessage]) -> list[bytes]:
    return [message.body for message in messages]


def taken(broker: SyncClient, queue: str, count: int) -> list[SyncMessage]:
    found: list[SyncMessage] = []
    for message in broker.consume(queue):
        found.append(message)
        message.ack()
        if len(found) == count:
            break
    return found


class Held:
    """Keeps the client's thread busy, so that nothing is confirmed."""

    def __init__(self, broker: SyncClient) -> None:
        self._go = threading.Event()
        began = threading.Event()

        def hold() -> None:
            began.set()
            self._go.wait(WAIT_S)

        broker._thread.tell(hold)
        assert began.wait(WAIT_S)

    def release(self) -> None:
        self._go.set()
