"""Messages of one queue that are dead, on their way to where dead letters go.

A dead message sleeps in its lane until it is buried: the dead letter is published and the message settled by one
record of the journal, so that a crash neither loses nor doubles it. One whose page is not in memory is waited for,
and so are those behind it: dead letters keep their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from leveret.core.death import DELIVERY_LIMIT, EXPIRED, MAXLEN, REJECTED, bury, reason_name
from leveret.core.lane import Lane
from leveret.core.page import ASLEEP
from leveret.core.view import view_of
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.queue import Queue

BURIALS: Final[i64] = 2_048  # of one queue in one turn, at most


@final
class Grave:
    def __init__(self, lane: Lane, seq: i64, reason: i64, head: dict[str, object] | None) -> None:
        self.lane = lane
        self.seq: i64 = seq
        self.reason: i64 = reason
        self.head = head  # headers that the dead letter gets besides


@final
class Graves:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.waiting: list[Grave] = []
        self.burying = False
        self.kept: list[Grave] = []  # at least once: no queue takes them now
        self.buried: i64 = 0

    def add(self, lane: Lane, seq: i64, reason: i64, head: dict[str, object] | None) -> None:
        self.waiting.append(Grave(lane, seq, reason, head))
        self.queue.wake()

    def bury_some(self) -> None:
        """Bury what can be buried now; once more in the next turn if that was not all."""
        if self.burying:  # what is buried goes to the queue that it died in
            return
        self.burying = True
        waiting = self.waiting
        n: i64 = 0
        while n < i64(len(waiting)):
            if n == BURIALS:
                self.queue.wake()
                break
            if not self._bury_next(waiting[n]):
                break
            n += 1
        del waiting[:n]
        self.burying = False

    def _bury_next(self, grave: Grave) -> bool:
        """False if it cannot be had now: the queue is woken when it can."""
        lane = grave.lane
        page = lane.page_with(grave.seq)
        if page is None or page.state(grave.seq - page.base) != ASLEEP:  # it is gone, or was purged
            return True
        messages = page.messages
        m = lane.fetch(grave.seq) if messages is None else messages[grave.seq - page.base]
        if m is None:
            return False
        if lane.moves is not None and not lane.is_moved(grave.seq):
            lane.await_moves()
            return False
        self._bury(grave, m)
        return True

    def _bury(self, grave: Grave, m: Message) -> None:
        """One that no queue takes is dropped; with at-least-once it is kept and tried again later (as
        rabbit_fifo_dlx_worker does), unless it would only go round in circles."""
        lane = grave.lane
        queue = self.queue
        rules = queue.rules
        if self.publish(m, grave.reason, lane, grave.seq, grave.head):
            self.buried += 1
        elif rules is not None and rules.at_least_once and not queue.home.circled:
            self.kept.append(grave)
            queue.home.broker.stuck[int(queue.qid)] = queue
        else:
            self.buried += 1
            lane.remove(grave.seq, True)

    def try_again(self) -> None:
        """What was kept comes first."""
        kept = self.kept
        self.kept = []
        self.waiting[:0] = kept
        self.queue.wake()

    def publish(
        self, m: Message, reason: i64, lane: Lane | None, seq: i64, head: dict[str, object] | None
    ) -> bool:
        """Publish the dead letter of a message. True if it was moved with its record: the source is settled."""
        queue = self.queue
        rules = queue.rules
        assert rules is not None
        dlx = rules.dlx
        if dlx is None:
            return False
        home = queue.home
        home.circled = False
        topology = home.topology
        first = topology.exchanges.get(dlx)
        if first is None:
            return False
        if head is not None:
            m = view_of(m).delivery(m, head)
        dead = bury(m, queue.name, reason, dlx, rules.dlx_key, queue.turn.now_ms)
        if lane is not None and home.delay_dead(dlx, dead.message, lane, seq):
            return True
        targets = home.dead_targets(first, dead)
        if not targets:
            return False
        if lane is not None and queue.attempts is not None:
            home.inherited = queue.attempts.count_of(lane, seq)
        taken = home.offer(targets, dead.message, lane, seq) >= 0
        home.inherited = 0
        return taken and lane is not None


__all__ = ["DELIVERY_LIMIT", "EXPIRED", "MAXLEN", "REJECTED", "Graves", "reason_name"]
