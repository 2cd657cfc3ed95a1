"""What goes by itself when its time is up: messages of queues with `x-message-ttl`, messages with an `expiration`,
and queues with `x-expires`.

Nothing here costs a message without an expiration anything: ten times a second each queue with a time to live notes
how far its numbers go, and what had a number for longer is dropped, from the front. So a message leaves up to a tenth
of a second late, never early. Times are not journaled: after a restart a message's, and a queue's, begin anew.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final

from leveret.message import Terms
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.lane import Lane
    from leveret.core.queue import Queue
    from leveret.core.vhost import VHost


TICK_MS: Final[i64] = 100  # `now_ms` may be so old: nothing goes early


class Timed:
    """A queue with a time limit. ttl_ms, expires_ms: -1 for none."""

    def __init__(self, queue: Queue, vhost: VHost, ttl_ms: i64, expires_ms: i64) -> None:
        self.queue = queue
        self.vhost = vhost
        self.ttl_ms: i64 = ttl_ms
        self.expires_ms: i64 = expires_ms
        self.marks: deque[tuple[int, int]] | None = None  # (when, numbers below this were there)
        self.marked: i64 = 0
        self.below: i64 = 0  # lower numbers are too old
        self.deadlines: list[tuple[int, int]] | None = (
            None  # a heap of (when, number), of messages with their own
        )
        self.used_ms: i64 = -1  # when it was last seen in use

    def tick(self, now_ms: i64) -> None:
        queue = self.queue
        if self.ttl_ms >= 0:
            self._drop_old(now_ms)
        if self.deadlines is not None:
            self._drop_due(self.deadlines, now_ms)
        if self.expires_ms >= 0:
            if self.used_ms < 0 or queue.consumer_count() > 0 or queue.touched:
                queue.touched = False
                self.used_ms = now_ms
            elif now_ms - self.used_ms >= self.expires_ms:
                self.vhost.expire_queue(queue)

    def _drop_old(self, now_ms: i64) -> None:
        lane = self.queue.lane
        marks = self.marks
        if lane.next_seq > self.marked:
            if marks is None:
                marks = deque()
                self.marks = marks
            marks.append((int(now_ms), int(lane.next_seq)))
            self.marked = lane.next_seq
        if marks is not None:
            while marks and i64(marks[0][0]) + self.ttl_ms <= now_ms:
                self.below = i64(marks.popleft()[1])
            if not marks:
                self.marks = None
        if lane.ready > 0 and lane.front_seq() < self.below:  # also what came back to its place too late
            self.queue.expired += lane.drop_below(self.below)

    def _drop_due(self, deadlines: list[tuple[int, int]], now_ms: i64) -> None:
        lane = self.queue.lane
        while deadlines and i64(deadlines[0][0]) <= now_ms:
            _, seq = heapq.heappop(deadlines)
            self.queue.expired += lane.drop_one(seq)
        if not deadlines:
            self.deadlines = None


class Expiry:
    """The timed queues of a broker. now_ms: at the last tick."""

    def __init__(self) -> None:
        self.timed: dict[int, Timed] = {}
        self.now_ms: i64 = 0

    def add(self, queue: Queue, vhost: VHost) -> None:
        """Take a queue on, if its arguments set a limit."""
        ttl = limit_ms(queue.arguments.get("x-message-ttl"))
        expires = limit_ms(queue.arguments.get("x-expires"))
        if ttl >= 0 or expires >= 0:
            self.timed[int(queue.qid)] = Timed(queue, vhost, ttl, expires)

    def expire(self, queue: Queue, vhost: VHost, seq: i64, after_ms: i64) -> None:
        """One message of a queue waits no longer than so many milliseconds from now."""
        timed = self.timed.get(int(queue.qid))
        if timed is None:
            timed = Timed(queue, vhost, -1, -1)
            self.timed[int(queue.qid)] = timed
        if timed.deadlines is None:
            timed.deadlines = []
        heapq.heappush(timed.deadlines, (int(self.now_ms + after_ms + TICK_MS), int(seq)))

    def enter(self, queue: Queue, lane: Lane, seq: i64, terms: Terms) -> None:
        """A message of a queue that waits no longer than its own word or the queue's says."""
        if terms.ttl_ms >= 0 and lane is queue.lane:
            self.expire(queue, queue.home, seq, terms.ttl_ms)

    def remove(self, qid: i64) -> None:
        self.timed.pop(int(qid), None)

    def tick(self, now_ms: i64) -> None:
        self.now_ms = now_ms
        for timed in list(self.timed.values()):
            timed.tick(now_ms)


def limit_ms(value: object) -> i64:
    return value if isinstance(value, int) else -1
