"""What a lane tells its queue, and how a queue waits for the disk. It knows nothing else of queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.paging import LaneOwner
from leveret.core.turn import Waiter
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.queue import Queue


class QueueOwner(LaneOwner):
    """What the lane tells its queue. (A queue has one base already.)"""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.waiter: MarkWaiter | None = None

    def lane_ready(self) -> None:
        self.queue.wake()

    def lane_failed(self, text: str) -> None:
        self.queue.fail(text)

    def await_mark(self, position: i64) -> None:
        waiter = self.waiter
        if waiter is None:
            waiter = MarkWaiter(self.queue)
            self.waiter = waiter
        waiter.position = position
        self.queue.turn.wait_for(waiter, position)


class MarkWaiter(Waiter):
    """Wakes a queue when how far it may deliver is on disk."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self.queue = queue
        self.position: i64 = 0

    def advance(self, durable: i64) -> i64:
        if self.position > durable:
            return self.position
        self.queue.wake()
        return 0
