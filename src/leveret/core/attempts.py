"""What became of a message's deliveries so far: how often it was handed out, how often that failed, when it is tried
again, and when there were enough attempts.

A queue has `Attempts` if it counts (quorum queues, as RabbitMQ's) or has a retry policy. Only messages that came back
are known here; what is known of one is journaled as its note. One that waits for its retry sleeps in its place in its
lane: no consumer has it, and its content need not be in memory.

As in RabbitMQ 4.3 (rabbit_fifo:incr_msg_headers) every return counts as acquired, and as a failed delivery only what
was MODIFIED, rejected, or lost with its consumer. What was RELEASED, or not settled in time, is no failed delivery to
a delivery limit; a retry policy counts rejections, losses and what was not settled in time.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from leveret.core.destination import Table
from leveret.core.graves import DELIVERY_LIMIT, REJECTED
from leveret.core.lane import Lane
from leveret.core.page import ASLEEP
from leveret.core.paging import PagedLane
from leveret.core.retry import RetryPolicy, policy_of, read_policy
from leveret.core.rules import DELAY_FAILED, DELAY_NONE, DELAY_RETURNED, Rules
from leveret.core.timetable import MESSAGE, Client, Timetable, seq_of
from leveret.core.view import view_of
from leveret.core.watching import Watcher
from leveret.errors import Damaged, PreconditionFailed
from leveret.journal import StateSink
from leveret.message import Message
from leveret.native import i32, i64
from leveret.wire.field import Timestamp

if TYPE_CHECKING:
    from leveret.core.queue import Queue

RETRY: Final = "x-retry"
CHANCE: Final = random.Random()
HISTORY: Final[i64] = 32  # failures that are remembered of one message, the last ones
WAKES: Final[i64] = 16_384  # of one tick
DECISIONS: Final[i64] = 2_048  # of one queue in one turn

# Why a delivery failed, as a retry policy counts.
FAILED_REJECTED: Final[i64] = 1
FAILED_TIMED_OUT: Final[i64] = 2
FAILED_LOST: Final[i64] = 3
FAILURES: Final = ("", "rejected", "timed-out", "consumer-lost")

# Notes: | 1 | reason u8 | acquired i32 | count i32 | retries i32 | due ms i64 | (time ms i64, reason u8, attempt i32) ... |
# due ms: when it is tried again, 0 if it is not asleep, -r if it is dead with reason r and to be buried.
NOTE_BYTES: Final[i64] = 22
FAILURE_BYTES: Final[i64] = 13


@final
class Tried:
    """A message that came back. count: failed deliveries as RabbitMQ counts; retries: failures as a policy counts."""

    def __init__(self) -> None:
        self.acquired: i64 = 0
        self.count: i64 = 0
        self.retries: i64 = 0
        self.reason: i64 = 0  # of the last failure
        self.due_ms: i64 = 0
        self.history = b""

    def failed(self, reason: i64, now_ms: i64) -> None:
        self.retries += 1
        self.reason = reason
        w = BytesWriter()
        write_i64_be(w, now_ms)
        w.append(reason)
        write_i32_be(w, i32(self.retries))
        self.history = (self.history + w.getvalue())[-int(HISTORY * FAILURE_BYTES) :]

    def note(self) -> bytes:
        w = BytesWriter()
        w.append(1)
        w.append(self.reason)
        write_i32_be(w, i32(self.acquired))
        write_i32_be(w, i32(self.count))
        write_i32_be(w, i32(self.retries))
        write_i64_be(w, self.due_ms)
        w.write(self.history)
        return w.getvalue()

    def headers_of_failures(self) -> Table | None:
        """What its dead letter says of its retries."""
        history = self.history
        n: i64 = len(history)
        if n == 0:
            return None
        told: list[object] = []
        at: i64 = 0
        while at < n:
            told.append(
                {
                    "time": Timestamp(int(read_i64_be(history, at) // 1_000)),
                    "reason": FAILURES[history[at + 8]],
                    "attempt": int(read_i32_be(history, at + 9)),
                }
            )
            at += FAILURE_BYTES
        return {"x-retry-history": told}


def tried_of_note(note: bytes) -> Tried:
    size: i64 = i64(len(note)) - NOTE_BYTES
    if size < 0 or note[0] != 1 or size % FAILURE_BYTES != 0 or note[1] >= len(FAILURES):
        raise Damaged("what is known of a message's attempts makes no sense")
    tried = Tried()
    tried.reason = i64(note[1])
    tried.acquired = i64(read_i32_be(note, 2))
    tried.count = i64(read_i32_be(note, 6))
    tried.retries = i64(read_i32_be(note, 10))
    tried.due_ms = read_i64_be(note, 14)
    tried.history = note[NOTE_BYTES:]
    return tried


class Sleepers(Client):
    """A lane's entries in the broker's timetable of retries."""

    def __init__(self, lane: Lane, known: LaneAttempts) -> None:
        super().__init__(lane)
        self.known = known


class LaneAttempts(Watcher):
    """What is known of the messages of one lane."""

    def __init__(self, lane: Lane, counts: bool) -> None:
        self.lane = lane
        self.counts = counts
        self.tried: dict[int, Tried] = {}
        self.asleep: i64 = 0
        self.sleepers = Sleepers(lane, self)

    def of(self, seq: i64) -> Tried:
        tried = self.tried.get(int(seq))
        if tried is None:
            tried = Tried()
            self.tried[int(seq)] = tried
        return tried

    def came_back_once(self, seq: i64, failed: bool) -> Tried:
        """One delivery more that was not accepted. failed: it counts as a failed one."""
        tried = self.of(seq)
        tried.acquired += 1
        if failed:
            tried.count += 1
        return tried

    def note(self, seq: i64, tried: Tried) -> None:
        lane = self.lane
        if lane.durable:
            lane.journal.note(lane.lid, seq, tried.note())

    def left(self, lane: PagedLane, seq: i64, m: Message | None) -> None:
        tried = self.tried.pop(int(seq), None)
        if tried is not None and tried.due_ms > 0:
            self.asleep -= 1

    def dressed(self, lane: PagedLane, seq: i64, m: Message) -> Message:
        tried = self.tried.get(int(seq))
        if tried is None:
            return m
        headers: Table = {}
        if self.counts:  # rabbit_fifo_client:add_delivery_count_header
            headers["x-acquired-count"] = int(tried.acquired if tried.acquired > 0 else tried.count)
            if tried.count > 0:
                headers["x-delivery-count"] = int(tried.count)
        if tried.retries > 0:
            headers["x-retry-count"] = int(tried.retries)
            headers["x-retry-reason"] = FAILURES[tried.reason]
        return view_of(m).delivery(m, headers)

    def wake(self, seq: i64, due_ms: i64) -> bool:
        """A message's time has come, if that is still what it waits for."""
        tried = self.tried.get(int(seq))
        if tried is None or tried.due_ms != due_ms:
            return False
        tried.due_ms = 0
        self.asleep -= 1
        return self.lane.awaken(seq)


@final
class Undecided:
    """A message that failed and sleeps; how it is to be tried again stands in its content, which is not in memory."""

    def __init__(self, known: LaneAttempts, seq: i64, reason: i64) -> None:
        self.known = known
        self.seq: i64 = seq
        self.reason: i64 = reason


@final
class Attempts:
    """Of one queue."""

    def __init__(self, queue: Queue, rules: Rules) -> None:
        self.queue = queue
        self.rules = rules
        self.known: dict[int, LaneAttempts] = {}  # by lane
        self.undecided: deque[Undecided] = deque()
        self.retried: i64 = 0

    def of(self, lane: Lane) -> LaneAttempts:
        known = self.known.get(int(lane.lid))
        if known is None:
            known = LaneAttempts(lane, self.rules.counts)
            self.known[int(lane.lid)] = known
            lane.watch(known)  # not before something came back: who never fails pays nothing
        return known

    # ---- deliveries that come back

    def returned(self, lane: Lane, first: i64, last: i64, failed: bool) -> None:
        """Back to their places by the consumer's own word."""
        rules = self.rules
        if not rules.counts:
            lane.requeue(first, last, True)
            return
        known = self.of(lane)
        seq = first
        while seq <= last:
            self._return(known, seq, failed)
            seq += 1

    def timed_out(self, lane: Lane, first: i64, last: i64) -> None:
        """Not settled in time: a failure to a retry policy, but not to a delivery limit."""
        if self.rules.retry is None:
            self.returned(lane, first, last, False)
        else:
            self._fail(lane, first, last, FAILED_TIMED_OUT, False)

    def lost(self, lane: Lane, first: i64, last: i64) -> None:
        """Their consumer is gone."""
        if self.rules.retry is None:
            self.returned(lane, first, last, True)
        else:
            self._fail(lane, first, last, FAILED_LOST, True)

    def rejected(self, lane: Lane, first: i64, last: i64, failed: bool) -> None:
        """failed: it counts as a failed delivery, should the message live on."""
        if self.rules.retry is not None:
            self._fail(lane, first, last, FAILED_REJECTED, failed)
            return
        queue = self.queue
        if queue.graves is None:
            lane.settle(first, last)
            return
        known = self.of(lane)
        seq = first
        while seq <= last:
            known.came_back_once(seq, failed)
            lane.doze(seq)
            queue.bury_later(lane, seq, REJECTED, None)
            seq += 1

    def _return(self, known: LaneAttempts, seq: i64, failed: bool) -> None:
        rules = self.rules
        lane = known.lane
        tried = known.came_back_once(seq, failed)
        if self._is_too_much(tried):
            lane.doze(seq)
            self._die(known, seq, tried, DELIVERY_LIMIT)
            return
        delays = rules.return_delay
        if (
            delays == DELAY_NONE
            or (delays == DELAY_FAILED and not failed)
            or (delays == DELAY_RETURNED and failed)
        ):
            lane.requeue(seq, seq, True)
            known.note(seq, tried)
            return
        delay = min(rules.return_delay_min_ms * max(tried.count, 1), rules.return_delay_max_ms)
        lane.doze(seq)
        self._sleep(known, seq, tried, delay)

    def _is_too_much(self, tried: Tried) -> bool:
        rules = self.rules
        return rules.counts and rules.delivery_limit >= 0 and tried.count > rules.delivery_limit

    # ---- retries

    def _fail(self, lane: Lane, first: i64, last: i64, reason: i64, failed: bool) -> None:
        known = self.of(lane)
        seq = first
        while seq <= last:
            tried = known.came_back_once(seq, failed)
            tried.failed(reason, self.queue.turn.now_ms)
            lane.doze(seq)
            if self._is_too_much(tried):
                self._die(known, seq, tried, DELIVERY_LIMIT)
            else:
                m = lane.fetch(seq)
                if m is None:
                    known.note(seq, tried)
                    self.undecided.append(Undecided(known, seq, reason))
                else:
                    self._decide(known, seq, tried, m)
            seq += 1

    def decide(self) -> None:
        """What could not be decided since a message was not in memory."""
        undecided = self.undecided
        left = DECISIONS
        while undecided:
            if left == 0:
                self.queue.wake()
                return
            waiting = undecided[0]
            known = waiting.known
            tried = known.tried.get(int(waiting.seq))
            if tried is not None and known.lane.state(waiting.seq) == ASLEEP:
                m = known.lane.fetch(waiting.seq)
                if m is None:
                    return  # `lane_ready` wakes the queue
                self._decide(known, waiting.seq, tried, m)
            undecided.popleft()
            left -= 1

    def _decide(self, known: LaneAttempts, seq: i64, tried: Tried, m: Message) -> None:
        """Try a message again later, or no more. It sleeps."""
        policy = self._policy_of(m)
        if tried.retries <= policy.tries:
            self.retried += 1
            self._sleep(known, seq, tried, policy.delay_before(tried.retries, CHANCE.random()))
        elif tried.reason == FAILED_REJECTED:
            self._die(known, seq, tried, REJECTED)
        else:
            self._die(known, seq, tried, DELIVERY_LIMIT)

    def _policy_of(self, m: Message) -> RetryPolicy:
        own = policy_of(view_of(m).header(m, RETRY))
        if own is not None:
            return own
        policy = self.rules.retry
        assert policy is not None
        return policy

    def _sleep(self, known: LaneAttempts, seq: i64, tried: Tried, delay_ms: i64) -> None:
        """Until it is due; journaled."""
        queue = self.queue
        tried.due_ms = max(queue.turn.now_ms + delay_ms, 1)
        known.asleep += 1
        known.note(seq, tried)
        queue.home.broker.retries.add(known, tried.due_ms, seq)

    def _die(self, known: LaneAttempts, seq: i64, tried: Tried, reason: i64) -> None:
        if self.queue.graves is not None:
            tried.due_ms = -reason
            known.note(seq, tried)
        self.queue.bury_later(known.lane, seq, reason, None)

    # ---- what others ask

    def count_of(self, lane: Lane, seq: i64) -> i64:
        """How many deliveries of a message have failed, where that is counted."""
        known = self.known.get(int(lane.lid))
        tried = None if known is None or not known.counts else known.tried.get(int(seq))
        return 0 if tried is None else tried.count

    def waits(self, lane: Lane, seq: i64) -> bool:
        """Whether a message is to be tried again later."""
        known = self.known.get(int(lane.lid))
        tried = None if known is None else known.tried.get(int(seq))
        return tried is not None and tried.due_ms > 0

    def head_of(self, lane: Lane, seq: i64) -> Table | None:
        """Headers that a message's dead letter gets besides."""
        known = self.known.get(int(lane.lid))
        tried = None if known is None else known.tried.get(int(seq))
        return None if tried is None else tried.headers_of_failures()

    def sleeping(self) -> int:
        """How many wait for another try."""
        n: i64 = len(self.undecided)
        for known in self.known.values():
            n += known.asleep
        return int(n)

    def purge(self) -> i64:
        """Drop what waits for another try (as rabbit_fifo does). Returns how many."""
        n: i64 = 0
        for waiting in self.undecided:
            if waiting.known.lane.remove(waiting.seq, True):
                n += 1
        self.undecided.clear()
        for known in self.known.values():
            for seq in [seq for seq, tried in known.tried.items() if tried.due_ms > 0]:
                if known.lane.remove(seq, True):
                    n += 1
        return n

    def drop(self) -> None:
        """The queue is gone."""
        self.undecided.clear()
        for known in self.known.values():
            self.queue.home.broker.retries.drop(known)

    # ---- across a restart

    def notes(self, lane: Lane, out: StateSink) -> None:
        known = self.known.get(int(lane.lid))
        if known is not None:
            for seq, tried in known.tried.items():
                out.note(lane.lid, seq, tried.note())

    def restored(self, lane: Lane, seq: i64, note: bytes) -> None:
        tried = tried_of_note(note)
        known = self.of(lane)
        known.tried[int(seq)] = tried
        if tried.due_ms == 0:
            lane.flag(seq)
        elif lane.seize(seq):
            if tried.due_ms > 0:
                known.asleep += 1
                self.queue.home.broker.retries.add(known, tried.due_ms, seq)
            else:
                self.queue.bury_later(lane, seq, -tried.due_ms, None)

    def inherit(self, lane: Lane, seq: i64, count: i64) -> None:
        """A dead letter of a queue that counts: it goes on counting here (rabbit_fifo:maybe_set_msg_delivery_count)."""
        if not self.rules.counts:
            return
        known = self.of(lane)
        tried = known.of(seq)
        tried.count = count
        lane.flag(seq)
        known.note(seq, tried)


@final
class Retries:
    """All messages of a broker that wait for another try."""

    def __init__(self) -> None:
        self.timetable = Timetable()

    def add(self, known: LaneAttempts, due_ms: i64, seq: i64) -> None:
        self.timetable.add(known.sleepers, due_ms, MESSAGE, seq)

    def drop(self, known: LaneAttempts) -> None:
        self.timetable.drop(known.sleepers)

    def run(self, now_ms: i64) -> bool:
        """Wake what is due. True if there is more to do now."""
        timetable = self.timetable
        next_ms = timetable.next_ms()
        if next_ms < 0 or next_ms > now_ms:
            return False
        for due_ms, entry in timetable.pop_due(now_ms, WAKES):
            client = timetable.client_of(entry)
            assert isinstance(client, Sleepers)
            if not client.gone and client.known.wake(seq_of(entry, client.lane), due_ms):
                client.lane.owner.lane_ready()
        return 0 <= timetable.next_ms() <= now_ms


def check_retry(queues: list[Queue], m: Message) -> None:
    """What a message says of its retries, if a queue that it goes to listens. Raises PreconditionFailed."""
    for queue in queues:
        rules = queue.rules
        if rules is not None and rules.retry is not None:
            value = view_of(m).header(m, RETRY)
            if value is not None:
                wrong = read_policy(value).wrong
                if wrong:
                    raise PreconditionFailed(f"invalid header '{RETRY}': {wrong}")
            return
