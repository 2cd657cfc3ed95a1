"""What is scheduled, for people: the delayed messages that are due next, and taking one of them back.

A survey goes through the timetable a step at a time, since that may be long; it loads nothing. Of a page that is not in
memory, and has not come near yet, only the earliest of its times is known.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i64_le, write_i64_le

from leveret.core.delays import LEAD_MS, Delayed, Delays
from leveret.core.holder import FIRST_DELAYED, Holder
from leveret.core.lane import Lane
from leveret.core.page import ASLEEP
from leveret.core.timetable import PAGE, kind_of, seq_of
from leveret.core.wheel import ENTRY_BYTES
from leveret.errors import CommandInvalid, NotFound
from leveret.journal import LANE_INDEX_SHIFT, OWNER_MASK, lane_id
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.broker import Broker

PIECES: Final[i64] = 16  # a step's


@final
class Scheduled:
    """A delayed message. exact: `due_ms` is known; else it is due then at the earliest."""

    def __init__(self, due_ms: i64, exact: bool, holder: Holder, lane: Lane, seq: i64, order: int) -> None:
        self.due_ms: i64 = due_ms
        self.exact = exact
        self.holder = holder
        self.lane = lane
        self.seq: i64 = seq
        self.order = order

    def id(self) -> str:
        lid = self.lane.lid
        return f"{int(lid & OWNER_MASK)}.{int(lid >> LANE_INDEX_SHIFT)}.{int(self.seq)}"

    def message(self) -> Message | None:
        """None if it is not in memory."""
        page = self.lane.find(self.seq)
        if page is None:
            return None
        messages = page.messages
        return None if messages is None else messages[self.seq - page.base]


def time_of(item: Scheduled) -> tuple[int, int]:
    return int(item.due_ms), item.order


@final
class Survey:
    """The first `limit` of what these holders (None: all) have scheduled. Call `step` until it is false."""

    def __init__(self, delays: Delays, owners: set[int] | None, limit: int) -> None:
        self.delays = delays
        self.owners = owners
        self.limit = limit
        self.found: list[Scheduled] = []
        self.order = 0
        line = BytesWriter()
        for due_ms, entry in delays.rest():
            write_i64_le(line, due_ms)
            write_i64_le(line, entry)
        self.groups = delays.timetable.wheel.groups()
        self.groups[0][1].append(line.getvalue())  # no later than anything else
        self.group: i64 = 0
        self.piece: i64 = 0

    def step(self) -> bool:
        """True if there is more."""
        left = PIECES
        while self.group < i64(len(self.groups)):
            pieces = self.groups[self.group][1]
            if self.piece >= i64(len(pieces)):
                self._cut()
                self.group += 1
                self.piece = 0
                if self._enough():
                    return False
                continue
            if left == 0:
                return True
            left -= 1
            self._read(pieces[self.piece])
            self.piece += 1
        return False

    def _enough(self) -> bool:
        """Nothing of the groups to come is due before what was found."""
        if self.group >= i64(len(self.groups)) or len(self.found) < self.limit:
            return False
        return int(self.found[self.limit - 1].due_ms) < self.groups[self.group][0]

    def _cut(self) -> None:
        self.found = heapq.nsmallest(self.limit, self.found, key=time_of)

    def _read(self, piece: bytes) -> None:
        at: i64 = 0
        while at < i64(len(piece)):
            due_ms = read_i64_le(piece, at)
            entry = read_i64_le(piece, at + 8)
            at += ENTRY_BYTES
            client = self.delays.timetable.look(entry)
            if not isinstance(client, Delayed) or client.gone:
                continue
            lane = client.lane
            if self.owners is not None and int(lane.lid & OWNER_MASK) not in self.owners:
                continue
            seq = seq_of(entry, lane)
            if kind_of(entry) == PAGE:
                self._read_page(client, seq, due_ms)
            elif lane.state(seq) == ASLEEP:
                self._add(due_ms, True, client, seq)
        if len(self.found) > 4 * self.limit + 1_000:
            self._cut()

    def _read_page(self, client: Delayed, base: i64, entered_ms: i64) -> None:
        """Its messages have no entries of their own yet, unless it has come near. It may have been entered again for an
        earlier one."""
        page = client.lane.page_with(base)
        if page is None or not client.unread(page) or entered_ms != max(page.look_ms - LEAD_MS, 0):
            return
        messages = page.messages
        slot: i64 = 0
        n = 0
        while slot < page.count and (n < self.limit or messages is not None):
            if page.state(slot) == ASLEEP:
                m = None if messages is None else messages[slot]
                terms = None if m is None else m.terms
                if terms is None:
                    self._add(page.look_ms, False, client, page.base + slot)
                else:
                    self._add(terms.due_ms, True, client, page.base + slot)
                n += 1
            slot += 1

    def _add(self, due_ms: i64, exact: bool, client: Delayed, seq: i64) -> None:
        self.order += 1
        self.found.append(Scheduled(due_ms, exact, client.holder, client.lane, seq, self.order))


def cancel(broker: Broker, given: str) -> i64:
    """Take a scheduled message back by its id. Returns the position at which that is on disk.

    Raises CommandInvalid, NotFound.
    """
    parts = given.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise CommandInvalid(f"'{given}' is no id of a scheduled message: they look like 12.256.7")
    owner, index, seq = int(parts[0]), int(parts[1]), int(parts[2])
    lane: Lane | None = None
    if owner <= OWNER_MASK and FIRST_DELAYED <= index < 1 << 20:
        lane = broker.lanes.get(int(lane_id(owner, index)))
    if lane is None or not lane.remove(seq, True):
        raise NotFound(f"no scheduled message '{given}': it was delivered or cancelled, or has never been")
    journal = broker.journal
    return journal.all_said() if lane.durable and journal.segment != 0 else 0
