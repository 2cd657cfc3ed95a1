"""The journal on a log: records are gathered into blocks, blocks are handed to one writer, segments roll.

It runs on the loop and touches no file: `take` gives the next block to whoever writes it, `written` says that it is
on disk. It decides when a segment is full, what a checkpoint says and from where on the log is needed. It knows
lanes as numbers; what is in memory it learns from a `StateSource`.

A record up to `whole_bytes` is in one block. A larger one is cut into fragments, one in each block, so that others'
records go on between them and its position is known when it comes: the block of its last fragment.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be

from leveret.journal import CleanJournal, Held, StateSource
from leveret.limits import BLOCK_BYTES, LOG_SEGMENTS
from leveret.message import Message, Terms
from leveret.native import i16, i32, i64, u8
from leveret.store.chains import Chain, Note, StoredPage
from leveret.store.checkpoint import Checkpoint
from leveret.store.records import (
    CLEAN,
    CONTENT_BYTES,
    DELIVERED,
    FACT,
    FIRST,
    FRAGMENT,
    HAS_TERMS,
    HEADER_BYTES,
    LAST,
    MIDDLE,
    MOVED,
    NOTE,
    PERSISTENT,
    PUBLISH,
    SETTLE,
    SOURCE_BYTES,
    STORED,
    TARGET_BYTES,
    TERMS_BYTES,
    TOPOLOGY,
    TX,
)

COPY_BYTES: Final[i64] = 16_384  # data at least this long goes to the log as it is, uncopied
LAZY_BYTES: Final[i64] = 65_536  # records nobody waits for are written when there are so many
BLOCK_OVERHEAD: Final[i64] = 512  # header and alignment of a block, at most

ONE_TARGET: Final[i64] = 0x0100_0001_0000_0000  # the header of a PUBLISH with one target, but for its length

CHECKPOINT: Final[i64] = 1  # flag of a block: a checkpoint starts with it


class Block:
    """What one write brings to disk. number: the position it settles; 0: none (a checkpoint)."""

    def __init__(self, number: i64, segment: i64, flags: i64, parts: list[bytes], size_bytes: i64) -> None:
        self.number: i64 = number
        self.segment: i64 = segment
        self.flags: i64 = flags
        self.parts = parts
        self.size_bytes: i64 = size_bytes
        self.keep_from: i64 = 0  # once it is on disk, older segments than this are not needed


class LogJournal(CleanJournal):
    def __init__(
        self, source: StateSource, first_segment: i64, segment_bytes: i64, segments: i64 = LOG_SEGMENTS
    ) -> None:
        super().__init__()
        self.source = source
        self.segment = first_segment
        self.oldest: i64 = first_segment  # the oldest segment that may still be needed
        self.segment_bytes: i64 = segment_bytes
        self.segments: i64 = segments
        self.block_bytes: i64 = min(BLOCK_BYTES, segment_bytes // 4)
        self.whole_bytes: i64 = self.block_bytes // 2
        self.fragment_bytes: i64 = self.block_bytes // 4
        self.used_bytes: i64 = 0  # of the segment
        self.writer = BytesWriter()
        self.parts: list[bytes] = []
        self.parts_bytes: i64 = 0
        self.closed: list[Block] = []
        self.chains: list[Chain] = []
        self.fragments: i64 = 0  # how many blocks the chains will take
        self.chain_number: i64 = 0
        self.held_back: list[StoredPage] = []  # until the chains are written
        self.told_again: deque[Note] = deque()  # when those are that were on their way then
        self.newest: dict[tuple[int, int], bytes] = {}  # notes of these
        self.held: dict[int, list[Held]] = {}
        self.record_at: i64 = 0
        self.targets_at: i64 = 0
        self.message: Message | None = None
        self.from_lane: i64 = -1
        self.from_seq: i64 = 0
        self.settle_lane: i64 = -1  # the range of settles that is being extended
        self.settle_first: i64 = 0
        self.settle_last: i64 = 0
        self.outer: BytesWriter | None = None  # the open block, while a transaction gathers
        self.outer_parts: list[bytes] = []
        self.outer_bytes: i64 = 0
        self.written_bytes: i64 = 0
        self.checkpoints: i64 = 0

    # ---- records

    def _header(self, kind: i64, n: i64, length: i64) -> BytesWriter:
        w = self.writer
        write_i64_be(
            w, kind << 56 | n << 32 | length
        )  # one call: each costs as much as writing a line of bytes
        return w

    def publish(self, m: Message, lane: i64, seq: i64) -> i64:
        return self.move(m, lane, seq, -1, 0)

    def move(self, m: Message, lane: i64, seq: i64, from_lane: i64, from_seq: i64) -> i64:
        # What `begin`, `target` and `end` write together, in one go: sharing it costs each message 3 % more.
        if self.settle_lane >= 0:
            self._end_settle()
        data = m.data
        route = m.route
        terms = m.terms
        size: i64 = len(data)
        rest: i64 = len(route)
        length = TARGET_BYTES + CONTENT_BYTES + rest + size
        flags: i64 = PERSISTENT if m.persistent else 0
        if terms is not None:
            flags += HAS_TERMS
            length += TERMS_BYTES
        if from_lane >= 0:
            flags += MOVED
            length += SOURCE_BYTES
        w = self.writer
        write_i64_be(w, ONE_TARGET | length)
        write_i64_be(w, lane)
        write_i64_be(w, seq)
        write_i64_be(w, flags << 56 | m.protocol << 48 | rest << 32 | size)
        write_i64_be(w, m.size_bytes)
        if terms is not None:
            write_terms(w, terms)
        if from_lane >= 0:
            write_i64_be(w, from_lane)
            write_i64_be(w, from_seq)
        w.write(route)
        if size < COPY_BYTES:
            w.write(data)
            return self._full()
        return self._data(data, length + HEADER_BYTES)

    def begin(self, m: Message, from_lane: i64, from_seq: i64) -> None:
        if self.settle_lane >= 0:
            self._end_settle()
        self.message = m
        self.from_lane = from_lane
        self.from_seq = from_seq
        self.record_at = len(self.writer)
        self._header(PUBLISH, 0, 0)
        self.targets_at = 0

    def target(self, lane: i64, seq: i64) -> None:
        w = self.writer
        write_i64_be(w, lane)
        write_i64_be(w, seq)
        self.targets_at += 1

    def end(self) -> i64:
        m = self.message
        assert m is not None
        self.message = None
        w = self.writer
        at = self.record_at
        data = m.data
        route = m.route
        size: i64 = len(data)
        terms = m.terms
        n = self.targets_at
        length = n * TARGET_BYTES + CONTENT_BYTES + i64(len(route)) + size
        flags: i64 = PERSISTENT if m.persistent else 0
        if terms is not None:
            flags += HAS_TERMS
            length += TERMS_BYTES
        if self.from_lane >= 0:
            flags += MOVED
            length += SOURCE_BYTES
        patch16(w, at + 2, n)
        patch16(w, at + 4, length >> 16)
        patch16(w, at + 6, length & 0xFFFF)
        write_i64_be(w, flags << 56 | m.protocol << 48 | i64(len(route)) << 32 | size)
        write_i64_be(w, m.size_bytes)
        if terms is not None:
            write_terms(w, terms)
        if self.from_lane >= 0:
            write_i64_be(w, self.from_lane)
            write_i64_be(w, self.from_seq)
        w.write(route)
        if size < COPY_BYTES:
            w.write(data)
            return self._full()
        return self._data(data, length + HEADER_BYTES)

    def _data(self, data: bytes, record_bytes: i64) -> i64:
        """The end of a record whose data is large: as a part of its own, or cut into a chain."""
        w = self.writer
        head_bytes = record_bytes - i64(len(data))
        if record_bytes <= self.whole_bytes or self.outer is not None:
            self._part(w.getvalue())
            self._part(data)
            self.writer = BytesWriter()
            return self._full()
        whole = w.getvalue()
        start: i64 = i64(len(whole)) - head_bytes
        self.writer = BytesWriter()
        self.writer.write(whole[:start])
        return self._chain([whole[start:], data], record_bytes)

    def _part(self, data: bytes) -> None:
        self.parts.append(data)
        self.parts_bytes += i64(len(data))

    def _chain(self, parts: list[bytes], size: i64) -> i64:
        """Cut a record into one fragment a block. Returns the position of the last."""
        self.chain_number += 1
        self.chains.append(Chain(self.chain_number, self.segment, parts, size))
        pieces = (size + self.fragment_bytes - 1) // self.fragment_bytes
        last = self.block + self.fragments + pieces - 1
        self.fragments += pieces
        self.urgent = True
        self.backlog_bytes += size
        return last

    def _full(self) -> i64:
        """The position of the record just written; closes the block when it is large enough."""
        number = self.block
        if self.outer is None and i64(len(self.writer)) + self.parts_bytes >= self.block_bytes:
            self.close_block()
        return number

    def settle(self, lane: i64, first: i64, last: i64) -> None:
        if lane == self.settle_lane and first == self.settle_last + 1:
            self.settle_last = last
            return
        if self.settle_lane >= 0:
            self._end_settle()
        self.settle_lane = lane
        self.settle_first = first
        self.settle_last = last

    def _end_settle(self) -> None:
        w = self._header(SETTLE, 0, 24)
        write_i64_be(w, self.settle_lane)
        write_i64_be(w, self.settle_first)
        write_i64_be(w, self.settle_last)
        self.settle_lane = -1

    def delivered(self, lane: i64, below: i64) -> i64:
        w = self._small(DELIVERED, 0, 16)
        write_i64_be(w, lane)
        write_i64_be(w, below)
        return self.block

    def delivered_exactly(self, lane: i64, below: i64) -> None:
        """At a clean stop: this far, and no further."""
        w = self._small(DELIVERED, 1, 16)
        write_i64_be(w, lane)
        write_i64_be(w, below)

    def clean(self) -> None:
        self._small(CLEAN, 0, 0)
        self.urgent = True

    def note(self, lane: i64, seq: i64, note: bytes) -> i64:
        if self.chains:  # a transaction on its way may have an older one, and the last counts
            self.told_again.append(Note(lane, seq, self.chain_number))
            self.newest[(int(lane), int(seq))] = note
        return self._note(lane, seq, note)

    def _note(self, lane: i64, seq: i64, note: bytes) -> i64:
        # Never closes the block, as in `topology`.
        w = self._small(NOTE, 0, 16 + i64(len(note)))
        write_i64_be(w, lane)
        write_i64_be(w, seq)
        w.write(note)
        return self.block

    def fact(self, lane: i64, fact: bytes) -> i64:
        w = self._small(FACT, 0, 8 + i64(len(fact)))
        write_i64_be(w, lane)
        w.write(fact)
        return self.block

    def stored(self, lane: i64, base: i64, entry: bytes) -> None:
        if self.chains:  # the page may know of a move or a transaction that is not all written yet
            self.held_back.append(StoredPage(lane, base, entry))
            return
        w = self._small(STORED, 0, 16 + i64(len(entry)))
        write_i64_be(w, lane)
        write_i64_be(w, base)
        w.write(entry)

    def topology(self, op: bytes) -> i64:
        # Never closes the block: a checkpoint here would miss a change that is being made.
        self._small(TOPOLOGY, 0, len(op)).write(op)
        self.urgent = True
        return self.block

    def _small(self, kind: i64, n: i64, length: i64) -> BytesWriter:
        if self.settle_lane >= 0:
            self._end_settle()
        return self._header(kind, n, length)

    # ---- transactions

    def begin_tx(self) -> None:
        if self.settle_lane >= 0:
            self._end_settle()
        self.outer = self.writer
        self.outer_parts = self.parts
        self.outer_bytes = self.parts_bytes
        self.writer = BytesWriter()
        self.parts = []
        self.parts_bytes = 0

    def end_tx(self) -> i64:
        if self.settle_lane >= 0:
            self._end_settle()
        inner = self.parts
        last = self.writer.getvalue()
        inner.append(last)
        length = self.parts_bytes + i64(len(last))
        outer = self.outer
        assert outer is not None
        self.outer = None
        self.writer = outer
        self.parts = self.outer_parts
        self.parts_bytes = self.outer_bytes
        if length == 0:
            return 0
        self.urgent = True
        if length + HEADER_BYTES > self.whole_bytes:
            head = BytesWriter()
            head.append(TX)
            head.append(0)
            write_i16_be(head, 0)
            write_i32_be(head, i32(length))
            inner.insert(0, head.getvalue())
            return self._chain(inner, length + HEADER_BYTES)
        w = self._header(TX, 0, length)
        if len(inner) == 1:
            w.write(last)
        else:
            self._part(w.getvalue())
            for part in inner:
                self._part(part)
            self.writer = BytesWriter()
        return self._full()

    # ---- blocks

    def empty(self) -> bool:
        """Nothing is open, closed or on its way in fragments."""
        return (
            len(self.writer) == 0
            and not self.parts
            and not self.closed
            and not self.chains
            and self.settle_lane < 0
        )

    def due(self) -> bool:
        """Whether a block should be written now: somebody waits for it, or it is large."""
        return self.urgent or len(self.closed) > 0 or i64(len(self.writer)) + self.parts_bytes >= LAZY_BYTES

    def take(self) -> Block | None:
        """The next block to write, the open one if no other is closed; None if there is nothing."""
        if not self.closed:
            if self.empty():
                self.urgent = False
                return None
            self.close_block()
        return self.closed.pop(0)

    def written(self, block: Block) -> None:
        """A block is on disk. Blocks come back in the order in which they were taken."""
        if block.number > 0:
            self.durable = block.number
        self.backlog_bytes -= block.size_bytes
        self.written_bytes += block.size_bytes

    def close_block(self) -> None:
        """End the open block and begin the next; roll to a new segment when this one is full."""
        if self.settle_lane >= 0:
            self._end_settle()
        size = self.parts_bytes + i64(len(self.writer))
        if len(self.writer) > 0:
            self.parts.append(self.writer.getvalue())
            self.writer = BytesWriter()
        taken: i64 = 0
        if self.chains:
            taken = self._fragment(self.parts)
        parts = self.parts
        self.parts = []
        self.parts_bytes = 0
        self.closed.append(Block(self.block, self.segment, 0, parts, size + taken))
        self.backlog_bytes += size  # a chain's bytes were counted when it came
        self.block += 1
        self.urgent = len(self.chains) > 0
        self.used_bytes += size + taken + BLOCK_OVERHEAD
        if self.used_bytes > self.segment_bytes - self.block_bytes:
            self.roll()
        while self.told_again and (not self.chains or self.chains[0].number > self.told_again[0].behind):
            told = self.told_again.popleft()
            self._note(told.lane, told.seq, self.newest[(int(told.lane), int(told.seq))])
            if not self.told_again:
                self.newest.clear()
        if self.held_back and not self.chains:
            back = self.held_back
            self.held_back = []
            for page in back:
                self.stored(page.lane, page.base, page.entry)

    def in_tx(self) -> bool:
        return self.outer is not None

    def all_said(self) -> i64:
        if self.outer is not None:
            return -1
        if self.fragments > 0:
            return self.block + self.fragments - 1
        if self.settle_lane < 0 and len(self.writer) == 0 and self.parts_bytes == 0:
            return self.block - 1  # the open block is empty, and may be for long
        return self.block

    def _fragment(self, parts: list[bytes]) -> i64:
        """Add the next fragment of the oldest chain. Returns its size in the block, without its header."""
        chain = self.chains[0]
        want = min(chain.left, self.fragment_bytes)
        chain.left -= want
        n: i64 = MIDDLE
        head: i64 = 8
        if chain.left == 0:
            n = LAST
        if not chain.started:
            n = FIRST  # a chain has two fragments at least
            head = 16
            chain.started = True
        w = BytesWriter()
        w.append(FRAGMENT)
        w.append(0)
        write_i16_be(w, i16(n))
        write_i32_be(w, i32(want + head))
        write_i64_be(w, chain.number)
        if n == FIRST:
            write_i64_be(w, chain.segment)
        parts.append(w.getvalue())
        left = want
        while left > 0:
            piece = chain.parts[0]
            size = i64(len(piece)) - chain.at
            if size <= left:
                parts.append(piece if chain.at == 0 else piece[chain.at :])
                del chain.parts[0]
                chain.at = 0
                left -= size
            else:
                parts.append(piece[chain.at : chain.at + left])
                chain.at += left
                left = 0
        self.fragments -= 1
        if chain.left == 0:
            del self.chains[0]
        return want

    # ---- segments

    def hold(self, held: Held) -> None:
        segment = int(held.segment)
        waiting = self.held.get(segment)
        if waiting is None:
            waiting = []
            self.held[segment] = waiting
        waiting.append(held)

    def roll(self) -> None:
        """Begin a new segment, with a checkpoint unless a record is still on its way in fragments."""
        self.segment += 1
        self.used_bytes = 0
        self.leave(self.segment - self.segments + 1)
        if not self.chains:
            self.write_checkpoint()

    def leave(self, below: i64) -> None:
        """Ask what is held in segments below this one to leave them, and see how far the log is free."""
        free = True
        segment = self.oldest
        while segment < self.segment:
            waiting = self.held.get(int(segment))
            if waiting is not None:
                still: list[Held] = []
                if segment < below:
                    for held in waiting:
                        if not held.leave_log():
                            still.append(held)
                else:
                    for held in waiting:
                        if not held.left_log():
                            still.append(held)
                if still:
                    self.held[int(segment)] = still
                    free = False
                else:
                    del self.held[int(segment)]
            if free:
                self.oldest = segment + 1
            segment += 1

    def write_checkpoint(self) -> None:
        self.held_back = []  # it has them
        out = Checkpoint()
        out.begin(self.oldest)
        self.source.checkpoint(out)
        payload = out.end()
        size: i64 = len(payload)
        block = Block(0, self.segment, CHECKPOINT, [payload], size)
        block.keep_from = self.oldest
        self.closed.append(block)
        self.backlog_bytes += size
        self.used_bytes += size + BLOCK_OVERHEAD
        if self.used_bytes > self.segment_bytes // 2:  # a large checkpoint must not roll the segment at once
            self.used_bytes = self.segment_bytes // 2
        self.checkpoints += 1


def write_terms(w: BytesWriter, terms: Terms) -> None:
    write_i64_be(w, terms.stamp_ms)
    write_i64_be(w, terms.ttl_ms)
    write_i64_be(w, terms.due_ms)
    write_i64_be(w, terms.priority)


def patch16(w: BytesWriter, at: i64, value: i64) -> None:
    w[at] = u8((value >> 8) & 0xFF)
    w[at + 1] = u8(value & 0xFF)
