"""A page: a run of slots of one lane, the unit of paging, recovery and deleting.

Hot, it holds its messages; cold, a few counts (and a byte for each slot that was touched, while it is not whole).
It knows how its messages are laid out in a page file and nothing of consumers or journals.

Page file content, big endian, one entry for each live slot in order:
    | slot u16 | flags u8: 1 persistent, 2 has terms | protocol u8 | route length u16 | data length u32 | body size u64
    | has terms: stamp ms i64, ttl ms i64, due ms i64, priority i64 | route | data |
To change it: a new version number in the page file's header (store/pages.py), and a reader for the old one here.
"""

from __future__ import annotations

from typing import Final

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i16_be,
    write_i64_be,
)

from leveret.errors import Damaged
from leveret.journal import Held
from leveret.message import Message, Terms
from leveret.native import i16, i64, u8

# States of a slot. A slot beyond the touched ones is READY.
READY: Final[i64] = 0
AGAIN: Final[i64] = 1  # ready, and handed out before
OUT: Final[i64] = 2  # from here on: not ready
GONE: Final[i64] = 3
ASLEEP: Final[i64] = (
    4  # neither ready nor with a consumer: waits for another try, or to be moved away. Counts as out
)

# Where a page's messages are.
HOT: Final[i64] = 0
STORING: Final[i64] = 1  # hot, and being written
COLD: Final[i64] = 2
LOADING: Final[i64] = 3  # cold, and being read
LEAVING: Final[i64] = 4  # being written, and what is to be written is all there is

ENTRY_BYTES: Final[i64] = 18
TERMS_BYTES: Final[i64] = 32
TIMED: Final[i64] = 0x8000  # in the count that begins a page's entry in the log: two times follow it
LARGE_BYTES: Final[i64] = 16_384  # data at least this long is not copied into the writer


class Page(Held):
    def __init__(self, base: i64) -> None:
        super().__init__()
        self.base: i64 = base  # sequence number of slot 0
        self.count: i64 = 0  # slots taken
        self.ready: i64 = 0
        self.out: i64 = 0
        self.size_bytes: i64 = 0  # weight of the messages in memory
        self.place: i64 = HOT
        self.closed = False  # takes no more messages
        self.stored = False  # is on disk, whole and synced
        self.dropped = False  # nothing of it lives any more
        self.survivors: i64 = 0  # once encoded: how many of the messages were persistent
        self.mortal = b""  # once encoded, if some were transient: a byte for each slot, 1 where it was
        self.messages: list[Message | None] | None = []
        self.states: BytesWriter | None = None
        self.sizes: list[int] | None = None  # of the bodies, a number for each slot, where the lane weighs
        # Once encoded, or restored: not exact when some of its messages are gone since, but never too late.
        self.next_ms: i64 = 0  # a message in it is due or expires by its own word (0: none)
        self.first_stamp_ms: i64 = -1  # the oldest of those that have terms was published (-1: none has)
        # Who looks after the times of its messages (expiry.py, delays.py) notes here when that is to be (0: no more), and
        # when it last was (-1: never).
        self.look_ms: i64 = 0
        self.looked_ms: i64 = -1

    def in_memory(self) -> bool:
        return self.messages is not None

    def live(self) -> i64:
        return self.ready + self.out

    def touch(self, upto: i64) -> BytesWriter:
        """The states, with at least `upto` of them written down."""
        states = self.states
        if states is None:
            states = BytesWriter()
            self.states = states
        n: i64 = len(states)
        while n < upto:
            states.append(u8(0))  # READY
            n += 1
        return states

    def state(self, slot: i64) -> i64:
        states = self.states
        if states is None or slot >= i64(len(states)):
            return READY
        return i64(states[slot])

    def weigh(self, size_bytes: i64) -> None:
        """The body of the message that was just added is so long."""
        sizes = self.sizes
        if sizes is None:
            sizes = []
            self.sizes = sizes
        sizes.append(size_bytes)

    def weight_of(self, slot: i64) -> i64:
        sizes = self.sizes
        return 0 if sizes is None else i64(sizes[slot])

    def encode(self) -> list[bytes]:
        """The live messages as the parts of a page file's content."""
        parts: list[bytes] = []
        w = BytesWriter()
        states = self.states
        touched: i64 = 0 if states is None else len(states)
        messages = self.messages
        assert messages is not None
        survivors: i64 = 0
        mortal = bytearray()
        self.next_ms = 0
        self.first_stamp_ms = -1
        slot: i64 = 0
        while slot < self.count:
            m = messages[slot]
            if m is not None and (slot >= touched or states is None or i64(states[slot]) != GONE):
                if m.persistent:
                    survivors += 1
                else:
                    if len(mortal) == 0:
                        mortal = bytearray(int(self.count))
                    mortal[int(slot)] = 1
                route = m.route
                data = m.data
                terms = m.terms
                write_i16_be(w, i16(slot))
                flags: i64 = 1 if m.persistent else 0
                if terms is not None:
                    flags += 2
                write_i64_be(w, flags << 56 | m.protocol << 48 | i64(len(route)) << 32 | i64(len(data)))
                write_i64_be(w, m.size_bytes)
                if terms is not None:
                    write_terms(w, terms)
                    self._look(terms)
                w.write(route)
                if len(data) >= LARGE_BYTES:
                    parts.append(w.getvalue())
                    parts.append(data)
                    w = BytesWriter()
                else:
                    w.write(data)
            slot += 1
        parts.append(w.getvalue())
        self.survivors = survivors
        self.mortal = bytes(mortal)
        return parts

    def _look(self, terms: Terms) -> None:
        """It has a message with these terms."""
        at = own_deadline_ms(terms)
        if at != 0 and (self.next_ms == 0 or at < self.next_ms):
            self.next_ms = at
        if self.first_stamp_ms < 0 or terms.stamp_ms < self.first_stamp_ms:
            self.first_stamp_ms = terms.stamp_ms

    def decode(self, content: bytes) -> None:
        """Take the messages back from a page file's content. Slots that are gone are passed over."""
        messages: list[Message | None] = [None] * self.count
        states = self.states
        touched: i64 = 0 if states is None else len(states)
        pos: i64 = 0
        end: i64 = len(content)
        weight: i64 = 0
        found: i64 = 0
        while pos < end:
            if pos + ENTRY_BYTES > end:
                raise Damaged("a page's last entry is cut short", "page", int(pos))
            slot: i64 = i64(read_i16_be(content, pos))
            flags: i64 = i64(content[pos + 2])
            terms_at: i64 = pos + ENTRY_BYTES
            route_at = terms_at if flags & 2 == 0 else terms_at + TERMS_BYTES
            data_at: i64 = route_at + i64(read_i16_be(content, pos + 4))
            stop: i64 = data_at + i64(read_i32_be(content, pos + 6))
            if slot < 0 or slot >= self.count or data_at < route_at or stop < data_at or stop > end:
                raise Damaged("a page's entry does not fit it", "page", int(pos))
            if states is None or slot >= touched or i64(states[slot]) != GONE:
                m = Message(
                    content[data_at:stop],
                    content[route_at:data_at],
                    read_i64_be(content, pos + 10),
                    flags & 1 == 1,
                    i64(content[pos + 3]),
                )
                if flags & 2 != 0:
                    m.terms = read_terms(content, terms_at)
                messages[slot] = m
                weight += m.weight_bytes()
                found += 1
            pos = stop
        if found != self.ready + self.out:
            raise Damaged("a page holds another number of live messages than the log says", "page", 0)
        self.messages = messages
        self.size_bytes = weight

    def entry(self) -> bytes:
        """What survives of this page, for the journal:

            | count u16, high bit: timed | timed: next_ms i64, first_stamp_ms i64
            | (first u16, last u16) of what is gone ... |

        A transient message does not survive: it is as good as gone.
        """
        w = BytesWriter()
        if self.first_stamp_ms < 0:
            write_i16_be(w, i16(self.count))
        else:
            write_i16_be(w, i16(self.count - TIMED))
            write_i64_be(w, self.next_ms)
            write_i64_be(w, self.first_stamp_ms)
        states = self.states
        touched: i64 = 0 if states is None else len(states)
        mortal = self.mortal
        mixed = len(mortal) > 0
        slot: i64 = 0
        first: i64 = -1
        while slot <= self.count:
            gone = False
            if slot < self.count:
                gone = states is not None and slot < touched and i64(states[slot]) == GONE
                if not gone and mixed:
                    gone = mortal[slot] == 1
            if gone:
                if first < 0:
                    first = slot
            elif first >= 0:
                write_i16_be(w, i16(first))
                write_i16_be(w, i16(slot - 1))
                first = -1
            slot += 1
        return w.getvalue()


def own_deadline_ms(terms: Terms) -> i64:
    """When a message has to be looked at by its own word, being due or expired then. 0: never."""
    at: i64 = terms.due_ms
    if terms.ttl_ms >= 0:
        expires = max(terms.stamp_ms + terms.ttl_ms, 1)
        if at == 0 or expires < at:
            at = expires
    return at


def write_terms(w: BytesWriter, terms: Terms) -> None:
    write_i64_be(w, terms.stamp_ms)
    write_i64_be(w, terms.ttl_ms)
    write_i64_be(w, terms.due_ms)
    write_i64_be(w, terms.priority)


def read_terms(content: bytes, at: i64) -> Terms:
    return Terms(
        read_i64_be(content, at),
        read_i64_be(content, at + 8),
        read_i64_be(content, at + 16),
        read_i64_be(content, at + 24),
    )


def page_of_entry(base: i64, entry: bytes) -> Page:
    """The cold page that `entry` described when it was journaled."""
    n: i64 = len(entry)
    head: i64 = 2
    page = Page(base)
    if n >= 2:
        page.count = i64(read_i16_be(entry, 0))
    if page.count < 0:
        page.count += TIMED
        head = 18
    if n < head:
        raise Damaged("a stored page's entry is cut short")
    if head > 2:
        page.next_ms = read_i64_be(entry, 2)
        page.first_stamp_ms = read_i64_be(entry, 10)
    page.ready = page.count
    page.messages = None
    page.place = COLD
    page.closed = True
    page.stored = True
    pos = head
    while pos + 4 <= n:
        first: i64 = i64(read_i16_be(entry, pos))
        last: i64 = i64(read_i16_be(entry, pos + 2))
        states = page.touch(last + 1)
        while first <= last:
            if i64(states[first]) != GONE:
                states[first] = 3
                page.ready -= 1
            first += 1
        pos += 4
    return page
