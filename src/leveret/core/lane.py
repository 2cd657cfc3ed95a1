"""A lane: first in, first out by sequence number, in pages. An ordinary queue has one.

It knows the state of every message in it (ready, out, asleep, gone) and journals what becomes of what is persistent;
where the messages are is its base's business (paging.py). It knows nothing of consumers beyond their `deliver`, of
exchanges or protocols.
"""

from __future__ import annotations

from typing import Final

from leveret.core.consumer import Consumer
from leveret.core.page import AGAIN, ASLEEP, COLD, GONE, LOADING, OUT, READY, Page
from leveret.core.paging import LoadTask, PagedLane
from leveret.errors import Bug
from leveret.journal import FIRST_DELAYED, LANE_INDEX_SHIFT
from leveret.limits import DELIVERED_MARK_STEP
from leveret.message import Message
from leveret.native import i64, u8

STEP_MAX: Final[i64] = DELIVERED_MARK_STEP
BUSY: Final[i64] = 8  # marks in a tenth of a second from which on they are set ahead


class Lane(PagedLane):
    # ---- in

    def push(self, m: Message) -> i64:
        """Append a message. Returns its sequence number; journaling it is the caller's part (`logged`)."""
        page = self.tail
        if page is None or page.closed or page.count >= self.page_slots or page.size_bytes >= self.page_bytes:
            page = self._open()
        messages = page.messages
        assert messages is not None
        messages.append(m)
        if self.weighs:
            page.weigh(m.size_bytes)
            self.ready_bytes += m.size_bytes
        weight = m.weight_bytes()
        page.count += 1
        page.ready += 1
        page.size_bytes += weight
        self.pager.resident_bytes += weight
        self.ready += 1
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def push_asleep(self, m: Message) -> i64:
        """The same, but it sleeps at once."""
        seq = self.push(m)
        page = self.tail
        assert page is not None
        self._put_to_sleep(page, page.count - 1)
        return seq

    def _put_to_sleep(self, page: Page, slot: i64) -> None:
        """What was ready sleeps."""
        page.touch(slot + 1)[slot] = 4
        page.ready -= 1
        page.out += 1
        self.ready -= 1
        self.out += 1
        self.asleep += 1
        if self.weighs:
            self.ready_bytes -= page.weight_of(slot)

    def logged(self, seq: i64) -> None:
        """The message just pushed is in the journal's open block."""
        journal = self.journal
        page = self.tail
        if page is not None and page.segment == 0 and journal.segment != 0:
            page.segment = journal.segment
            journal.hold(page)
        if self.block != journal.block:
            self.block = journal.block
            self.block_first = seq

    # ---- out

    def front(self) -> Page | None:
        """The page at the cursor if it has something ready in memory; asks for cold ones ahead of need."""
        if self.ready == 0:
            return None
        page = self.cursor_page
        if page is None or page.ready == 0 or page.dropped:
            page = self._advance()
            if page is None:
                raise Bug("a lane has ready messages and no page with any")
        if page.place >= COLD:
            self._read_ahead(page)
            return None
        if page.stored:
            self._read_ahead(page)
        return page

    def deliver(self, c: Consumer, limit: i64) -> i64:
        """Hand up to `limit` messages to a consumer, from one page. Returns how many; 0: none can be had now."""
        page = self.front()
        if page is None:
            return 0
        slot = self.cursor
        base = page.base
        states = page.touch(slot)
        touched: i64 = len(states)
        while slot < touched and i64(states[slot]) >= OUT:
            slot += 1
        messages = page.messages
        assert messages is not None
        count = page.count
        if limit > page.ready:
            limit = page.ready
        if self.durable:
            limit = self._allowed(base + slot, limit)
            if limit == 0:
                return 0
            if count > slot + limit:  # slots that are passed over must not lead beyond what is allowed
                count = slot + limit
        no_ack = c.no_ack
        fresh = u8(3) if no_ack else u8(2)  # GONE, OUT
        below = self.redelivered_below
        weighs = self.weighs
        watcher = self.watcher
        done: i64 = 0
        weight: i64 = 0
        while done < limit and slot < count:
            redelivered = False
            if slot < touched:
                state = i64(states[slot])
                if state >= OUT:
                    slot += 1
                    continue
                redelivered = state == AGAIN
                if no_ack:
                    states[slot] = 3
                else:
                    states[slot] = 2
            else:
                states.append(fresh)
                touched += 1
            m = messages[slot]
            assert m is not None
            seq = base + slot
            if seq < below:
                redelivered = True
            if redelivered and watcher is not None:
                c.deliver(watcher.dressed(self, seq, m), self, seq, True)
            else:
                c.deliver(m, self, seq, redelivered)
            if weighs:
                self.ready_bytes -= m.size_bytes
            if no_ack:
                messages[slot] = None
                weight += m.weight_bytes()
                if m.persistent and self.durable:
                    self.journal.settle(self.lid, seq, seq)
                if watcher is not None:
                    watcher.left(self, seq, m)
            slot += 1
            done += 1
        self.cursor = slot
        if base + slot > self.handed_out:
            self.handed_out = base + slot
        self._went(page, done, no_ack, weight)
        return done

    def _went(self, page: Page, done: i64, no_ack: bool, weight: i64) -> None:
        """So many messages of a page were handed out, and are gone with `no_ack`."""
        page.ready -= done
        self.ready -= done
        if no_ack:
            self._lighter(page, weight)
            if page.ready + page.out == 0:
                self._emptied(page)
        else:
            page.out += done
            self.out += done

    def _allowed(self, seq: i64, want: i64) -> i64:
        """How many from `seq` on may be handed out: only what the log says may have been, once that is on disk."""
        journal = self.journal
        if self.mark_block != 0 and self.mark_block <= journal.durable:
            self.mark_durable = self.mark
            self.mark_block = 0
        if journal.segment == 0:  # nothing survives, so nothing needs the flag
            return want
        if self.moves is not None and not self.is_moved(seq + want - 1):
            want = self.await_moves() - seq
            if want <= 0:
                return 0
        end = seq + want
        if end > self.mark:
            self._advance_mark(seq, end)
        elif end + STEP_MAX // 2 > self.mark and self.mark_step >= STEP_MAX and self.mark_block == 0:
            self.marks += 1
            self.mark = end + STEP_MAX
            self.mark_block = journal.delivered(self.lid, self.mark)
        if end <= self.mark_durable or self.mark_block == 0:
            return want
        if self.block == self.mark_block and seq >= self.block_first:
            return want  # the messages themselves are no sooner on disk than the mark
        if seq < self.mark_durable:
            return self.mark_durable - seq
        self.owner.await_mark(self.mark_block)
        return 0

    def _advance_mark(self, seq: i64, end: i64) -> None:
        """Journal that messages below `end` may have been handed out: exactly so far while deliveries are few (each
        waits for the disk then), and in growing steps ahead of them while they are many."""
        tick = self.journal.tick
        if tick != self.mark_tick:
            if tick > self.mark_tick + 1 or self.marks < BUSY:
                self.mark_step = 0
            self.mark_tick = tick
            self.marks = 0
        self.marks += 1
        self.mark = end
        if self.mark_step > 0 or self.marks > BUSY:
            step = min(max(self.mark_step * 2, end - seq), STEP_MAX)
            self.mark_step = step
            self.mark = max(end, seq + step)
        self.mark_block = self.journal.delivered(self.lid, self.mark)

    # ---- settled, or back again

    def settle(self, first: i64, last: i64) -> None:
        """Messages first..last, all out, are gone."""
        if self.durable:
            self.journal.settle(self.lid, first, last)
        watcher = self.watcher
        total: i64 = 0
        seq = first
        while seq <= last:
            page = self._page(seq)
            end = page.base + page.count - 1
            if end > last:
                end = last
            slot = seq - page.base
            stop = end - page.base
            states = page.states
            assert states is not None
            messages = page.messages
            n: i64 = 0
            weight: i64 = 0
            while slot <= stop:
                if i64(states[slot]) == OUT:
                    states[slot] = 3
                    n += 1
                    m: Message | None = None
                    if messages is not None:
                        m = messages[slot]
                        if m is not None:
                            weight += m.weight_bytes()
                            messages[slot] = None
                    if watcher is not None:
                        watcher.left(self, page.base + slot, m)
                slot += 1
            page.out -= n
            total += n
            self._lighter(page, weight)
            if page.ready + page.out == 0:
                self._emptied(page)
            seq = end + 1
        self.out -= total

    def requeue(self, first: i64, last: i64, handed_out: bool) -> None:
        """Messages first..last, all out, are ready again in their old places; flagged if they were handed out."""
        watcher = self.watcher
        seq = first
        while seq <= last:
            page = self._page(seq)
            end = min(last, page.base + page.count - 1)
            slot = seq - page.base
            start = slot
            stop = end - page.base
            states = page.states
            assert states is not None
            n: i64 = 0
            while slot <= stop:
                if i64(states[slot]) == OUT:
                    states[slot] = 1 if handed_out else 0
                    n += 1
                    if self.weighs:
                        self.ready_bytes += page.weight_of(slot)
                    if watcher is not None:
                        watcher.came_back(self, page.base + slot)
                slot += 1
            page.out -= n
            page.ready += n
            self.out -= n
            self.ready += n
            self._rewind(page, start)
            seq = end + 1

    def _rewind(self, page: Page, slot: i64) -> None:
        """Something at this slot is ready again: the cursor must not be behind it."""
        self.returns += 1
        at = self.cursor_page
        if at is None or at.dropped:
            self.cursor_page = None  # others before it may be ready, too: look from the beginning
        elif page.base < at.base:
            self.cursor_page = page
            self.cursor = slot
        elif page is at and slot < self.cursor:
            self.cursor = slot

    def purge(self) -> i64:
        """Drop everything that is ready. Returns how many."""
        return self.drop_below(self.next_seq)

    def drop_below(self, below: i64) -> i64:
        """Drop what is ready with a lower number than this. Returns how many."""
        before = self.ready
        pages = self.pages
        if before == 0 or pages is None:
            return 0
        for page in pages.copy():
            if page.base >= below:
                break
            if page.ready > 0:
                self._purge_page(page, min(below - page.base, page.count))
        return before - self.ready

    def drop_one(self, seq: i64) -> i64:
        """Drop one message if it is there and ready. Returns how many."""
        return 1 if self.seize(seq) and self.remove(seq, True) else 0

    def _purge_page(self, page: Page, stop: i64) -> None:
        """Drop what is ready in the slots before `stop`."""
        watcher = self.watcher
        plain = watcher is None and not self.weighs
        if (
            plain and page.states is None and stop == page.count and page.ready == stop
        ):  # as those of a backlog are
            if self.durable:
                self.journal.settle(self.lid, page.base, page.base + page.count - 1)
            self.ready -= page.ready
            page.ready = 0
            self._drop(page)
            return
        states = page.touch(stop)
        messages = page.messages
        slot: i64 = 0
        weight: i64 = 0
        dropped: i64 = 0
        first: i64 = -1
        while slot <= stop:
            state: i64 = i64(states[slot]) if slot < stop else OUT
            if state >= OUT:
                if first >= 0 and self.durable:
                    self.journal.settle(self.lid, page.base + first, page.base + slot - 1)
                first = -1
            else:
                states[slot] = 3
                dropped += 1
                if first < 0:
                    first = slot
                m: Message | None = None
                if messages is not None:
                    m = messages[slot]
                    if m is not None:
                        weight += m.weight_bytes()
                        messages[slot] = None
                if self.weighs:
                    self.ready_bytes -= page.weight_of(slot)
                if watcher is not None:
                    watcher.left(self, page.base + slot, m)
            slot += 1
        page.ready -= dropped
        self.ready -= dropped
        self._lighter(page, weight)
        if page.ready + page.out == 0:
            self._emptied(page)

    # ---- single messages

    def find(self, seq: i64) -> Page | None:
        """The page that has this message, if it lives."""
        page = self.page_with(seq)
        return None if page is None or page.state(seq - page.base) == GONE else page

    def state(self, seq: i64) -> i64:
        page = self.find(seq)
        return GONE if page is None else page.state(seq - page.base)

    def sleeps(self, seq: i64) -> bool:
        return self.state(seq) == ASLEEP

    def is_delayed(self) -> bool:
        """It is one of those for messages that are not due."""
        return self.lid >> LANE_INDEX_SHIFT >= FIRST_DELAYED

    def fetch(self, seq: i64) -> Message | None:
        """A message that lives. None if it is not in memory: then its page is on the way (`lane_ready` follows)."""
        page = self.find(seq)
        if page is None:
            raise Bug("a message that does not live is asked for")
        messages = page.messages
        if messages is not None:
            return messages[seq - page.base]
        if page.place == COLD:
            page.place = LOADING
            self.pager.get(LoadTask(self, page))
        return None

    def page_from(self, seq: i64) -> Page | None:
        """The first page that has this number or a higher one."""
        pages = self.pages
        if pages is None:
            return None
        i = self._index(seq)
        if i >= i64(len(pages)) or pages[i].base + pages[i].count <= seq:
            return None
        return pages[i]

    def front_ready(self) -> i64:
        """The number of the first message that is ready, -1 if none is. It need not be in memory."""
        if self.ready == 0:
            return -1
        page = self.cursor_page
        if page is None or page.ready == 0 or page.dropped:
            page = self._advance()
            if page is None:
                raise Bug("a lane has ready messages and no page with any")
        slot = self.cursor
        while page.state(slot) >= OUT:
            slot += 1
        self.cursor = slot
        return page.base + slot

    def seize(self, seq: i64) -> bool:
        """Put a message that is ready to sleep. False if it is not."""
        page = self.find(seq)
        if page is None:
            return False
        slot = seq - page.base
        if page.state(slot) >= OUT:
            return False
        self._put_to_sleep(page, slot)
        if self.watcher is not None:
            self.watcher.slept(self, seq)
        return True

    def flag(self, seq: i64) -> None:
        """A message that is ready was handed out before."""
        page = self.find(seq)
        if page is not None and page.state(seq - page.base) == READY:
            page.touch(seq - page.base + 1)[seq - page.base] = 1

    def doze(self, seq: i64) -> None:
        """A message that is out has no consumer any more, and is not ready either."""
        page = self._page(seq)
        slot = seq - page.base
        if page.state(slot) != OUT:
            raise Bug("a message that is not out is put to sleep")
        page.touch(slot + 1)[slot] = 4
        self.asleep += 1
        if self.watcher is not None:
            self.watcher.slept(self, seq)

    def awaken(self, seq: i64) -> bool:
        """A message that slept is ready, in its old place and flagged. False if it does not sleep."""
        page = self.find(seq)
        if page is None:
            return False
        slot = seq - page.base
        if page.state(slot) != ASLEEP:
            return False
        page.touch(slot + 1)[slot] = 1
        page.ready += 1
        page.out -= 1
        self.ready += 1
        self.out -= 1
        self.asleep -= 1
        if self.weighs:
            self.ready_bytes += page.weight_of(slot)
        self._rewind(page, slot)
        if self.watcher is not None:
            self.watcher.came_back(self, seq)
        return True

    def remove(self, seq: i64, journaled: bool) -> bool:
        """A message that slept is gone; not `journaled` if another record says so. False if it does not sleep."""
        page = self.find(seq)
        if page is None:
            return False
        slot = seq - page.base
        if page.state(slot) != ASLEEP:
            return False
        if self.durable and journaled:
            self.journal.settle(self.lid, seq, seq)
        page.touch(slot + 1)[slot] = 3
        m: Message | None = None
        messages = page.messages
        if messages is not None:
            m = messages[slot]
            if m is not None:
                self._lighter(page, m.weight_bytes())
                messages[slot] = None
        page.out -= 1
        self.out -= 1
        self.asleep -= 1
        if self.watcher is not None:
            self.watcher.left(self, seq, m)
        if page.ready + page.out == 0:
            self._emptied(page)
        return True

    def hand_out(self, c: Consumer, seq: i64) -> bool:
        """Deliver one message that is ready, out of turn. False if it cannot be had now: not in memory, or how far
        deliveries may have gone is not on disk."""
        page = self.page_with(seq)
        slot: i64 = 0 if page is None else seq - page.base
        state = GONE if page is None else page.state(slot)
        if page is None or state >= OUT:
            raise Bug("a message that is not ready is handed out")
        messages = page.messages
        m = self.fetch(seq) if messages is None else messages[slot]
        if m is None or (self.durable and self._allowed(seq, 1) == 0):
            return False
        again = state == AGAIN or seq < self.redelivered_below
        states = page.touch(slot + 1)
        states[slot] = 2
        page.ready -= 1
        page.out += 1
        self.ready -= 1
        self.out += 1
        if self.weighs:
            self.ready_bytes -= page.weight_of(slot)
        if seq >= self.handed_out:
            self.handed_out = seq + 1
        if self.watcher is not None:
            m = self.watcher.dressed(self, seq, m)
        c.deliver(m, self, seq, again)
        if c.no_ack:
            self.settle(seq, seq)
        return True
