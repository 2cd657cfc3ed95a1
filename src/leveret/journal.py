"""What the core asks of a store: a journal of what happened and a pager for what waits long.

The classes here are the null objects: nothing is kept, everything is durable at once and nothing leaves memory.
A memory-only broker uses them as they are; `store` overrides them. They know nothing of queues: a *lane* is a
number, a message in it a sequence number.

Positions: records are gathered into blocks; a record's position is the number of the block it is in. `durable`
is the watermark: every block up to it is on disk. Position 0 waits for nothing.
"""

from __future__ import annotations

from typing import Final

from leveret.limits import PAGE_BYTES, PAGE_SLOTS
from leveret.message import Message
from leveret.native import i64, mypyc_attr
from leveret.ranges import Ranges

# A lane's number: its owner's (a queue, or an exchange that delays) and which of its lanes it is.
# Index 0 is the ordinary one, 1 to 255 are priorities, from 256 on are those of what is not due.
LANE_INDEX_SHIFT: Final[i64] = 40
ORDINARY: Final[i64] = 0
FIRST_DELAYED: Final[i64] = 256
OWNER_MASK: Final[i64] = (1 << 40) - 1


def lane_id(owner: i64, index: i64) -> i64:
    return owner + index * (OWNER_MASK + 1)


@mypyc_attr(allow_interpreted_subclasses=True)
class Held:
    """Something (a page) whose messages live in a log segment and must leave it before the segment is given up."""

    def __init__(self) -> None:
        self.segment: i64 = 0  # the oldest segment that a message of it may be in; 0: in none

    def leave_log(self) -> bool:
        """True if nothing of it needs the log any more; otherwise it starts to be stored elsewhere."""
        return self.left_log()

    def left_log(self) -> bool:
        """True if nothing of it needs the log any more."""
        return True


class PageTask:
    """A page's way to or from disk. `finished` is called on the loop, once, with an empty text when all is well."""

    def __init__(self, lane: i64, base: i64) -> None:
        self.lane: i64 = lane
        self.base: i64 = base
        self.parts: list[bytes] = []  # what to write
        self.data = b""  # what was read

    def finished(self, error: str) -> None:
        raise NotImplementedError


class Journal:
    """The null journal: takes every record, keeps none, and everything is durable at once."""

    def __init__(self) -> None:
        self.block: i64 = 1  # the block being filled
        self.durable: i64 = 0  # every block up to this one is on disk
        self.segment: i64 = 0  # the segment that the open block will be in, or an older one
        self.tick: i64 = 0  # counts tenths of a second
        self.urgent = False  # somebody waits for the open block
        self.backlog_bytes: i64 = 0  # handed over and not on disk yet

    def publish(self, m: Message, lane: i64, seq: i64) -> i64:
        """Journal one message for one lane. Returns its position."""
        return 0

    def move(self, m: Message, lane: i64, seq: i64, from_lane: i64, from_seq: i64) -> i64:
        """Journal that a message goes from one lane to another: what was there is settled by the same record."""
        return 0

    def begin(self, m: Message, from_lane: i64, from_seq: i64) -> None:
        """Start a record of one message for several lanes: then `target` for each, then `end`. With a `from_lane` (-1:
        none) the message is moved: what was there is settled by the same record."""

    def target(self, lane: i64, seq: i64) -> None:
        pass

    def end(self) -> i64:
        return 0

    def settle(self, lane: i64, first: i64, last: i64) -> None:
        """Messages first..last of a lane are gone. Never forces a write of its own."""

    def delivered(self, lane: i64, below: i64) -> i64:
        """Messages below this sequence number may have been delivered. Returns the position."""
        return 0

    def note(self, lane: i64, seq: i64, note: bytes) -> i64:
        """What else is known of a waiting message: the last note of one counts, and is gone with it."""
        return 0

    def fact(self, lane: i64, fact: bytes) -> i64:
        """What a lane's owner wants to be told after a restart, in this order."""
        return 0

    def stored(self, lane: i64, base: i64, entry: bytes) -> None:
        """A page is on disk; entry says which of its slots are live."""

    def topology(self, op: bytes) -> i64:
        return 0

    def begin_tx(self) -> None:
        """All records until `end_tx` become one record: all or nothing after a crash."""

    def end_tx(self) -> i64:
        return 0

    def in_tx(self) -> bool:
        """A transaction is being gathered: where its records will be is not known yet."""
        return False

    def all_said(self) -> i64:
        """The position at which all that has been journaled so far is on disk; -1 while a transaction is gathered."""
        return self.block

    def hold(self, held: Held) -> None:
        """Remember that `held` has messages in the open segment."""


class CleanJournal(Journal):
    """A journal that can be ended in order."""

    def delivered_exactly(self, lane: i64, below: i64) -> None:
        """Messages below this number have been handed out, and no others."""
        raise NotImplementedError

    def clean(self) -> None:
        """A clean stop: nothing follows."""
        raise NotImplementedError


class Pager:
    """The null pager: pages stay in memory."""

    def __init__(self) -> None:
        self.page_slots: i64 = PAGE_SLOTS  # a page is full with so many messages
        self.page_bytes: i64 = PAGE_BYTES  # or with so many bytes
        self.limit_bytes: i64 = 1 << 62  # beyond this, pages leave memory
        self.resident_bytes: i64 = 0

    def put(self, task: PageTask) -> bool:
        """Write a page. False when this pager keeps nothing."""
        return False

    def get(self, task: PageTask) -> None:
        raise NotImplementedError

    def delete(self, lane: i64, base: i64) -> None:
        pass

    def delete_lane(self, lane: i64) -> None:
        pass


class StateSink:
    """Takes down a state, for a checkpoint."""

    def topology(self, op: bytes) -> None:
        raise NotImplementedError

    def lane(self, lane: i64, next_seq: i64, delivered_below: i64) -> None:
        raise NotImplementedError

    def stored(self, lane: i64, base: i64, entry: bytes) -> None:
        raise NotImplementedError

    def note(self, lane: i64, seq: i64, note: bytes) -> None:
        raise NotImplementedError

    def fact(self, lane: i64, fact: bytes) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class StateSource:
    """Has a state to be taken down: all durable topology and lanes."""

    def checkpoint(self, out: StateSink) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Restorer:
    """Takes what recovery finds: all topology; then each lane, its facts and its stored pages; then messages, each
    lane's in order; then each lane's notes of messages that still wait, and its end."""

    def topology(self, op: bytes) -> None:
        raise NotImplementedError

    def has_lane(self, lane: i64) -> bool:
        raise NotImplementedError

    def lane(self, lane: i64, delivered_below: i64) -> None:
        raise NotImplementedError

    def page(self, lane: i64, base: i64, entry: bytes, gone: Ranges) -> bool:
        """A page that was stored. True if something of it still waits: then its file has to be there."""
        raise NotImplementedError

    def message(self, lane: i64, seq: i64, m: Message, segment: i64) -> None:
        raise NotImplementedError

    def note(self, lane: i64, seq: i64, note: bytes) -> None:
        raise NotImplementedError

    def fact(self, lane: i64, fact: bytes) -> None:
        raise NotImplementedError

    def end(self, lane: i64, next_seq: i64) -> None:
        raise NotImplementedError
