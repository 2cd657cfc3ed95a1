"""What goes by itself when its time is up: messages of queues with `x-message-ttl`, messages with an `expiration`,
and queues with `x-expires`.

A message's time is counted from when it was published, by the wall clock, also over restarts. The messages of a queue
with a time to live are in order of their deadlines, so only the one at the front is looked at. Those with a time of
their own are entered in a timetable: at once if it is short, else their page is, and they follow when a part of
their time is over, if they still wait then: most have been delivered. A page that is not in memory is read when
that time comes, or dropped whole if all of it is too old. A message leaves up to a tenth of a second late, never early.

`x-expires` is counted anew after a restart, as RabbitMQ does.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, final

from leveret.core.death import EXPIRED
from leveret.core.holder import FIRST_DELAYED
from leveret.core.lane import Lane
from leveret.core.page import COLD, GONE, LOADING, OUT, Page
from leveret.core.paging import LaneTask
from leveret.core.serving import is_active
from leveret.core.timetable import LANE, MESSAGE, PAGE, Client, Timetable, kind_of, seq_of
from leveret.core.wheel import ENTRY_BYTES, Slot, first_of
from leveret.journal import LANE_INDEX_SHIFT
from leveret.message import Message, Terms
from leveret.native import i64
from leveret.ranges import Ranges

if TYPE_CHECKING:
    from leveret.core.queue import Queue
    from leveret.core.turn import Turn
    from leveret.journal import Pager

TICK_MS: Final[i64] = 100
SHORT_MS: Final[i64] = 8_000  # messages with so little time are entered at once
ENTRIES: Final[i64] = 16_384  # looked at in one turn, at most
GRAVES: Final[i64] = 4_096  # messages of a queue that wait to be buried
READS: Final[i64] = 4  # pages on their way at once
AGAIN_MS: Final[i64] = 50  # to the next try, when a page cannot be had now
GRACE_MS: Final[i64] = 1_000  # for the disk, which a delivery of what expires at once waits for


@final
class TimedLane(Client):
    """A lane with messages that expire. ttl_ms: of all in its queue, -1 for none."""

    def __init__(self, lane: Lane, queue: Queue, ttl_ms: i64) -> None:
        super().__init__(lane)
        self.queue = queue
        self.ttl_ms: i64 = ttl_ms
        self.planned_ms: i64 = -1  # when the front is looked at; no ready message expires before
        self.since_ms: i64 = -1  # messages that have no stamp came then, for all we know
        self.restored_below: i64 = 0
        self.watched = False  # something is out: look ten times a second whether anything came back
        self.returns: i64 = 0  # what the lane had counted then
        self.missed: Ranges | None = None  # were not ready when their time was up
        self.prune_at = 64
        self.dying: Slot | None = None  # asleep, and to be buried
        self.failed = False  # cannot be read


@final
class LookTask(LaneTask):
    def __init__(self, timed: TimedLane, page: Page, expiry: Expiry) -> None:
        super().__init__(timed.lane, page)
        self.timed = timed
        self.expiry = expiry

    def finished(self, error: str) -> None:
        self.expiry.reading -= 1
        if error:
            self.timed.failed = True
        self.owner.page_loaded(self.page, self.data, error)
        self.expiry.page_came(self.timed, self.page)


class Expiry:
    def __init__(self, turn: Turn, pager: Pager) -> None:
        self.turn = turn
        self.pager = pager
        self.timetable = Timetable()
        self.lanes: dict[int, TimedLane] = {}
        self.watched: list[TimedLane] = []
        self.burying: list[TimedLane] = []
        self.leases: list[tuple[int, int]] = []  # a heap: when a queue is to be looked at, its number
        self.leased: dict[int, Queue] = {}
        self.reading: i64 = 0  # pages on their way

    # ---- messages

    def enter(self, queue: Queue, lane: Lane, seq: i64, terms: Terms) -> None:
        """A message that was just published, and that may expire."""
        ttl = ttl_of(queue)
        own = terms.ttl_ms
        if ttl < 0 and own < 0:
            return
        if ttl == 0 or own == 0:
            if queue.instant is None:
                queue.instant = []
            queue.instant.append((lane, int(seq)))
            return
        timed = self._timed(queue, lane, ttl)
        if ttl >= 0:
            self._plan(timed, self.turn.now_ms + ttl)
            if own < 0 or own >= ttl:
                return
        if own <= SHORT_MS:
            self.timetable.add(timed, terms.stamp_ms + own, MESSAGE, seq)
            return
        page = lane.page_with(seq)
        if page is not None:
            self._plan_page(timed, page, terms.stamp_ms + own // 4, own)

    def _timed(self, queue: Queue, lane: Lane, ttl: i64) -> TimedLane:
        timed = self.lanes.get(int(lane.lid))
        if timed is None:
            timed = TimedLane(lane, queue, ttl)
            timed.returns = lane.returns
            self.lanes[int(lane.lid)] = timed
        return timed

    def _plan(self, timed: TimedLane, at_ms: i64) -> None:
        """Look at the front then."""
        if timed.planned_ms < 0 or at_ms < timed.planned_ms:
            timed.planned_ms = at_ms
            self.timetable.add(timed, at_ms, LANE, 0)

    def _plan_page(self, timed: TimedLane, page: Page, at_ms: i64, ttl_ms: i64) -> None:
        """Look at a page then, or a little earlier, so that it need not be planned anew for each of its messages."""
        if page.look_ms == 0 or at_ms < page.look_ms:
            step: i64 = 1
            while step < ttl_ms // 16:
                step <<= 1
            page.look_ms = at_ms - at_ms % step
            self.timetable.add(timed, page.look_ms, PAGE, page.base)

    def restored(self, queue: Queue) -> None:
        """All of a queue's lanes are back."""
        self.lease(queue)
        ttl = ttl_of(queue)
        for lane in queue.all_lanes():
            pages = lane.pages
            if pages is None or lane.lid >> LANE_INDEX_SHIFT >= FIRST_DELAYED:
                continue
            timed = TimedLane(lane, queue, ttl)
            timed.restored_below = lane.next_seq
            timed.returns = lane.returns
            for page in pages:
                if page.in_memory():
                    self._look(timed, page)
                elif page.next_ms != 0:
                    self.timetable.add(timed, page.next_ms - SHORT_MS, PAGE, page.base)
            if ttl >= 0:
                self._plan(timed, 0)
            if timed.entries > 0:
                self.lanes[int(lane.lid)] = timed

    def forget(self, queue: Queue) -> None:
        """A queue is gone."""
        self.leased.pop(int(queue.qid), None)
        for lane in queue.all_lanes():
            timed = self.lanes.pop(int(lane.lid), None)
            if timed is not None:
                self.timetable.drop(timed)

    # ---- time

    def run(self) -> bool:
        """Let go of what is too old. True if there is more to do now."""
        now = self.turn.now_ms
        if self.burying:
            self._bury()
        at = self.timetable.next_ms()
        if at < 0 or at > now:
            return False
        for _, raw in self.timetable.pop_due(now, ENTRIES):
            entry = i64(raw)
            timed = self.timetable.client_of(entry)
            assert isinstance(timed, TimedLane)
            if timed.gone or timed.failed:
                continue
            kind = kind_of(entry)
            seq = seq_of(entry, timed.lane)
            if kind == MESSAGE:
                self._expire(timed, seq)
            elif kind == PAGE:
                page = timed.lane.page_with(seq)
                if page is not None:
                    self._visit(timed, page)
            elif timed.planned_ms >= 0 and timed.planned_ms <= now:
                timed.planned_ms = -1
                self._sweep(timed)
        return 0 <= self.timetable.next_ms() <= now

    def end_instant(self, queue: Queue) -> None:
        """The queue has handed out what it could: messages with no time at all go (RabbitMQ: unless they are delivered
        at once), but if somebody wants them and has only to wait for the disk, after
        that, or GRACE_MS later."""
        instant = queue.instant
        queue.instant = None
        wanted = False
        for c in queue.consumers or []:
            if c.credit() > 0 and is_active(c):
                wanted = True
        kept: list[tuple[Lane, int]] = []
        for lane, mark in instant or []:
            seq = mark if mark >= 0 else ~mark  # what has been kept before is marked
            timed = self._timed(queue, lane, ttl_of(queue))
            if not wanted or lane.state(seq) >= OUT:
                self._expire(timed, seq)  # one that is out goes if it comes back
                continue
            if mark >= 0:
                self.timetable.add(timed, self.turn.now_ms + GRACE_MS, MESSAGE, seq)
            kept.append((lane, ~seq))
        if kept:
            queue.instant = kept
        if self.burying:
            self._bury()

    def _expire(self, timed: TimedLane, seq: i64) -> None:
        """A message's time is up."""
        lane = timed.lane
        state = lane.state(seq)
        if state == GONE:
            return
        if state >= OUT:
            if timed.missed is None:
                timed.missed = Ranges()
            timed.missed.add(seq, seq)
            self._watch(timed)
        elif timed.queue.graves is None:
            timed.queue.expired += lane.drop_one(seq)
        else:
            self._doom(timed, seq)

    def _doom(self, timed: TimedLane, seq: i64) -> None:
        timed.lane.seize(seq)
        timed.queue.expired += 1
        dying = timed.dying
        if dying is None:
            dying = Slot()
            timed.dying = dying
            self.burying.append(timed)
        dying.add(seq, 0)

    def _bury(self) -> None:
        """Give dead messages to their queues, as these get on with burying them."""
        left: list[TimedLane] = []
        for timed in self.burying:
            dying = timed.dying
            graves = timed.queue.graves
            if dying is None or graves is None or timed.gone:
                continue
            room = GRAVES - i64(len(graves.waiting))
            while room > 0:
                chunk = dying.chunk()
                if dying.read == i64(len(chunk)):
                    break
                timed.queue.bury_later(timed.lane, first_of(chunk, dying.read), EXPIRED, None)
                dying.read += ENTRY_BYTES
                if dying.read == i64(len(chunk)):
                    dying.chunk_read()
                room -= 1
            if dying.empty():
                timed.dying = None
            else:
                left.append(timed)
        self.burying = left

    # ---- the front of a lane whose messages all have the same time

    def _sweep(self, timed: TimedLane) -> None:
        """Let go of what is too old at the front, and plan the next look."""
        now = self.turn.now_ms
        lane = timed.lane
        if timed.since_ms < 0:
            timed.since_ms = now
        while not timed.failed:
            seq = lane.front_ready()
            if seq < 0:
                break
            page = lane.find(seq)
            assert page is not None
            below = self._too_old(timed, page, seq, now)
            if below == seq:
                break
            if timed.queue.graves is None:
                timed.queue.expired += lane.drop_below(below)
            else:
                while 0 <= seq < below:
                    self._doom(timed, seq)
                    seq = lane.front_ready()
        if lane.out > 0:
            self._watch(timed)

    def _too_old(self, timed: TimedLane, page: Page, seq: i64, now: i64) -> i64:
        """From `seq` on up to which number messages of this page are too old. Plans the next look if none is."""
        messages = page.messages
        if messages is None:
            first = page.first_stamp_ms if page.first_stamp_ms >= 0 else timed.since_ms
            if first + timed.ttl_ms > now:
                self._plan(timed, first + timed.ttl_ms)
                return seq
            behind = timed.lane.page_with(page.base + page.count)
            if behind is not None and self._first_stamp_ms(timed, behind) + timed.ttl_ms <= now:
                return behind.base
            if not self._load(timed, page):
                self._plan(timed, now + AGAIN_MS)
            return seq
        slot = seq - page.base
        while slot < page.count:
            m = messages[slot]
            if m is not None:
                at = self._stamp_ms(timed, m) + timed.ttl_ms
                if at > now:
                    if page.base + slot == seq:
                        self._plan(timed, at)
                    break
            slot += 1
        return page.base + slot

    def _stamp_ms(self, timed: TimedLane, m: Message) -> i64:
        terms = m.terms
        return timed.since_ms if terms is None else terms.stamp_ms

    def _first_stamp_ms(self, timed: TimedLane, page: Page) -> i64:
        """No message of this page is older; those of the pages before it are."""
        messages = page.messages
        if messages is not None:
            for m in messages:
                if m is not None:
                    return self._stamp_ms(timed, m)
        return page.first_stamp_ms if page.first_stamp_ms >= 0 else timed.since_ms

    # ---- pages of messages with times of their own

    def _visit(self, timed: TimedLane, page: Page) -> None:
        if page.in_memory():
            self._look(timed, page)
        elif not self._load(timed, page):
            self.timetable.add(timed, self.turn.now_ms + AGAIN_MS, PAGE, page.base)

    def _load(self, timed: TimedLane, page: Page) -> bool:
        """Have a page loaded: `page_came` follows. False if that cannot be now."""
        if page.place != COLD or self.reading >= READS:
            return False
        page.place = LOADING
        self.reading += 1
        self.pager.get(LookTask(timed, page, self))
        return True

    def page_came(self, timed: TimedLane, page: Page) -> None:
        if timed.gone or timed.failed or page.dropped:
            return
        self._look(timed, page)
        if timed.ttl_ms >= 0 and timed.planned_ms < 0:
            self._plan(timed, self.turn.now_ms)
        if self.pager.resident_bytes > self.pager.limit_bytes // 2:
            timed.lane.store(page)

    def _look(self, timed: TimedLane, page: Page) -> None:
        """Enter the messages of a page that have waited for an eighth of their time or are near its end, and plan to
        look again when another has waited for a quarter of it: so a page is looked at a few times in all, and what is
        entered and then delivered is never more than a part of what waits."""
        messages = page.messages
        assert messages is not None
        now = self.turn.now_ms
        before = page.looked_ms
        fresh = page.base >= timed.restored_below
        next_ms: i64 = 0
        wait: i64 = 0
        slot: i64 = 0
        while slot < page.count:
            m = messages[slot]
            slot += 1
            if m is None:
                continue
            terms = m.terms
            if terms is None:
                continue
            ttl = terms.ttl_ms
            if ttl < 0 or 0 <= timed.ttl_ms <= ttl:
                continue
            at = terms.stamp_ms + ttl
            if ttl <= SHORT_MS:
                if fresh or before >= 0:
                    continue
            elif before >= 0 and is_near(terms, before):
                continue
            elif not is_near(terms, now):
                quarter = terms.stamp_ms + ttl // 4
                if next_ms == 0 or quarter < next_ms:
                    next_ms = quarter
                    wait = ttl
                continue
            self.timetable.add(timed, at, MESSAGE, page.base + slot - 1)
        page.looked_ms = now
        page.look_ms = 0
        if next_ms != 0:
            self._plan_page(timed, page, next_ms, wait)

    # ---- ten times a second

    def _watch(self, timed: TimedLane) -> None:
        if not timed.watched:
            timed.watched = True
            timed.queue.late = True
            self.watched.append(timed)

    def tick(self, mono_ms: i64) -> None:
        """mono_ms: a clock that is never set."""
        self.turn.tick_ms = mono_ms
        self._end_leases(mono_ms)
        watched = self.watched
        if watched:
            self.watched = []
            for timed in watched:
                timed.watched = False
                if not timed.gone:
                    self._look_after(timed)

    def end_late(self, queue: Queue) -> None:
        """The queue is about to hand out: not what has come back too late."""
        for lane in queue.all_lanes():
            timed = self.lanes.get(int(lane.lid))
            if timed is not None and timed.watched and lane.returns != timed.returns:
                self._end_returned(timed)

    def _end_returned(self, timed: TimedLane) -> None:
        timed.returns = timed.lane.returns
        if timed.missed is not None:
            self._prune(timed, timed.missed, True)
        if timed.ttl_ms >= 0:
            self._sweep(timed)

    def _look_after(self, timed: TimedLane) -> None:
        lane = timed.lane
        missed = timed.missed
        if lane.returns != timed.returns:
            self._end_returned(timed)
        elif missed is not None and len(missed.firsts) > timed.prune_at:
            self._prune(timed, missed, False)
        if lane.out > 0 and (timed.missed is not None or timed.ttl_ms >= 0):
            self._watch(timed)
        elif lane.out == 0:
            timed.missed = None
        if not timed.watched:
            timed.queue.late = False

    def _prune(self, timed: TimedLane, missed: Ranges, expire: bool) -> None:
        """Forget what is gone of the messages that were not ready in time; those that are now go."""
        timed.missed = None
        lane = timed.lane
        kept = Ranges()
        i: i64 = 0
        while i < i64(len(missed.firsts)):
            seq: i64 = missed.firsts[i]
            while seq <= i64(missed.lasts[i]):
                state = lane.state(seq)
                if state < OUT and expire:
                    self._expire(timed, seq)
                elif state != GONE:
                    kept.add(seq, seq)
                seq += 1
            i += 1
        if kept.firsts:
            timed.missed = kept
            timed.prune_at = 64 + 2 * len(kept.firsts)

    # ---- queues

    def lease(self, queue: Queue) -> None:
        """A queue that goes when it is not used for so long, if it says so."""
        rules = queue.rules
        if rules is not None and rules.expires_ms >= 0:
            self.leased[int(queue.qid)] = queue
            heapq.heappush(self.leases, (int(self.turn.tick_ms + rules.expires_ms), int(queue.qid)))

    def _end_leases(self, now: i64) -> None:
        leases = self.leases
        while leases and i64(leases[0][0]) <= now:
            _, qid = heapq.heappop(leases)
            queue = self.leased.get(qid)
            rules = None if queue is None else queue.rules
            if queue is None or rules is None:
                continue
            if queue.used_ms < 0 or queue.consumer_count() > 0:
                queue.used_ms = now
            until = queue.used_ms + rules.expires_ms + TICK_MS  # `used_ms` may be so much too early
            if until > now:
                heapq.heappush(leases, (int(until), qid))
            else:
                queue.home.expire_queue(queue)


def ttl_of(queue: Queue) -> i64:
    """How long messages of the queue may wait, -1 for ever."""
    rules = queue.rules
    return -1 if rules is None else rules.ttl_ms


def is_near(terms: Terms, now: i64) -> bool:
    """A message's time is up soon, or it has waited for a good part of it."""
    return terms.stamp_ms + terms.ttl_ms <= now + SHORT_MS or (now - terms.stamp_ms) * 8 >= terms.ttl_ms
