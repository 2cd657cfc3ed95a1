"""Messages that are not due: asleep in lanes of their own, and moved where they belong when their time has come.

Messages that are due at about the same time share a lane, and so pages: the farther off, the wider the span of one
lane. What is due within minutes is entered in a timetable; of what is farther off only the page is, and its messages
are when the first of them comes near. A page that is not due soon leaves memory when that is short, and is loaded
ahead of need. What is due goes in order of time: if a page is not there yet, everything behind it waits.

It knows lanes, pages and their holders, and not where a message goes then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i64_le, write_i64_le

from leveret.core.holder import FIRST_DELAYED, Holder
from leveret.core.lane import Lane
from leveret.core.page import ASLEEP, COLD, HOT, LOADING, Page
from leveret.core.paging import LaneTask
from leveret.core.timetable import MESSAGE, PAGE, Client, Timetable, kind_of, seq_of
from leveret.core.view import view_of
from leveret.core.wheel import ENTRY_BYTES, entries_of
from leveret.core.when import due_ms
from leveret.journal import LANE_INDEX_SHIFT
from leveret.limits import LOG_BACKLOG_BYTES
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.turn import Turn
    from leveret.journal import Journal, Pager

# A lane of what is due within the next 2**18 ms spans 2**13 ms; within twice that, twice as much, and so on. Each such
# level has a lane for the first messages, since most holders have few, and others by the time.
NEAREST_BITS: Final[i64] = 18
SPANS: Final[i64] = 32  # lanes to the longest wait of a level
LANES: Final[i64] = 2 * SPANS  # of a level, besides the first; used again and again
MOVES: Final[i64] = 2_048  # in one turn, at most
LEAD_MS: Final[i64] = 5_000  # a page is loaded so much ahead
SOON_MS: Final[i64] = 30_000  # a page that is due within this stays in memory
READS: Final[i64] = 8  # pages on their way at once


def parse_terms(m: Message, delays: bool, now_ms: i64) -> i64:
    """When a message is due, 0 for at once. delays: its exchange honours `x-delay`. Raises PreconditionFailed."""
    view = view_of(m)
    after = view.delay_ms(m)
    if after >= 0:
        return now_ms + after if after > 0 else 0
    return due_ms(view.times(m), delays, now_ms)


def first_lane(wait_ms: i64) -> i64:
    """Index of the first lane for messages that wait so long."""
    level: i64 = 0
    wait_ms >>= NEAREST_BITS
    while wait_ms > 0:
        wait_ms >>= 1
        level += 1
    return FIRST_DELAYED + level * (LANES + 1)


def lane_of(first: i64, due: i64) -> i64:
    """Index of the lane for what is due then, at the level with this first lane."""
    level = (first - FIRST_DELAYED) // (LANES + 1)
    return first + 1 + (due >> (NEAREST_BITS - 5 + level)) % LANES


@final
class Delayed(Client):
    """A lane of messages that are not due."""

    def __init__(self, lane: Lane, holder: Holder) -> None:
        super().__init__(lane)
        self.holder = holder
        self.far = lane.lid >> LANE_INDEX_SHIFT > FIRST_DELAYED + LANES  # not of the nearest level
        self.restored_below: i64 = 0
        self.failed = False  # cannot be read

    def unread(self, page: Page) -> bool:
        """Its messages are not entered yet."""
        return page.looked_ms < 0 and (self.far or page.base < self.restored_below)


@final
class FetchTask(LaneTask):
    def __init__(self, client: Delayed, page: Page, delays: Delays) -> None:
        super().__init__(client.lane, page)
        self.client = client
        self.delays = delays

    def finished(self, error: str) -> None:
        self.delays.reading -= 1
        if error:
            self.client.failed = True
        self.owner.page_loaded(self.page, self.data, error)


@final
class Delays:
    def __init__(self, turn: Turn, journal: Journal, pager: Pager) -> None:
        self.turn = turn
        self.journal = journal
        self.pager = pager
        self.timetable = Timetable()
        self.lanes: dict[int, Delayed] = {}
        self.line = b""  # what is due and was taken out of the timetable; from `at` on to be done
        self.at: i64 = 0  # in bytes
        self.reading: i64 = 0  # pages on their way
        self.moved: i64 = 0
        self.mixed = False  # messages were entered in another order than they came

    # ---- in

    def hold(self, holder: Holder, m: Message) -> tuple[Lane, i64]:
        """Put a message to sleep until it is due. Returns where it is, for the journal: that is the caller's part."""
        terms = m.terms
        assert terms is not None
        due = terms.due_ms
        first = first_lane(due - self.turn.now_ms)
        lane = holder.lane_at(first)
        if lane.asleep >= self.pager.page_slots:
            lane = holder.lane_at(lane_of(first, due))
        client = self._client(holder, lane)
        seq = lane.push_asleep(m)
        page = lane.tail
        assert page is not None
        if not client.unread(page):
            self.timetable.add(client, due, MESSAGE, seq)
        elif page.look_ms == 0 or due < page.look_ms:
            page.look_ms = due
            self.timetable.add(client, due - LEAD_MS, PAGE, page.base)
        return lane, seq

    def _client(self, holder: Holder, lane: Lane) -> Delayed:
        client = self.lanes.get(int(lane.lid))
        if client is None:
            client = Delayed(lane, holder)
            self.lanes[int(lane.lid)] = client
        return client

    def restored(self, holder: Holder) -> None:
        """All of a holder's lanes are back."""
        for lane in sorted(holder.all_lanes(), key=number_of):
            pages = lane.pages
            if lane.lid >> LANE_INDEX_SHIFT < FIRST_DELAYED or pages is None:
                continue
            lane.seize_all()
            client = self._client(holder, lane)
            client.restored_below = lane.next_seq
            for page in pages:
                page.look_ms = first_due(page) if page.in_memory() else page.next_ms
                self.timetable.add(client, page.look_ms - LEAD_MS, PAGE, page.base)

    def forget(self, holder: Holder) -> None:
        """A holder is gone, and its lanes with it."""
        for lane in holder.all_lanes():
            client = self.lanes.pop(int(lane.lid), None)
            if client is not None:
                self.timetable.drop(client)

    def _enter(self, client: Delayed, page: Page) -> None:
        """Enter each message of a page that is in memory."""
        messages = page.messages
        assert messages is not None
        self.mixed = True
        slot: i64 = 0
        while slot < page.count:
            m = messages[slot]
            if m is not None and page.state(slot) == ASLEEP:
                terms = m.terms
                self.timetable.add(client, 0 if terms is None else terms.due_ms, MESSAGE, page.base + slot)
            slot += 1
        page.looked_ms = self.turn.now_ms
        page.look_ms = 0

    # ---- out

    def run(self) -> bool:
        """Move what is due. True if there is more to do now."""
        now = self.turn.now_ms
        left = MOVES
        while left > 0:
            if self.at >= i64(len(self.line)):
                at = self.timetable.next_ms()
                if at < 0 or at > now:
                    return False
                self.line = self.timetable.take_due(now, MOVES)
                self.at = 0
                if self.mixed:
                    self.line = pack(sorted(entries_of(self.line), key=self._rank))
                if not self.line:
                    return 0 <= self.timetable.next_ms() <= now
            if self.journal.backlog_bytes > LOG_BACKLOG_BYTES:
                return False
            if not self._serve(read_i64_le(self.line, self.at + 8)):
                self._read_ahead()
                return False
            left -= 1
        return True

    def rest(self) -> list[tuple[int, int]]:
        """(when, entry) of what is due and not done."""
        return entries_of(self.line[self.at :])

    def _rank(self, item: tuple[int, int]) -> tuple[int, int, int]:
        """Of one time, those that came first: a level's first lane was filled before the others."""
        lane = self.timetable.peek(item[1]).lane
        return item[0], int(lane.lid), int(seq_of(item[1], lane))

    def _serve(self, entry: i64) -> bool:
        """Do what is first in the line. False if it has to wait for a page."""
        client = self.timetable.peek(entry)
        assert isinstance(client, Delayed)
        lane = client.lane
        seq = seq_of(entry, lane)
        page = None if client.gone or client.failed else lane.page_with(seq)
        if page is not None and not page.in_memory() and self._needed(client, page, entry, seq):
            self._fetch(client, page)
            if not page.in_memory():
                return client.failed
        self.at += ENTRY_BYTES
        self.timetable.client_of(entry)
        if page is None or client.failed:
            return True
        if kind_of(entry) == PAGE:
            if client.unread(page) and page.in_memory():
                self._enter(client, page)
                self._put_back()
            return True
        messages = page.messages
        if messages is not None and page.state(seq - page.base) == ASLEEP:
            m = messages[seq - page.base]
            assert m is not None
            self.moved += 1
            client.holder.due(lane, seq, m)
        return True

    def _needed(self, client: Delayed, page: Page, entry: i64, seq: i64) -> bool:
        """A page that is not in memory has to be, before anything else is done. Others are only asked for."""
        if kind_of(entry) == MESSAGE:
            return page.state(seq - page.base) == ASLEEP
        if client.unread(page):
            return True
        self._fetch(client, page)
        return False

    def _put_back(self) -> None:
        """What was read may be due before the rest of the line."""
        for at_ms, entry in self.rest():
            self.timetable.put_back(at_ms, entry)
        self.line = b""
        self.at = 0

    def _fetch(self, client: Delayed, page: Page) -> None:
        """Have a page loaded, unless too many are."""
        if page.place == COLD and self.reading < READS:
            page.place = LOADING
            self.reading += 1
            self.pager.get(FetchTask(client, page, self))

    def _read_ahead(self) -> None:
        """The line waits for a page: others that it needs may come meanwhile."""
        line = self.line
        at = self.at + ENTRY_BYTES
        while at < i64(len(line)) and self.reading < READS:
            entry = read_i64_le(line, at + 8)
            client = self.timetable.peek(entry)
            assert isinstance(client, Delayed)
            if not client.gone and not client.failed:
                seq = seq_of(entry, client.lane)
                page = client.lane.page_with(seq)
                if page is not None and not page.in_memory() and self._needed(client, page, entry, seq):
                    self._fetch(client, page)
            at += ENTRY_BYTES

    # ---- memory

    def tick(self) -> None:
        """If memory is short, let go of pages that are not due soon."""
        if self.pager.resident_bytes > self.pager.limit_bytes // 8:
            for client in self.lanes.values():
                pages = client.lane.pages
                if pages is not None:
                    for page in pages:
                        self._part_with(client, page)

    def _part_with(self, client: Delayed, page: Page) -> None:
        if (
            page.place != HOT
            or page.out == 0
            or (not page.closed and page.count < self.pager.page_slots // 8)
        ):
            return
        now = self.turn.now_ms
        unread = client.unread(page)
        if not unread and (page.look_ms <= now or not page.closed):
            page.look_ms = first_due(page)
        if page.look_ms - now > SOON_MS:
            client.lane.store(page, True)
            if page.place != HOT and not unread:
                self.timetable.add(client, page.look_ms - LEAD_MS, PAGE, page.base)


def pack(entries: list[tuple[int, int]]) -> bytes:
    out = BytesWriter()
    for at_ms, entry in entries:
        write_i64_le(out, at_ms)
        write_i64_le(out, entry)
    return out.getvalue()


def number_of(lane: Lane) -> int:
    return int(lane.lid)


def first_due(page: Page) -> i64:
    """When the first message of a page in memory is due."""
    messages = page.messages
    first: i64 = 1 << 62
    if messages is not None:
        for m in messages:
            if m is not None:
                terms = m.terms
                if terms is not None and terms.due_ms < first:
                    first = terms.due_ms
    return first
