"""A lane: first in, first out by sequence number, in pages. An ordinary queue has one.

It knows the state of every message in it (ready, out, gone), pages what waits long, and journals what becomes of
what is persistent. It knows nothing of consumers beyond their `deliver`, of exchanges or protocols.

Invariants: slot i of a page has sequence number base + i; pages are in order of base; every ready slot is at or
behind the cursor.
"""

from __future__ import annotations

from typing import Final

from leveret.core.consumer import Consumer
from leveret.core.page import AGAIN, COLD, GONE, HOT, LEAVING, LOADING, OUT, STORING, Page
from leveret.errors import Bug
from leveret.journal import Journal, Pager, PageTask
from leveret.limits import DELIVERED_MARK_STEP, READ_AHEAD_PAGES
from leveret.message import Message
from leveret.native import i64

AHEAD: Final[i64] = READ_AHEAD_PAGES
STEP_MAX: Final[i64] = DELIVERED_MARK_STEP
SMALL_TAIL: Final[i64] = (
    256  # an emptied tail with more slots than this is given up, to keep idle queues small
)
BUSY: Final[i64] = 8  # marks in a tenth of a second from which on they are set ahead
UNLIMITED: Final[i64] = 1 << 62


class LaneOwner:
    """The queue a lane belongs to, as far as the lane knows it."""

    def lane_ready(self) -> None:
        """Something became deliverable without a push: a page came back."""

    def await_mark(self, position: i64) -> None:
        """Look again when `position` is on disk."""

    def lane_failed(self, text: str) -> None:
        """Messages of this lane cannot be read."""


class LaneTask(PageTask):
    """A page of a lane on its way."""

    def __init__(self, lane: Lane, page: Page) -> None:
        super().__init__(lane.lid, page.base)
        self.owner = lane
        self.page = page


class StoreTask(LaneTask):
    def finished(self, error: str) -> None:
        self.owner.page_stored(self.page, self.parts, error)


class LoadTask(LaneTask):
    def finished(self, error: str) -> None:
        self.owner.page_loaded(self.page, self.data, error)


class LanePage(Page):
    """A page that knows its lane, so that the log can ask it to leave."""

    def __init__(self, lane: Lane, base: i64) -> None:
        super().__init__(base)
        self.lane = lane

    def left_log(self) -> bool:
        if self.ready + self.out == 0:
            self.segment = 0  # a tail may take messages again: then it is held again
            return True
        return self.dropped or self.stored

    def leave_log(self) -> bool:
        if self.left_log():
            return True
        self.lane.store(self)
        return False


class Lane:
    def __init__(self, lid: i64, owner: LaneOwner, journal: Journal, pager: Pager, durable: bool) -> None:
        self.lid: i64 = lid
        self.owner = owner
        self.journal = journal
        self.pager = pager
        self.page_slots: i64 = pager.page_slots
        self.page_bytes: i64 = pager.page_bytes
        self.durable = durable
        self.pages: list[Page] | None = None  # allocated with the first message: there are many idle queues
        self.tail: Page | None = None
        self.next_seq: i64 = 0
        self.ready: i64 = 0
        self.out: i64 = 0
        self.ready_bytes: i64 = 0
        self.cursor_page: Page | None = None
        self.cursor: i64 = 0  # slot in it
        self.redelivered_below: i64 = 0  # after an unclean end: these may have been handed out before
        self.mark: i64 = 0  # journaled: below this, messages may have been delivered
        self.mark_block: i64 = 0
        self.mark_durable: i64 = 0
        self.mark_step: i64 = 0  # how far ahead it was set last; 0: not ahead
        self.mark_tick: i64 = 0
        self.marks: i64 = 0  # set in that tick
        self.handed_out: i64 = 0  # one more than the greatest number handed out
        self.block: i64 = -1  # the open block when the last durable message came, and
        self.block_first: i64 = 0  # the first message of this lane in that block

    # ---- in

    def push(self, m: Message) -> i64:
        """Append a message. Returns its sequence number; journaling it is the caller's part (`logged`)."""
        page = self.tail
        if page is None or page.closed or page.count >= self.page_slots or page.size_bytes >= self.page_bytes:
            page = self._open()
        messages = page.messages
        assert messages is not None
        messages.append(m)
        weight = m.weight_bytes()
        page.count += 1
        page.ready += 1
        page.size_bytes += weight
        self.pager.resident_bytes += weight
        self.ready += 1
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

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

    def _open(self) -> Page:
        old = self.tail
        pages = self.pages
        if pages is None:
            pages = []
            self.pages = pages
        if old is not None:
            old.closed = True
            if old.ready + old.out == 0:
                self._drop(old)
            elif self.pager.resident_bytes > self.pager.limit_bytes:
                self._make_room(old)
        page = LanePage(self, self.next_seq)
        pages.append(page)
        self.tail = page
        if self.cursor_page is None and self.ready == 0:
            self.cursor_page = page
            self.cursor = 0
        return page

    def _make_room(self, page: Page) -> None:
        """Memory is short: the page just closed is the one needed last, unless the cursor is near."""
        pages = self.pages
        if pages is not None and self.cursor_page is not None:
            near = self._index(self.cursor_page.base)
            if i64(len(pages)) - 1 - near > AHEAD:
                self.store(page)

    def shed(self) -> None:
        """Store every hot page but those at the cursor, the tail included. For when all queues together are large."""
        pages = self.pages
        if pages is None:
            return
        near: i64 = -AHEAD
        if self.cursor_page is not None:
            near = self._index(self.cursor_page.base)
        i: i64 = 0
        while i < i64(len(pages)):
            page = pages[i]
            if (i < near or i >= near + AHEAD) and page.place == HOT and page.ready + page.out > 0:
                self.store(page)
            i += 1

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
        while slot < touched and (i64(states[slot]) == OUT or i64(states[slot]) == GONE):
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
        fresh: i64 = GONE if no_ack else OUT
        below = self.redelivered_below
        done: i64 = 0
        weight: i64 = 0
        while done < limit and slot < count:
            redelivered = False
            if slot < touched:
                state = i64(states[slot])
                if state == OUT or state == GONE:
                    slot += 1
                    continue
                redelivered = state == AGAIN
                if no_ack:
                    states[slot] = 2
                else:
                    states[slot] = 1
            else:
                states.append(fresh)
                touched += 1
            m = messages[slot]
            assert m is not None
            seq = base + slot
            if seq < below:
                redelivered = True
            c.deliver(m, self, seq, redelivered)
            if no_ack:
                messages[slot] = None
                weight += m.weight_bytes()
                if m.persistent and self.durable:
                    self.journal.settle(self.lid, seq, seq)
            slot += 1
            done += 1
        self.cursor = slot
        if base + slot > self.handed_out:
            self.handed_out = base + slot
        page.ready -= done
        self.ready -= done
        if no_ack:
            self._lighter(page, weight)
            if page.ready + page.out == 0:
                self._emptied(page)
        else:
            page.out += done
            self.out += done
        return done

    def _allowed(self, seq: i64, want: i64) -> i64:
        """How many from `seq` on may be handed out: only what the log says may have been, once that is on disk."""
        journal = self.journal
        if self.mark_block != 0 and self.mark_block <= journal.durable:
            self.mark_durable = self.mark
            self.mark_block = 0
        if journal.segment == 0:  # nothing survives, so nothing needs the flag
            return want
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
                    states[slot] = 2
                    n += 1
                    if messages is not None:
                        m = messages[slot]
                        if m is not None:
                            weight += m.weight_bytes()
                            messages[slot] = None
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
                    states[slot] = 3 if handed_out else 0
                    n += 1
                slot += 1
            page.out -= n
            page.ready += n
            self.out -= n
            self.ready += n
            at = self.cursor_page
            if at is None or at.dropped or page.base < at.base:
                self.cursor_page = page
                self.cursor = start
            elif page is at and start < self.cursor:
                self.cursor = start
            seq = end + 1

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

    def front_seq(self) -> i64:
        """No ready message has a lower number."""
        at = self.cursor_page
        if at is not None and not at.dropped:
            return at.base + self.cursor
        pages = self.pages
        return self.next_seq if not pages else pages[0].base

    def drop_one(self, seq: i64) -> i64:
        """Drop one message if it is there and ready. Returns how many."""
        pages = self.pages
        if pages is None:
            return 0
        i = self._index(seq)
        if i >= i64(len(pages)) or pages[i].base > seq:
            return 0
        page = pages[i]
        slot = seq - page.base
        states = page.touch(slot + 1)
        state = i64(states[slot])
        if state == OUT or state == GONE:
            return 0
        if self.durable:
            self.journal.settle(self.lid, seq, seq)
        states[slot] = 2
        messages = page.messages
        if messages is not None:
            m = messages[slot]
            if m is not None:
                self._lighter(page, m.weight_bytes())
                messages[slot] = None
        page.ready -= 1
        self.ready -= 1
        if page.ready + page.out == 0:
            self._emptied(page)
        return 1

    def _purge_page(self, page: Page, stop: i64) -> None:
        """Drop what is ready in the slots before `stop`."""
        if page.states is None and stop == page.count and page.ready == stop:  # as the pages of a backlog are
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
            if state == OUT or state == GONE:
                if first >= 0 and self.durable:
                    self.journal.settle(self.lid, page.base + first, page.base + slot - 1)
                first = -1
            else:
                states[slot] = 2
                dropped += 1
                if first < 0:
                    first = slot
                if messages is not None:
                    m = messages[slot]
                    if m is not None:
                        weight += m.weight_bytes()
                        messages[slot] = None
            slot += 1
        page.ready -= dropped
        self.ready -= dropped
        self._lighter(page, weight)
        if page.ready + page.out == 0:
            self._emptied(page)

    def drop(self) -> None:
        """The queue is gone: so is everything in it. The caller has journaled that."""
        pages = self.pages
        if pages is not None:
            for page in pages:
                self._lighter(page, page.size_bytes)
                page.dropped = True
                page.messages = None
        self.pages = None
        self.tail = None
        self.cursor_page = None
        self.ready = 0
        self.out = 0
        self.pager.delete_lane(self.lid)

    # ---- pages

    def _lighter(self, page: Page, weight: i64) -> None:
        if weight != 0:
            page.size_bytes -= weight
            self.pager.resident_bytes -= weight

    def _emptied(self, page: Page) -> None:
        if page.closed or page.count >= SMALL_TAIL:
            self._drop(page)

    def _drop(self, page: Page) -> None:
        page.dropped = True
        page.closed = True
        pages = self.pages
        assert pages is not None
        del pages[self._index(page.base)]
        if page is self.tail:
            self.tail = None
        if page is self.cursor_page:
            self.cursor_page = None
        if page.stored:
            self.pager.delete(self.lid, page.base)
        self._lighter(page, page.size_bytes)
        page.messages = None

    def _index(self, seq: i64) -> i64:
        """Index of the page that has `seq`, or of the first behind it."""
        pages = self.pages
        assert pages is not None
        low: i64 = 0
        high: i64 = len(pages)
        if high > 0 and pages[0].base + pages[0].count > seq:
            return 0
        while low < high:
            mid = (low + high) // 2
            if pages[mid].base + pages[mid].count <= seq:
                low = mid + 1
            else:
                high = mid
        if low > 0 and pages[low - 1].base == seq:  # an empty page
            return low - 1
        return low

    def _page(self, seq: i64) -> Page:
        pages = self.pages
        if pages is not None:
            i = self._index(seq)
            if i < i64(len(pages)) and pages[i].base <= seq:
                return pages[i]
        raise Bug("a settled message is in no page")

    def _advance(self) -> Page | None:
        """Move the cursor to the next page with something ready."""
        pages = self.pages
        if pages is None:
            return None
        at = self.cursor_page
        i: i64 = 0
        if at is not None and not at.dropped:
            i = self._index(at.base)
        n: i64 = len(pages)
        while i < n:
            page = pages[i]
            if page.ready > 0:
                self.cursor_page = page
                self.cursor = 0
                return page
            i += 1
        return None

    def _read_ahead(self, page: Page) -> None:
        pages = self.pages
        assert pages is not None
        i = self._index(page.base)
        stop = min(i + AHEAD, i64(len(pages)))
        while i < stop:
            p = pages[i]
            if p.place == COLD and p.ready > 0:
                p.place = LOADING
                self.pager.get(LoadTask(self, p))
            i += 1

    def store(self, page: Page) -> None:
        """Begin to write a hot page to its file, unless that is under way."""
        if page.place != HOT or page.dropped:
            return
        page.closed = True
        if page.stored:
            self._cool(page)
            return
        task = StoreTask(self, page)
        task.parts = page.encode()
        messages = page.messages
        weight = page.size_bytes
        if self.pager.resident_bytes > self.pager.limit_bytes // 2 and not self._near(page):
            page.place = LEAVING
            page.messages = None
            self._lighter(page, weight)
        else:
            page.place = STORING
        if not self.pager.put(task):
            page.place = HOT
            page.messages = messages
            self._lighter(page, page.size_bytes - weight)
            page.size_bytes = weight

    def page_stored(self, page: Page, parts: list[bytes], error: str) -> None:
        left = page.place == LEAVING
        page.place = COLD if left else HOT
        if page.dropped:
            if not error:
                self.pager.delete(self.lid, page.base)
            return
        if error:
            if left:  # it stays in memory after all
                self.page_loaded(page, b"".join(parts), "")
            return
        page.stored = True
        if self.durable and page.survivors > 0:
            self.journal.stored(self.lid, page.base, page.entry())
        if left:
            self.owner.lane_ready()
        elif self.pager.resident_bytes > self.pager.limit_bytes // 2:
            self._cool(page)

    def _near(self, page: Page) -> bool:
        """The cursor is in it or close before it."""
        at = self.cursor_page
        if at is None or at.dropped:
            return False
        ahead = self._index(page.base) - self._index(at.base)
        return 0 <= ahead < AHEAD

    def _cool(self, page: Page) -> None:
        """Forget the messages of a stored page, unless the cursor is in it or close before it."""
        if self._near(page):
            return
        page.place = COLD
        page.messages = None
        self._lighter(page, page.size_bytes)

    def page_loaded(self, page: Page, data: bytes, error: str) -> None:
        page.place = COLD
        if page.dropped:
            return
        if error:
            self.owner.lane_failed(error)
            return
        page.decode(data)
        page.place = HOT
        self.pager.resident_bytes += page.size_bytes
        self.owner.lane_ready()

    # ---- recovery

    def restore_page(self, page: Page) -> None:
        """A page that is on disk. Pages come in order."""
        if self.pages is None:
            self.pages = []
        self.pages.append(page)
        self.ready += page.ready

    def restore(self, seq: i64, m: Message, segment: i64) -> None:
        """A message that waits. They come in order; what is missing between them is gone."""
        page = self.tail
        slot: i64 = 0
        if page is not None:
            slot = seq - page.base
        if (
            page is None
            or slot >= self.page_slots
            or page.size_bytes >= self.page_bytes
            or self._next_base(page) <= seq
        ):
            if page is not None:
                page.closed = True
                if self.pager.resident_bytes > self.pager.limit_bytes:
                    self.store(page)
            page = LanePage(self, seq)
            page.segment = segment
            pages = self.pages
            if pages is None:
                pages = []
                self.pages = pages
            pages.insert(int(self._index(seq)), page)
            self.tail = page
            self.journal.hold(page)
            slot = 0
        messages = page.messages
        assert messages is not None
        if page.count < slot:
            states = page.touch(page.count)
            while page.count < slot:
                messages.append(None)
                states.append(GONE)
                page.count += 1
        messages.append(m)
        if page.states is not None:
            page.touch(slot + 1)
        page.count += 1
        page.ready += 1
        weight = m.weight_bytes()
        page.size_bytes += weight
        self.pager.resident_bytes += weight
        self.ready += 1

    def _next_base(self, page: Page) -> i64:
        pages = self.pages
        assert pages is not None
        i = self._index(page.base) + 1
        return pages[i].base if i < i64(len(pages)) else UNLIMITED

    def restored(self, next_seq: i64) -> None:
        """No more messages come; new ones get numbers from here, and have been handed out to nobody."""
        self.next_seq = next_seq
        if self.mark > next_seq:
            self.redelivered_below = next_seq
            self.handed_out = next_seq
            self.mark = next_seq
            self.mark_durable = next_seq
        tail = self.tail
        if tail is not None:
            tail.closed = True  # slots of a page follow each other, and numbers may be missing here
            self.tail = None
        self.cursor_page = None
        self.cursor = 0

    def has_stored(self, base: i64) -> bool:
        pages = self.pages
        if pages is None:
            return False
        i = self._index(base)
        return i < i64(len(pages)) and pages[i].base == base and pages[i].stored
