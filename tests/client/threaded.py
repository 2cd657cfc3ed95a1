"""What the tests of the client for threads share."""

from __future__ import annotations

import threading

from leveret.client.sync import SyncClient
from leveret.client.sync_consumer import SyncMessage

WAIT_S = 20.0


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
