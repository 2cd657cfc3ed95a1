"""The pages of a lane: how they are opened, found, stored when memory is short or the log wants to go on, loaded ahead
of need, and brought back by recovery.

It knows page states and the pager, and nothing of what delivering, settling or expiring mean (lane.py).

Invariants: slot i of a page has sequence number base + i; pages are in order of base; every ready slot is at or
behind the cursor.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from leveret.core.page import COLD, GONE, HOT, LEAVING, LOADING, OUT, STORING, Page
from leveret.core.watching import Both, Visitor, Watcher
from leveret.errors import Bug
from leveret.journal import Journal, Pager, PageTask
from leveret.limits import READ_AHEAD_PAGES
from leveret.message import Message
from leveret.native import i64

AHEAD: Final[i64] = READ_AHEAD_PAGES
SMALL_TAIL: Final[i64] = (
    256  # an emptied tail with more slots than this is given up, to keep idle queues small
)
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

    def __init__(self, lane: PagedLane, page: Page) -> None:
        super().__init__(lane.lid, page.base)
        self.owner = lane
        self.page = page


class StoreTask(LaneTask):
    def finished(self, error: str) -> None:
        self.owner.page_stored(self.page, self.parts, error)


class LoadTask(LaneTask):
    def finished(self, error: str) -> None:
        self.owner.page_loaded(self.page, self.data, error)


class VisitTask(LaneTask):
    def __init__(self, lane: PagedLane, page: Page, visitor: Visitor) -> None:
        super().__init__(lane, page)
        self.visitor = visitor

    def finished(self, error: str) -> None:
        self.owner.page_visited(self.page, self.data, error, self.visitor)


class LanePage(Page):
    """A page that knows its lane, so that the log can ask it to leave."""

    def __init__(self, lane: PagedLane, base: i64) -> None:
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


class PagedLane:
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
        self.found: Page | None = None  # by its number, last
        self.next_seq: i64 = 0
        self.ready: i64 = 0
        self.out: i64 = 0
        self.asleep: i64 = 0  # of those that count as out: with no consumer
        self.weighs = False  # counts `ready_bytes`
        self.ready_bytes: i64 = 0  # bodies
        self.watcher: Watcher | None = None
        self.returns: i64 = 0  # counts how often something became ready again
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
        # What was moved here: where that is in the log (-1: not known yet), and the number of the first.
        self.moves: deque[tuple[int, int]] | None = None

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` too what becomes of messages."""
        before = self.watcher
        self.watcher = watcher if before is None else Both(before, watcher)

    # ---- opening, finding, dropping

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

    def page_with(self, seq: i64) -> Page | None:
        """The page that has this number, if there is one. The message may be gone."""
        last = self.found
        if last is not None and last.base <= seq < last.base + last.count and not last.dropped:
            return last
        pages = self.pages
        if pages is None:
            return None
        i = self._index(seq)
        if i >= i64(len(pages)) or pages[i].base > seq or pages[i].base + pages[i].count <= seq:
            return None
        self.found = pages[i]
        return pages[i]

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
        self.found = None

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
        self.found = None
        self.cursor_page = None
        self.ready = 0
        self.out = 0
        self.asleep = 0
        self.ready_bytes = 0
        self.pager.delete_lane(self.lid)

    # ---- memory is short

    def _make_room(self, page: Page) -> None:
        """Memory is short: the page just closed is the one needed last, unless the cursor is near."""
        pages = self.pages
        if pages is not None:
            near: i64 = 0 if self.cursor_page is None else self._index(self.cursor_page.base)
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

    def _near(self, page: Page) -> bool:
        """The cursor is in it or close before it."""
        at = self.cursor_page
        if at is None or at.dropped:
            return False
        ahead = self._index(page.base) - self._index(at.base)
        return 0 <= ahead < AHEAD

    # ---- to and from disk

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

    def store(self, page: Page, leave: bool = False) -> None:
        """Begin to write a hot page to its file, unless that is under way. leave: out of memory in any case."""
        if page.place != HOT or page.dropped:
            return
        page.closed = True
        if page.stored:
            if leave or not self._near(page):
                self._cool(page)
            return
        task = StoreTask(self, page)
        task.parts = page.encode()
        messages = page.messages
        weight = page.size_bytes
        if leave or (self.pager.resident_bytes > self.pager.limit_bytes // 2 and not self._near(page)):
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
        elif self.pager.resident_bytes > self.pager.limit_bytes // 2 and not self._near(page):
            self._cool(page)

    def _cool(self, page: Page) -> None:
        """Forget the messages of a stored page."""
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

    # ---- moved here, and that not on disk yet

    def moved(self, seq: i64, position: i64) -> None:
        """A message was just moved here, and that is in the log at this position (-1: of the transaction that is being
        gathered). Before that is on disk nothing may become of it: after a crash it would be back where it was, and
        nobody would know of what happened here."""
        moves = self.moves
        if moves is None:
            moves = deque()
            self.moves = moves
        if not moves or moves[-1][0] != int(position):
            moves.append((int(position), int(seq)))

    def is_moved(self, seq: i64) -> bool:
        """Whether all that brought a message here is on disk."""
        moves = self.moves
        while moves:
            position, first = moves[0]
            if seq < i64(first):
                return True
            if position < 0:
                position = int(self.journal.all_said())
                if position >= 0:
                    moves[0] = (position, first)
            if position < 0 or i64(position) > self.journal.durable:
                return False
            moves.popleft()
        self.moves = None
        return True

    def await_moves(self) -> i64:
        """Some are not: look again when the first of them are. Returns the number of the first."""
        moves = self.moves
        assert moves is not None
        self.owner.await_mark(max(i64(moves[0][0]), 0))
        return i64(moves[0][1])

    def has_stored(self, base: i64) -> bool:
        pages = self.pages
        if pages is None:
            return False
        i = self._index(base)
        return i < i64(len(pages)) and pages[i].base == base and pages[i].stored

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
                if self.weighs:
                    page.weigh(0)
                page.count += 1
        messages.append(m)
        if self.weighs:
            page.weigh(m.size_bytes)
            self.ready_bytes += m.size_bytes
        if page.states is not None:
            page.touch(slot + 1)
        page.count += 1
        page.ready += 1
        weight = m.weight_bytes()
        page.size_bytes += weight
        self.pager.resident_bytes += weight
        self.ready += 1

    def weigh_pages(self) -> None:
        """Find out how long the bodies on stored pages are. During recovery, when the pager answers at once."""
        if self.weighs:
            self.visit(Weigher(self))

    def visit(self, visitor: Visitor) -> None:
        """Show it every message that lives. During recovery, when the pager answers at once."""
        pages = self.pages
        if pages is not None:
            for page in pages:
                messages = page.messages
                if messages is not None:
                    visitor.visit(page, messages)
                elif page.place == COLD:
                    self.pager.get(VisitTask(self, page, visitor))

    def page_visited(self, page: Page, data: bytes, error: str, visitor: Visitor) -> None:
        if error:
            self.owner.lane_failed(error)
            return
        page.decode(data)
        messages = page.messages
        assert messages is not None
        visitor.visit(page, messages)
        page.messages = None
        page.size_bytes = 0

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

    def seize_all(self) -> None:
        """Put all that is ready to sleep: what recovery brought back of messages that are not due."""
        for page in self.pages or []:
            states = page.touch(page.count)
            slot: i64 = 0
            while slot < page.count:
                if i64(states[slot]) < OUT:
                    states[slot] = 4
                slot += 1
            page.out += page.ready
            page.ready = 0
        self.out += self.ready
        self.asleep += self.ready
        self.ready = 0


class Weigher(Visitor):
    """Counts the bytes of what waits on pages that came back from disk; those in memory were weighed before."""

    def __init__(self, lane: PagedLane) -> None:
        self.lane = lane

    def visit(self, page: Page, messages: list[Message | None]) -> None:
        if page.sizes is not None:
            return
        for slot, m in enumerate(messages):
            size: i64 = 0 if m is None else m.size_bytes
            page.weigh(size)
            if page.state(slot) < OUT:  # else it sleeps until its retry
                self.lane.ready_bytes += size
