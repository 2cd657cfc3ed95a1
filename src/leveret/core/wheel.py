"""A timing wheel: very many (when, what) pairs in 16 bytes each, given back in order of time.

Six levels of 256 slots: a slot of the lowest is one millisecond, of each next one 256 times as long. An entry lies at
the level of the highest byte in which its time differs from the wheel's position, and is spilled into finer slots when
the position gets there: a few copies on its whole way, whether it waits a second or ten years. Entries of one
millisecond keep the order in which they were added. It knows numbers and no clock.

A slot is append-only until it is read from the front, so its entries are bytes: `array` is slow in compiled code, and
`librt.vecs` needs integers that uncompiled code does not have.
"""

from __future__ import annotations

import heapq
from typing import Final, final

from librt.strings import BytesWriter, read_i64_le, write_i64_le

from leveret.native import i64

SLOTS: Final[i64] = 256
LEVELS: Final[i64] = 6
LAST_MS: Final[i64] = (1 << 48) - 1  # what is later than this is due then: in the year 10889
ENTRY_BYTES: Final[i64] = 16
CHUNK_BYTES: Final[i64] = 1024 * 16
SPILLS: Final[i64] = 256  # chunks that are spilled in one call, at most


def first_of(chunk: bytes, at: i64) -> i64:
    """The first number of the entry there."""
    return read_i64_le(chunk, at)


def entries_of(pieces: bytes) -> list[tuple[int, int]]:
    """(when, what) of each entry."""
    found: list[tuple[int, int]] = []
    at: i64 = 0
    while at < i64(len(pieces)):
        found.append((read_i64_le(pieces, at), read_i64_le(pieces, at + 8)))
        at += ENTRY_BYTES
    return found


@final
class Slot:
    """Entries in the order in which they came. Some at the front may have been read."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []  # before the tail
        self.tail = BytesWriter()
        self.read: i64 = 0  # bytes of the first chunk

    def add(self, due_ms: i64, value: i64) -> None:
        tail = self.tail
        write_i64_le(tail, due_ms)
        write_i64_le(tail, value)
        if i64(len(tail)) >= CHUNK_BYTES:
            self.chunks.append(tail.getvalue())
            self.tail = BytesWriter()

    def chunk(self) -> bytes:
        """The first chunk, the tail if there is no other; empty if nothing is left."""
        if not self.chunks:
            tail = self.tail
            if len(tail) == 0:
                return b""
            self.chunks.append(tail.getvalue())
            self.tail = BytesWriter()
        return self.chunks[0]

    def chunk_read(self) -> None:
        del self.chunks[0]
        self.read = 0

    def pieces(self) -> list[bytes]:
        """What has not been read."""
        if not self.chunks:
            return [self.tail.getvalue()]
        return [self.chunks[0][self.read :], *self.chunks[1:], self.tail.getvalue()]

    def empty(self) -> bool:
        return not self.chunks and len(self.tail) == 0


@final
class Wheel:
    def __init__(self) -> None:
        self.count: i64 = 0
        self.position: i64 = 0  # nothing in the slots is due before
        self.levels: list[list[Slot | None] | None] = [None] * int(LEVELS)
        self.held: list[int] = [0] * int(LEVELS)  # slots in use at each level
        self.late: list[tuple[int, int, int]] = []  # a heap of (when, order, what): due before the position
        self.order: i64 = 0
        self.spilling: Slot | None = (
            None  # a slot that begins at the position, and is not all in finer ones yet
        )
        self.spill_end: i64 = 0
        self.soonest: i64 = -1  # a lower bound if `sure`, -1 if there is nothing
        self.sure = True
        self.level: i64 = 0  # what `_find` found
        self.index: i64 = 0

    def add(self, due_ms: i64, value: i64) -> None:
        """Times before 1970 are now."""
        if due_ms > LAST_MS:
            due_ms = LAST_MS
        elif due_ms < 0:
            due_ms = 0
        self.count += 1
        if due_ms < self.position:
            self.order += 1
            heapq.heappush(self.late, (due_ms, self.order, value))
            return
        spilling = self.spilling
        if spilling is not None and due_ms < self.spill_end:
            spilling.add(due_ms, value)  # behind those of the same time that came before
            return
        self._place(due_ms, value)

    def _place(self, due_ms: i64, value: i64) -> None:
        differs = due_ms ^ self.position
        level: i64 = 0
        shift: i64 = 0
        while differs >= SLOTS:
            differs >>= 8
            level += 1
            shift += 8
        start = due_ms >> shift
        slots = self.levels[level]
        if slots is None:
            slots = [None] * int(SLOTS)
            self.levels[level] = slots
        slot = slots[start & 255]
        if slot is None:
            slot = Slot()
            slots[start & 255] = slot
            self.held[level] += 1
            start <<= shift
            if self.soonest < 0 or start < self.soonest:
                self.soonest = start
        slot.add(due_ms, value)

    def next_ms(self) -> i64:
        """Nothing is due before this; -1: nothing is there. `pop_due` at this time may find that it is later."""
        if self.late:
            return self.late[0][0]
        if self.spilling is not None:
            return self.position
        if not self.sure:
            self.soonest = self._find()
            self.sure = True
        return self.soonest

    def _find(self) -> i64:
        """Find the first slot. Returns its begin, -1 if all are empty."""
        level: i64 = 0
        while level < LEVELS:
            slots = self.levels[level]
            if slots is not None and self.held[level] > 0:
                shift = level * 8
                here = self.position >> shift
                i = here & 255
                while i < SLOTS:
                    if slots[i] is not None:
                        self.level = level
                        self.index = i
                        return ((here >> 8 << 8) + i) << shift
                    i += 1
            level += 1
        return -1

    def pop_due(self, now_ms: i64, limit: i64) -> list[tuple[int, int]]:
        """Take out what is due, in order, up to `limit` of them. What is then left and due shows in `next_ms`."""
        return entries_of(self.take_due(now_ms, limit))

    def take_due(self, now_ms: i64, limit: i64) -> bytes:
        """The same, as entries."""
        found = BytesWriter()
        late = self.late
        spills = SPILLS
        self.sure = False
        while i64(len(found)) < limit * ENTRY_BYTES:
            if late:
                if i64(late[0][0]) > now_ms:
                    break
                due_ms, _, value = heapq.heappop(late)
                write_i64_le(found, due_ms)
                write_i64_le(found, value)
                continue
            if self.spilling is not None:
                if spills == 0:
                    break
                spills -= 1
                self._spill(self.spilling)
                continue
            start = self._find()
            if start < 0 or start > now_ms:
                self.soonest = start
                self.sure = True
                break
            self._enter(start, found, limit)
        self.count -= i64(len(found)) // ENTRY_BYTES
        return found.getvalue()

    def groups(self) -> list[tuple[int, list[bytes]]]:
        """All entries as they are, in pieces, in groups that follow each other in time: (from when on, pieces)."""
        first: list[bytes] = []
        if self.late:
            late = BytesWriter()
            for due_ms, _, value in self.late:
                write_i64_le(late, due_ms)
                write_i64_le(late, value)
            first.append(late.getvalue())
        together = self.position
        if self.spilling is not None:
            first.extend(self.spilling.pieces())
            together = self.spill_end
        found: list[tuple[int, list[bytes]]] = [(0, first)]
        level: i64 = 0
        while level < LEVELS:
            shift = level * 8
            here = self.position >> shift
            i = here & 255
            for slot in (self.levels[level] or [])[int(i) :]:
                if slot is not None:
                    start = ((here >> 8 << 8) + i) << shift
                    if start < together:
                        first.extend(slot.pieces())
                    else:
                        found.append((int(start), slot.pieces()))
                i += 1
            level += 1
        return found

    def _enter(self, start: i64, found: BytesWriter, limit: i64) -> None:
        """Go to the slot that was found: take from it if it is of the lowest level, else begin to spill it."""
        level = self.level
        slots = self.levels[level]
        assert slots is not None
        slot = slots[self.index]
        assert slot is not None
        self.position = start
        if level == 0:
            self._take(slot, found, limit)
            if not slot.empty():
                return
        else:
            self.spilling = slot
            shift = level * 8
            self.spill_end = ((start >> shift) + 1) << shift
        slots[self.index] = None
        self.held[level] -= 1

    def _take(self, slot: Slot, found: BytesWriter, limit: i64) -> None:
        left = limit * ENTRY_BYTES - i64(len(found))
        while left > 0:
            chunk = slot.chunk()
            n: i64 = len(chunk)
            if n == 0:
                return
            at = slot.read
            stop = min(n, at + left)
            found.write(chunk[at:stop])
            left -= stop - at
            slot.read = stop
            if stop == n:
                slot.chunk_read()

    def _spill(self, slot: Slot) -> None:
        """Put a chunk of the slot at the position into finer ones."""
        chunk = slot.chunk()
        at: i64 = 0
        n: i64 = len(chunk)
        if n == 0:
            self.spilling = None
            return
        while at < n:
            self._place(read_i64_le(chunk, at), read_i64_le(chunk, at + 8))
            at += ENTRY_BYTES
        slot.chunk_read()
        if slot.empty():
            self.spilling = None
