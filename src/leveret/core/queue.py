"""A queue: lanes of messages and the consumers that are served from them in turn.

It knows its consumers' credit and its lanes' states. What it does beyond storing and handing out is asked for by its
rules: a queue without any has one lane and pays for nothing else. It does not know exchanges, protocols or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leveret.core.arguments import QUORUM
from leveret.core.attempts import Attempts
from leveret.core.consumer import Consumer
from leveret.core.dedup import Rebuild, Window, key_of, unique_of, window_of
from leveret.core.graves import MAXLEN, REJECTED, Graves
from leveret.core.groups import Groups
from leveret.core.lane import Lane
from leveret.core.laned import LanedQueue
from leveret.core.owner import QueueOwner
from leveret.core.rules import DROP_HEAD, REJECT_DLX, Rules
from leveret.core.serving import SingleActive, Tier, enter, is_active, leave
from leveret.journal import StateSink
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import VHost

PUMP: Final[i64] = 4_096  # deliveries of one queue in one turn, at most


class Queue(LanedQueue):
    def __init__(
        self, name: str, vhost: str, qid: i64, durable: bool, exclusive: bool, auto_delete: bool
    ) -> None:
        super().__init__(name, vhost, qid, durable, exclusive, auto_delete)
        self.gone = False  # deleted
        self.dirty = False  # in the turn's list of queues to pump
        self.failure = ""  # why it cannot be read any more
        self.plain_in = True  # a message is only appended to the ordinary lane
        self.graves: Graves | None = None
        self.attempts: Attempts | None = None
        self.groups: Groups | None = None
        self.window: Window | None = None
        self.refused: i64 = 0  # publishes
        self.dropped: i64 = 0  # from its head, since it was full
        self.has_exclusive_consumer = False
        self.consumers: list[Consumer] | None = None  # as they came
        self.alone: Consumer | None = None  # the one that gets everything
        self.tiers: list[Tier] | None = None  # those that share, by priority
        self.single: SingleActive | None = None
        self.timeouts: i64 = 0  # deliveries that were not settled in time
        self.getters: list[Getter] | None = None
        self.used_ms: i64 = -1  # when it was used last, by the clock that is never set (-1: since the start)
        self.instant: list[tuple[Lane, int]] | None = (
            None  # messages that go unless they are delivered at once
        )
        self.stalled = False  # what consumers have credit for is on its way to or from disk
        self.late = False  # some are out whose time may be up when they come back
        self.expired: i64 = 0  # messages that waited too long

    def attach(self, home: VHost) -> None:
        """Give a new queue its place."""
        self.take_place(home, QueueOwner(self))

    def set_rules(self, rules: Rules | None) -> None:
        """Before anything is in it."""
        self.rules = rules
        if rules is not None:
            self.lane.weighs = rules.max_bytes >= 0
            self.plain_in = rules.plain_in
            self.ranks = rules.ranks
            self.by_priority = rules.ranks or rules.priorities > 0
            if rules.dlx is not None:
                self.graves = Graves(self)
            if rules.counts or rules.retry is not None:
                self.attempts = Attempts(self, rules)
            if rules.single_active:
                self.single = SingleActive(self.queue_type == QUORUM)
            if rules.keyed:
                self.window = window_of(self.arguments)
                self.unique = unique_of(self.arguments)
                if self.unique is not None:
                    self.lane.watch(self.unique)
            if rules.group_header:
                groups = Groups(self, rules.group_header)
                self.groups = groups
                self.lane.watch(groups)

    # ---- as a holder

    def due(self, lane: Lane, seq: i64, m: Message) -> None:
        self.home.offer_due([self], m, lane, seq)

    def notes(self, lane: Lane, out: StateSink) -> None:
        if self.attempts is not None:
            self.attempts.notes(lane, out)

    def facts(self, out: StateSink) -> None:
        if self.window is not None:
            for fact in self.window.facts(self.home.journal):
                out.fact(self.lane.lid, fact)

    def restored_note(self, lane: Lane, seq: i64, note: bytes) -> None:
        if self.attempts is not None:
            self.attempts.restored(lane, seq, note)

    def restored_fact(self, fact: bytes) -> None:
        if self.window is not None:
            self.window.restored(fact)

    def restored(self) -> None:
        for lane in self.all_lanes():
            lane.weigh_pages()
            if self.unique is not None:
                lane.visit(Rebuild(self.unique, lane))

    def consumer_count(self) -> int:
        return 0 if self.consumers is None else len(self.consumers)

    # ---- consumers

    def add_consumer(self, c: Consumer) -> None:
        consumers = self.consumers
        if consumers is None:
            consumers = []
            self.consumers = consumers
        consumers.append(c)
        self.had_consumers = True
        if c.exclusive:
            self.has_exclusive_consumer = True
        if self.single is None:
            tiers = self.tiers
            if tiers is None:
                tiers = []
                self.tiers = tiers
            enter(tiers, c)
        if self.groups is not None:
            self.groups.consumer_came(len(consumers))
        self._find_alone()
        self.wake()

    def remove_consumer(self, c: Consumer) -> None:
        consumers = self.consumers
        c.active = False
        if consumers is not None and c in consumers:
            consumers.remove(c)
            if c.exclusive:
                self.has_exclusive_consumer = False
            if self.tiers is not None:
                leave(self.tiers, c)
            if self.groups is not None:
                self.groups.consumer_went(c)
            if not consumers:
                self.consumers = None
                self.tiers = None
                self.used_ms = self.turn.tick_ms
            self._find_alone()
            self.wake()

    def _find_alone(self) -> None:
        consumers = self.consumers
        if self.single is not None:
            self.alone = self.single.elect(consumers)
        else:
            self.alone = consumers[0] if consumers is not None and len(consumers) == 1 else None

    # ---- the way out

    def wake(self) -> None:
        """Something may be deliverable: look once in this turn."""
        if not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)

    def pump(self) -> None:
        """Hand out what is ready to whoever has credit: in turn, a message each, in runs where one alone has credit."""
        self.dirty = False
        if self.gone:
            return
        if self.late:
            self.home.broker.expiry.end_late(self)
        if self.rules is not None:
            self._pump_by_rules()
        else:
            self._hand_out(self.lane)
        if self.instant is not None:
            self.home.broker.expiry.end_instant(self)

    def _pump_by_rules(self) -> None:
        if self.attempts is not None:
            self.attempts.decide()
        graves = self.graves
        if graves is not None and graves.waiting:
            graves.bury_some()
        if self.single is not None:
            self._find_alone()
        self.stalled = False
        if self.groups is not None:
            self._hand_out_groups(self.groups)
        else:
            self._hand_out_ranked()
        # What is wanted and has only to wait for the disk is not in the way of what comes: the queue is pumped again.
        if not self.plain_in and not self.stalled:
            self.trim()

    def _hand_out_ranked(self) -> None:
        """From the lane of the highest priority that has something, then from the next."""
        ranked = self.ranked
        if ranked is None:
            self._hand_out(self.lane)
            return
        for lane in ranked:
            if lane.ready > 0:
                self._hand_out(lane)
                if lane.ready > 0:
                    return

    def _hand_out_groups(self, groups: Groups) -> None:
        if self.getters is not None and not self._answer_getters():
            return
        consumers = self.consumers
        if self.single is not None:
            consumers = None if self.alone is None else [self.alone]
        if consumers is not None and self.lane.ready > 0:
            groups.pump(consumers, PUMP)

    def _hand_out(self, lane: Lane) -> None:
        if lane.ready == 0:
            return
        if self.getters is not None and not self._answer_getters():
            return
        left = PUMP
        only = self.alone
        if only is not None:
            while lane.ready > 0:
                room = only.credit()
                if room <= 0:
                    return
                if left <= 0:
                    self.wake()
                    return
                done = lane.deliver(only, room)
                if done == 0:
                    self.stalled = True
                    return
                left -= done
        elif self.tiers is not None:
            self._share(lane, self.tiers, left)

    def _share(self, lane: Lane, tiers: list[Tier], left: i64) -> None:
        """Those of a lower priority get something while nobody above them has credit."""
        for tier in tiers:
            left = tier.share(lane, left)
            if lane.ready == 0 or left < 0:
                self.stalled = left < 0
                return
            if left == 0:
                self.wake()
                return

    def get(self, getter: Getter) -> None:
        """Answer with one message, or with none; later, if the message is on its way from disk."""
        if self.getters is None:
            self.getters = []
        self.getters.append(getter)
        if self.ready_count() == 0:
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
                lane = self.top_lane()
                if lane.ready == 0:
                    self._none_for_getters()
                    return True
                groups = self.groups
                if groups is None:
                    if lane.deliver(g, 1) == 0:
                        return False
                elif not groups.serve(g):
                    if groups.stuck:
                        return False
                    self._none_for_getters()
                    return True
                if g.timeout_ms > 0:
                    self.home.broker.overdue.watch(g)
            del getters[0]
        self.getters = None
        return True

    # ---- what becomes of messages

    def returned(self, lane: Lane, first: i64, last: i64, failed: bool) -> None:
        """Back to their places by the consumer's own word. failed: counted as failed deliveries."""
        if self.attempts is None:
            lane.requeue(first, last, True)
        else:
            self.attempts.returned(lane, first, last, failed)

    def lost(self, lane: Lane, first: i64, last: i64) -> None:
        """Whoever had them is gone: back to their places."""
        if self.attempts is None or self.home.broker.stopping:
            self.returned(lane, first, last, False)
        else:
            self.attempts.lost(lane, first, last)

    def rejected(self, lane: Lane, first: i64, last: i64, failed: bool) -> None:
        """Rejected without requeue: dead, or dropped where there is nowhere to go; or tried again later."""
        if self.attempts is not None:
            self.attempts.rejected(lane, first, last, failed)
            return
        if self.graves is None:
            lane.settle(first, last)
            return
        seq = first
        while seq <= last:
            lane.doze(seq)
            self.bury_later(lane, seq, REJECTED, None)
            seq += 1

    def timed_out(self, lane: Lane, first: i64, last: i64) -> None:
        """Not settled in time: back in their places."""
        if self.attempts is None:
            lane.requeue(first, last, True)
        else:
            self.attempts.timed_out(lane, first, last)

    def bury_later(self, lane: Lane, seq: i64, reason: i64, head: dict[str, object] | None) -> None:
        """A message that sleeps is dead. head: headers that its dead letter gets besides."""
        graves = self.graves
        if graves is None:
            lane.remove(seq, True)
        else:
            if head is None and self.attempts is not None:
                head = self.attempts.head_of(lane, seq)
            graves.add(lane, seq, reason, head)

    def is_full(self, m: Message) -> bool:
        """Whether this message would be one too many (rabbit_amqqueue_process: will_overflow). What consumers have
        credit for does not wait, also if it has to wait for the disk or for the end of a transaction.
        """
        rules = self.rules
        if rules is None or not rules.limits:
            return False
        ready: i64 = self.ready_count()
        n_bytes = self.ready_bytes()
        if self.groups is None and ready > 0:
            for c in self.consumers or []:
                if is_active(c):
                    ready -= c.credit()
            if ready <= 0:
                ready = 0
                n_bytes = 0
        if rules.max_length >= 0 and ready >= rules.max_length:
            return True
        return rules.max_bytes >= 0 and n_bytes + m.size_bytes > rules.max_bytes

    def key_for_window(self, m: Message) -> bytes:
        return b"" if self.window is None else key_of(m, self.window.header)

    def key_for_unique(self, m: Message) -> bytes:
        return b"" if self.unique is None else key_of(m, self.unique.header)

    def refuses(self, m: Message) -> bool:
        """A publish that finds the queue full, where it was declared to refuse those. What was delayed is not refused,
        though it may go on to where dead letters go."""
        rules = self.rules
        if rules is None or rules.overflow == DROP_HEAD or not self.is_full(m):
            return False
        terms = m.terms
        if terms is not None and terms.due_ms > self.turn.now_ms:
            return False  # it takes no room before it is due
        if self.home.due_now and (rules.overflow != REJECT_DLX or self.graves is None):
            return False  # it was confirmed long ago: nobody is left who could be told
        # Not in a transaction: that deliveries were made must not wait for its end, as far as the journal is concerned.
        if self.dirty and not self.home.journal.in_tx():
            self.pump()
            if not self.is_full(m):
                return False
        self.refused += 1
        if rules.overflow == REJECT_DLX and self.graves is not None:
            self.graves.publish(m, MAXLEN, None, 0, None)
        return True

    def trim(self) -> None:
        """Drop from the head what is too much."""
        rules = self.rules
        if rules is None or not rules.limits or rules.overflow != DROP_HEAD:
            return
        while True:
            too_many = rules.max_length >= 0 and i64(self.ready_count()) > rules.max_length
            if not too_many and (rules.max_bytes < 0 or self.ready_bytes() <= rules.max_bytes):
                return
            lane = self.lowest_lane() if self.ranks else self.top_lane()
            seq = lane.front_ready()
            if seq < 0:
                return
            lane.seize(seq)
            self.dropped += 1
            self.bury_later(lane, seq, MAXLEN, None)

    def purge(self) -> int:
        n: i64 = 0
        for lane in self.all_lanes():
            n += lane.purge()
        if self.attempts is not None:
            n += self.attempts.purge()
        return int(n)

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
        if self.attempts is not None:
            self.attempts.drop()
        for lane in self.all_lanes():
            lane.drop()

    def _cancel_all(self) -> None:
        consumers = self.consumers
        self.consumers = None
        self.tiers = None
        self.alone = None
        if consumers is not None:
            for c in consumers:
                c.active = False
                c.cancelled()


class Getter(Consumer):
    """A consumer of one message: the answer to one get."""

    def nothing(self) -> None:
        """There is no message."""
        raise NotImplementedError
