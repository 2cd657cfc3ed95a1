"""A queue: a lane of messages and the consumers that are served from it in turn.

It knows its consumers' credit and its lane's states. It does not know exchanges, protocols or files.
"""

from __future__ import annotations

from typing import Final

from leveret.core.consumer import Consumer
from leveret.core.destination import QueueBase
from leveret.core.lane import Lane
from leveret.core.paging import LaneOwner
from leveret.core.turn import Turn, Waiter
from leveret.journal import Journal, Pager
from leveret.native import i64

PUMP: Final[i64] = 4_096  # deliveries of one queue in one turn, at most


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


class Queue(QueueBase):
    def __init__(
        self, name: str, vhost: str, qid: i64, durable: bool, exclusive: bool, auto_delete: bool
    ) -> None:
        super().__init__(name, vhost, qid, durable, exclusive, auto_delete)
        self.gone = False  # deleted
        self.dirty = False  # in the turn's list of queues to pump
        self.failure = ""  # why it cannot be read any more
        self.has_exclusive_consumer = False
        self.consumers: list[Consumer] | None = None
        self.next_turn: i64 = 0  # index of the consumer whose turn it is
        self.getters: list[Getter] | None = None
        self.published: i64 = 0
        self.touched = True  # asked for since the last tick, which keeps it from expiring
        self.expired: i64 = 0  # messages that waited too long
        self.delivered: i64 = 0

    def attach(self, turn: Turn, journal: Journal, pager: Pager) -> None:
        """Give a new queue its place: where it is pumped, journaled and paged."""
        self.turn = turn
        owner = QueueOwner(self)
        # An exclusive queue goes with its connection: nothing of it outlives the process.
        self.lane = Lane(self.qid, owner, journal, pager, self.durable and not self.exclusive)

    # ---- counts, for declare, listings and if-empty

    def ready_count(self) -> int:
        return int(self.lane.ready)

    def unsettled_count(self) -> int:
        return int(self.lane.out)

    def consumer_count(self) -> int:
        return 0 if self.consumers is None else len(self.consumers)

    # ---- consumers

    def add_consumer(self, c: Consumer) -> None:
        if self.consumers is None:
            self.consumers = []
        self.consumers.append(c)
        self.had_consumers = True
        if c.exclusive:
            self.has_exclusive_consumer = True
        self.wake()

    def remove_consumer(self, c: Consumer) -> None:
        consumers = self.consumers
        c.active = False
        if consumers is not None and c in consumers:
            i: i64 = consumers.index(c)
            del consumers[i]
            if i < self.next_turn:
                self.next_turn -= 1
            if c.exclusive:
                self.has_exclusive_consumer = False
            if not consumers:
                self.consumers = None
            self.wake()

    # ---- the way out

    def wake(self) -> None:
        """Something may be deliverable: look once in this turn."""
        if not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)

    def pump(self) -> None:
        """Hand out what is ready to whoever has credit: in turn, a message each, in runs where one alone has credit."""
        self.dirty = False
        lane = self.lane
        if lane.ready == 0 or self.gone:
            return
        if self.getters is not None and not self._answer_getters():
            return
        consumers = self.consumers
        if consumers is None:
            return
        n: i64 = len(consumers)
        left = PUMP
        if n == 1:
            only = consumers[0]
            while lane.ready > 0:
                room = only.credit()
                if room <= 0:
                    return
                if left <= 0:
                    self.wake()
                    return
                done = lane.deliver(only, room)
                if done == 0:
                    return
                left -= done
            return
        self._share(consumers, n, left)

    def _share(self, consumers: list[Consumer], n: i64, left: i64) -> None:
        lane = self.lane
        i = self.next_turn
        idle: i64 = 0
        while lane.ready > 0 and idle < n:
            if left <= 0:
                self.wake()
                break
            if i >= n:
                i = 0
            c = consumers[i]
            room = c.credit()
            if room <= 0:
                idle += 1
                i += 1
                continue
            done = lane.deliver(c, room if idle == n - 1 else 1)
            if done == 0:
                break
            left -= done
            idle = 0
            i += 1
        self.next_turn = i

    def get(self, getter: Getter) -> None:
        """Answer with one message, or with none; later, if the message is on its way from disk."""
        if self.getters is None:
            self.getters = []
        self.getters.append(getter)
        if self.lane.ready == 0:
            self._none_for_getters()
        else:
            self._answer_getters()

    def _none_for_getters(self) -> None:
        getters = self.getters
        self.getters = None
        if getters is not None:
            for g in getters:
                g.nothing()

    def _answer_getters(self) -> bool:
        """False while a message for them is not in memory."""
        getters = self.getters
        while getters is not None and getters:
            g = getters[0]
            if g.active:
                if self.lane.ready == 0:
                    self._none_for_getters()
                    return True
                if self.lane.deliver(g, 1) == 0:
                    return False
            del getters[0]
        self.getters = None
        return True

    # ---- what becomes of messages

    def rejected(self, lane: Lane, first: i64, last: i64) -> None:
        """Rejected without requeue: there is no dead-letter exchange yet, so they are dropped."""
        lane.settle(first, last)

    def purge(self) -> int:
        return int(self.lane.purge())

    def fail(self, text: str) -> None:
        """Its messages cannot be read: nothing more comes out, and its consumers are told."""
        self.failure = text
        self._none_for_getters()
        self._cancel_all()

    def drop(self) -> None:
        """The queue is deleted (and that is journaled)."""
        self.gone = True
        self._none_for_getters()
        self._cancel_all()
        self.lane.drop()

    def _cancel_all(self) -> None:
        consumers = self.consumers
        self.consumers = None
        if consumers is not None:
            for c in consumers:
                c.active = False
                c.cancelled()


class Getter(Consumer):
    """A consumer of one message: the answer to one get."""

    def nothing(self) -> None:
        """There is no message."""
        raise NotImplementedError
