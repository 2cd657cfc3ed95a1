"""A session: what one channel, link set or subscription set has received and not settled.

Deliveries are numbered by tag, from 1, and kept as runs: consecutive tags of one consumer with consecutive sequence
numbers are one small object, however many they are. It maps tags to positions in lanes; wire formats are not its
business.
"""

from __future__ import annotations

from leveret.core.consumer import Consumer
from leveret.core.lane import Lane
from leveret.limits import LATE_RUNS
from leveret.message import ACCEPTED, DISCARDED, MODIFIED, REJECTED
from leveret.native import i64


class Run:
    """Deliveries tag..tag+count-1 of one lane to one consumer: messages seq..seq+count-1."""

    def __init__(self, tag: i64, seq: i64, count: i64, lane: Lane, consumer: Consumer) -> None:
        self.tag: i64 = tag
        self.seq: i64 = seq
        self.count: i64 = count
        self.lane = lane
        self.consumer = consumer


class Session:
    def __init__(self) -> None:
        self.prefetch: i64 = 0  # over all of its consumers; 0: no limit
        self.out: i64 = 0
        self.pulled: i64 = 0  # of those, asked for one by one
        self.next_tag: i64 = 1
        self.runs: list[Run] = []
        self.head: i64 = 0  # runs before it are settled
        self.late: list[Run] | None = (
            None  # taken back, since it took too long; the other side has them in hand
        )
        self.late_below: i64 = 0  # so may be lower tags, and are known no more
        self.consumers: dict[str, Consumer] = {}

    def open_for_deliveries(self) -> bool:
        """Whether the other side can take more now."""
        return True

    def note(self, consumer: Consumer, lane: Lane, seq: i64) -> i64:
        """A delivery that has to be settled. Returns its tag."""
        tag = self.next_tag
        self.next_tag = tag + 1
        self.out += 1
        consumer.out += 1
        runs = self.runs
        n: i64 = len(runs)
        if n > self.head:
            last = runs[n - 1]
            count = last.count
            if (
                last.seq + count == seq
                and last.tag + count == tag
                and last.consumer is consumer
                and last.lane is lane
            ):
                last.count = count + 1
                return tag
        runs.append(Run(tag, seq, 1, lane, consumer))
        return tag

    def skip_tag(self) -> i64:
        """A delivery that needs no settling uses a tag all the same."""
        tag = self.next_tag
        self.next_tag = tag + 1
        return tag

    def settle(self, tag: i64, multiple: bool, outcome: i64) -> bool:
        """Settle one delivery, or all up to a tag (0: all). False if there is no such delivery."""
        runs = self.runs
        n: i64 = len(runs)
        if multiple:
            if tag == 0:
                tag = self.next_tag - 1
            elif self._find(tag) < 0 and not self._is_late(tag):
                return False
            if self.late is not None:
                self._drop_late(0, tag)
            while self.head < n:
                run = runs[self.head]
                if run.tag > tag:
                    break
                count = tag - run.tag + 1
                if count >= run.count:
                    self.head += 1
                    self._finish(run.consumer, run.lane, run.seq, run.count, outcome)
                else:
                    first = run.seq
                    run.tag += count
                    run.seq += count
                    run.count -= count
                    self._finish(run.consumer, run.lane, first, count, outcome)
            self._trim()
            return True
        if self.head < n:
            run = runs[self.head]
            if run.tag == tag and run.count > 1:  # one by one and in order, as most do
                seq = run.seq
                run.tag = tag + 1
                run.seq = seq + 1
                run.count -= 1
                self._finish(run.consumer, run.lane, seq, 1, outcome)
                return True
        i = self._find(tag)
        if i < 0:
            return self._drop_late(tag, tag)
        run = self._cut(i, tag)
        self._finish(run.consumer, run.lane, run.seq, 1, outcome)
        return True

    def take(self, tag: i64, multiple: bool) -> list[Run] | None:
        """Take deliveries out without settling them, for a transaction. None if there is no such delivery."""
        if not multiple:
            i = self._find(tag)
            if i < 0:
                return [] if self._drop_late(tag, tag) else None
            return [self._cut(i, tag)]
        if tag == 0:
            tag = self.next_tag - 1
        elif self._find(tag) < 0 and not self._is_late(tag):
            return None
        self._drop_late(0, tag)
        taken: list[Run] = []
        while self.head < i64(len(self.runs)) and self.runs[self.head].tag <= tag:
            run = self.runs[self.head]
            count = min(tag - run.tag + 1, run.count)
            taken.append(Run(run.tag, run.seq, count, run.lane, run.consumer))
            run.tag += count
            run.seq += count
            run.count -= count
            if run.count == 0:
                self.head += 1
        self._trim()
        return taken

    def put_back(self, taken: list[Run]) -> None:
        """Deliveries that were taken are unsettled again."""
        self.runs = sorted(self.runs[self.head :] + taken, key=tag_of)
        self.head = 0

    def finish(self, run: Run, outcome: i64) -> None:
        """Settle deliveries that were taken."""
        self._finish(run.consumer, run.lane, run.seq, run.count, outcome)

    def _cut(self, i: i64, tag: i64) -> Run:
        """Take one delivery out of a run. Returns it as a run of its own."""
        runs = self.runs
        run = runs[i]
        at = tag - run.tag
        one = Run(tag, run.seq + at, 1, run.lane, run.consumer)
        if run.count == 1:
            if i == self.head:
                self.head += 1
                self._trim()
            else:
                del runs[i]
        elif at == 0:
            run.tag += 1
            run.seq += 1
            run.count -= 1
        elif at == run.count - 1:
            run.count -= 1
        else:
            rest = Run(tag + 1, run.seq + at + 1, run.count - at - 1, run.lane, run.consumer)
            run.count = at
            runs.insert(i + 1, rest)
        return one

    def release_all(self, handed_out: bool) -> None:
        """All that is unsettled goes back to its place. handed_out: it counts as delivered before."""
        self._return_all(handed_out, False)

    def lose_all(self) -> None:
        """The session is lost, or ends with something unsettled: these deliveries have failed."""
        self._return_all(True, True)

    def _return_all(self, handed_out: bool, lost: bool) -> None:
        runs = self.runs
        n: i64 = len(runs)
        i = self.head
        self.runs = []
        self.head = 0
        while i < n:
            run = runs[i]
            self._give_back(run, handed_out, lost)
            i += 1
        self._drop_late(0, self.next_tag)
        self.late_below = 0
        self.out = 0

    # ---- what takes too long

    def give_up(self, below: i64, limit_ms: i64) -> None:
        """Take back the deliveries with tags below this one whose consumers have this limit. They keep on counting
        as what the other side has in hand, until it settles them, which changes nothing then."""
        runs = self.runs
        n: i64 = len(runs)
        i = self.head
        if i >= n or runs[i].tag >= below:
            return
        stop = i
        overdue = False
        while stop < n and runs[stop].tag < below:
            overdue = overdue or runs[stop].consumer.timeout_ms == limit_ms
            stop += 1
        if not overdue or self.ends_overdue(limit_ms):
            return
        kept: list[Run] = []
        found: list[Run] = []
        while i < stop:
            run = runs[i]
            if run.consumer.timeout_ms == limit_ms:
                count = min(run.count, below - run.tag)
                found.append(Run(run.tag, run.seq, count, run.lane, run.consumer))
                run.tag += count
                run.seq += count
                run.count -= count
            if run.count > 0:
                kept.append(run)
            i += 1
        self.runs = kept + runs[stop:]
        self.head = 0
        for run in found:
            self._take_back(run)

    def ends_overdue(self, limit_ms: i64) -> bool:
        """Something was not settled in time. True if that ends the session, and has ended it."""
        return False

    def _take_back(self, run: Run) -> None:
        late = self.late
        if late is None:
            late = []
            self.late = late
        run.consumer.late += run.count
        late.append(run)
        if len(late) > LATE_RUNS:
            self.late_below = max(self.late_below, late[0].tag + late[0].count)
            self._drop_late(0, self.late_below - 1)
        queue = run.consumer.queue
        if not queue.gone:
            queue.timeouts += run.count
            queue.timed_out(run.lane, run.seq, run.seq + run.count - 1)
            queue.wake()

    def _is_late(self, tag: i64) -> bool:
        if tag > 0 and tag < self.late_below:
            return True
        late = self.late
        if late is not None:
            for run in late:
                if run.tag <= tag < run.tag + run.count:
                    return True
        return False

    def _drop_late(self, first: i64, last: i64) -> bool:
        """The other side is done with what was taken back and has tags first..last: it has credit for as much again.
        False if there is nothing."""
        late = self.late
        if late is None:
            return 0 < first < self.late_below
        found = 0 < first < self.late_below
        left: list[Run] = []
        for run in late:
            low = max(first, run.tag)
            high = min(last, run.tag + run.count - 1)
            if low > high:
                left.append(run)
                continue
            found = True
            count = high - low + 1
            self._less_out(run.consumer, count)
            run.consumer.late -= count
            run.consumer.queue.wake()
            if high < run.tag + run.count - 1:
                rest = run.tag + run.count - 1 - high
                left.append(Run(high + 1, run.seq + run.count - rest, rest, run.lane, run.consumer))
            if low > run.tag:
                left.append(Run(run.tag, run.seq, low - run.tag, run.lane, run.consumer))
        self.late = left if left else None
        if found and self.prefetch != 0:
            self._wake_all()
        return found

    def _wake_all(self) -> None:
        for c in self.consumers.values():
            c.queue.wake()

    def consumer_of(self, tag: i64) -> Consumer | None:
        """Who got this delivery, which is unsettled. None if there is no such delivery."""
        i = self._find(tag)
        return None if i < 0 else self.runs[i].consumer

    def unsettled(self) -> list[Run]:
        return self.runs[self.head :]

    def _less_out(self, consumer: Consumer, count: i64) -> None:
        self.out -= count
        consumer.out -= count
        if consumer.pulls:
            self.pulled -= count

    def _give_back(self, run: Run, handed_out: bool, lost: bool) -> None:
        self._less_out(run.consumer, run.count)
        queue = run.consumer.queue
        if not queue.gone:
            last = run.seq + run.count - 1
            if lost:
                queue.lost(run.lane, run.seq, last)
            elif handed_out:
                queue.returned(run.lane, run.seq, last, False)
            else:
                run.lane.requeue(run.seq, last, False)
            queue.wake()

    def _finish(self, consumer: Consumer, lane: Lane, seq: i64, count: i64, outcome: i64) -> None:
        self._less_out(consumer, count)
        queue = consumer.queue
        if not queue.gone:
            if outcome == ACCEPTED:
                lane.settle(seq, seq + count - 1)
            elif outcome == REJECTED or outcome == DISCARDED:
                queue.rejected(lane, seq, seq + count - 1, outcome == REJECTED)
            else:
                queue.returned(lane, seq, seq + count - 1, outcome == MODIFIED)
            queue.wake()
        if self.prefetch != 0:
            self._wake_all()

    def _find(self, tag: i64) -> i64:
        """Index of the run that has the tag, or -1."""
        runs = self.runs
        low = self.head
        high: i64 = len(runs)
        if low < high and runs[low].tag <= tag < runs[low].tag + runs[low].count:
            return low
        while low < high:
            mid = (low + high) // 2
            run = runs[mid]
            if run.tag + run.count <= tag:
                low = mid + 1
            elif run.tag > tag:
                high = mid
            else:
                return mid
        return -1

    def _trim(self) -> None:
        if self.head > 512 or self.head >= i64(len(self.runs)):
            del self.runs[: self.head]
            self.head = 0


def tag_of(run: Run) -> int:
    return int(run.tag)
