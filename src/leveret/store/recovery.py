"""What a log says: from its blocks to the state they leave behind.

Two passes over the blocks, so that no more than a segment is in memory at a time. The first (`learn`) forgets at each
checkpoint what that has, and so ends with what is settled, which pages are on disk and how the topology ended; the
second (`recall`) brings back the messages that still wait, in order, and only those. It knows records and lanes as
numbers; a `Restorer` (the broker) makes queues of them.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be

from leveret.errors import Damaged
from leveret.journal import Restorer
from leveret.message import Message, Terms
from leveret.native import i64
from leveret.ranges import Ranges
from leveret.store.records import (
    BEGIN,
    CLEAN,
    CONTENT_BYTES,
    DELIVERED,
    END,
    FACT,
    FIRST,
    FRAGMENT,
    HAS_TERMS,
    HEADER_BYTES,
    LANE,
    LAST,
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
    record_end,
)

COUNT_MASK: Final[i64] = (
    0x7FFF  # of the slots that a page's entry begins with; the bit above is core's (core/page.py)
)


class LaneState:
    def __init__(self) -> None:
        self.next_seq: i64 = 0
        self.below: i64 = 0
        self.lives = False  # there is a queue for it; known in the second pass
        self.gone = Ranges()
        self.pages: dict[int, bytes] = {}  # base: entry
        self.stored = Ranges()
        self.late: list[tuple[int, Message, int]] = []  # from chains: (seq, message, segment)
        self.notes: dict[int, bytes] = {}  # seq: the last
        self.facts: list[bytes] = []

    def forget(self) -> None:
        """All but what is settled."""
        self.next_seq = 0
        self.below = 0
        self.pages = {}
        self.stored = Ranges()
        self.notes = {}
        self.facts = []


class ChainState:
    def __init__(self, segment: i64) -> None:
        self.parts: list[bytes] = []
        self.segment: i64 = segment


class Recovery:
    """First pass: `learn` every block in order. Then `begin`; second pass: `recall` every block in order; `end`."""

    def __init__(self) -> None:
        self.restorer = Restorer()  # until `begin`: nobody
        self.lanes: dict[int, LaneState] = {}
        self.topology: list[bytes] = []  # changes, those of the checkpoint first
        self.chains: dict[int, ChainState] = {}
        self.whole: list[tuple[int, bytes]] = []  # records that came in fragments: (segment, record)
        self.keep_from: i64 = 0  # what came in older segments has left the log
        self.seen_checkpoint = False
        self.next_seq: i64 = 1  # of the block that comes next
        self.last_segment: i64 = 0
        self.counts: dict[int, int] = {}  # segment: how many blocks it has
        self.needed: list[tuple[int, int]] = []  # pages on which something waits
        self.clean = False  # the last thing that happened was a clean stop
        self.near = LaneState()  # the lane that was looked at last
        self.near_lane: i64 = -1
        self.messages: i64 = 0
        self.records: i64 = 0

    def learn(self, segment: i64, seq: i64, flags: i64, payload: bytes) -> None:
        """First pass."""
        self.last_segment = segment
        self.next_seq = seq + 1
        if flags & 1:
            self._checkpoint(seq, payload)
        self._scan(payload, segment)

    def _checkpoint(self, seq: i64, payload: bytes) -> None:
        """Forget what the checkpoint has. Settlements stay: messages that are still in the log may need them."""
        keep_from = checkpoint_of(payload)
        if keep_from < 0:
            raise Damaged(f"block {seq} of the log says that it is a checkpoint and is none")
        self.keep_from = keep_from
        self.seen_checkpoint = True
        self.clean = False
        self.topology = []
        self.chains = {}
        self.whole = [each for each in self.whole if each[0] >= keep_from]
        for state in self.lanes.values():
            state.forget()

    def _lane(self, lane: i64) -> LaneState:
        state = self.lanes.get(int(lane))
        if state is None:
            state = LaneState()
            self.lanes[int(lane)] = state
        return state

    def _scan(self, payload: bytes, segment: i64) -> None:
        pos: i64 = 0
        n: i64 = len(payload)
        while pos < n:
            end = record_end(payload, pos)
            kind = i64(payload[pos])
            self.records += 1
            if kind == PUBLISH:
                self.clean = False
                content = pos + HEADER_BYTES + i64(read_i16_be(payload, pos + 2)) * TARGET_BYTES
                if content + CONTENT_BYTES > end:
                    raise Damaged("a publish record is cut short")
                if i64(payload[content]) & MOVED:
                    self._moved(payload, content, end)
            elif kind == SETTLE:
                state = self._lane(read_i64_be(payload, pos + 8))
                state.gone.add(read_i64_be(payload, pos + 16), read_i64_be(payload, pos + 24))
            else:
                self._scan_rare(kind, payload, pos, end, segment)
            pos = end

    def _moved(self, payload: bytes, content: i64, end: i64) -> None:
        at = content + CONTENT_BYTES
        if i64(payload[content]) & HAS_TERMS:
            at += TERMS_BYTES
        if at + SOURCE_BYTES > end:
            raise Damaged("a publish record is cut short")
        seq = read_i64_be(payload, at + 8)
        self._lane(read_i64_be(payload, at)).gone.add(seq, seq)

    def _scan_rare(self, kind: i64, payload: bytes, pos: i64, end: i64, segment: i64) -> None:
        body = pos + HEADER_BYTES
        if kind == DELIVERED:
            state = self._lane(read_i64_be(payload, body))
            below = read_i64_be(payload, body + 8)
            if i64(read_i16_be(payload, pos + 2)) == 1 or below > state.below:
                state.below = below
            self.clean = False
        elif kind == STORED:
            state = self._lane(read_i64_be(payload, body))
            base = read_i64_be(payload, body + 8)
            entry = payload[body + 16 : end]
            state.pages[int(base)] = entry
            state.stored.add(base, base + (i64(read_i16_be(entry, 0)) & COUNT_MASK) - 1)
        elif kind == TOPOLOGY:
            self.clean = False
            self.topology.append(payload[body:end])
        elif kind == TX:
            self.clean = False
            self._scan(payload[body:end], segment)
        elif kind == FRAGMENT:
            self._fragment(payload, pos, end, segment)
        elif kind == NOTE:
            self.clean = False
            state = self._lane(read_i64_be(payload, body))
            state.notes[int(read_i64_be(payload, body + 8))] = payload[body + 16 : end]
        elif kind == FACT:
            self.clean = False
            self._lane(read_i64_be(payload, body)).facts.append(payload[body + 8 : end])
        elif kind == LANE:
            state = self._lane(read_i64_be(payload, body))
            state.next_seq = read_i64_be(payload, body + 8)
            state.below = read_i64_be(payload, body + 16)
        elif kind == CLEAN:
            self.clean = True
        elif kind not in (BEGIN, END):
            raise Damaged(f"a record of unknown type {kind}: written by a newer version?")

    def _fragment(self, payload: bytes, pos: i64, end: i64, segment: i64) -> None:
        number = int(read_i64_be(payload, pos + 8))
        place = i64(read_i16_be(payload, pos + 2))
        at = pos + 16
        if place == FIRST:
            segment = read_i64_be(payload, at)
            at += 8
            if segment >= self.keep_from:
                self.chains[number] = ChainState(segment)
        chain = self.chains.get(number)
        if chain is None:
            return  # from a segment that is not needed any more: all of it is settled or on its pages
        chain.parts.append(payload[at:end])
        if place == LAST:
            del self.chains[number]
            record = b"".join(chain.parts)
            self.whole.append((int(chain.segment), record))
            self._scan(record, chain.segment)

    def begin(self, restorer: Restorer) -> None:
        """Between the passes: topology, stored pages, and records that came in fragments, to the restorer."""
        self.restorer = restorer
        for op in self.topology:
            restorer.topology(op)
        self.topology = []
        for lane, state in self.lanes.items():
            if not restorer.has_lane(lane):
                continue
            restorer.lane(lane, state.below)
            for fact in state.facts:
                restorer.fact(lane, fact)
            state.facts = []
            for base in sorted(state.pages):
                if restorer.page(lane, base, state.pages[base], state.gone):
                    self.needed.append((lane, base))
        for segment, record in self.whole:
            self._publishes(record, segment, True)
        self.whole = []
        for state in self.lanes.values():
            state.late.sort(key=late_key)

    def recall(self, segment: i64, flags: i64, payload: bytes) -> None:
        """Second pass."""
        if flags & 1 == 0 and segment >= self.keep_from:
            self._publishes(payload, segment, False)

    def end(self) -> None:
        restorer = self.restorer
        for lane, state in self.lanes.items():
            if not restorer.has_lane(lane):
                continue
            self._late(lane, state, 1 << 62)
            for seq in sorted(state.notes):
                if not state.gone.has(seq):
                    restorer.note(lane, seq, state.notes[seq])
            state.notes = {}
            restorer.end(lane, max(state.next_seq, state.gone.end(), state.stored.end()))

    def _publishes(self, payload: bytes, segment: i64, late: bool) -> None:
        pos: i64 = 0
        n: i64 = len(payload)
        while pos < n:
            end = record_end(payload, pos)
            kind = i64(payload[pos])
            if kind == PUBLISH:
                self._publish(payload, pos, end, segment, late)
            elif kind == TX:
                self._publishes(payload[pos + HEADER_BYTES : end], segment, late)
            pos = end

    def _publish(self, payload: bytes, pos: i64, end: i64, segment: i64, late: bool) -> None:
        targets: i64 = i64(read_i16_be(payload, pos + 2))
        at = pos + HEADER_BYTES
        content = at + targets * TARGET_BYTES
        m: Message | None = None
        while at < content:
            lane = read_i64_be(payload, at)
            seq = read_i64_be(payload, at + 8)
            at += TARGET_BYTES
            state = self.near
            if lane != self.near_lane:
                state = self._lane(lane)
                state.lives = self.restorer.has_lane(lane)
                self.near = state
                self.near_lane = lane
            if seq >= state.next_seq:
                state.next_seq = seq + 1
            if not state.lives or state.gone.has(seq) or state.stored.has(seq):
                continue
            if m is None:
                m = message_at(payload, content, end)
            if late:
                state.late.append((int(seq), m, int(segment)))
            else:
                if state.late:
                    self._late(lane, state, seq)
                self.restorer.message(lane, seq, m, segment)
                self.messages += 1

    def _late(self, lane: i64, state: LaneState, below: i64) -> None:
        late = state.late
        n: i64 = 0
        while n < i64(len(late)) and late[n][0] < below:
            seq, m, segment = late[n]
            self.restorer.message(lane, seq, m, segment)
            self.messages += 1
            n += 1
        del late[:n]


def late_key(item: tuple[int, Message, int]) -> int:
    return item[0]


def message_at(payload: bytes, at: i64, end: i64) -> Message:
    """The message of a PUBLISH record whose content begins at `at`."""
    flags = i64(payload[at])
    terms_at = at + CONTENT_BYTES
    route_at = terms_at
    if flags & HAS_TERMS:
        route_at += TERMS_BYTES
    if flags & MOVED:
        route_at += SOURCE_BYTES
    data_at = route_at + i64(read_i16_be(payload, at + 2))
    size: i64 = i64(read_i32_be(payload, at + 4))
    if data_at + size != end:
        raise Damaged("a publish record's lengths do not add up")
    m = Message(
        payload[data_at:end],
        payload[route_at:data_at],
        read_i64_be(payload, at + 8),
        flags & PERSISTENT != 0,
        i64(payload[at + 1]),
    )
    if flags & HAS_TERMS:
        m.terms = Terms(
            read_i64_be(payload, terms_at),
            read_i64_be(payload, terms_at + 8),
            read_i64_be(payload, terms_at + 16),
            read_i64_be(payload, terms_at + 24),
        )
    return m


def checkpoint_of(payload: bytes) -> i64:
    """The oldest segment that a checkpoint block needs, or -1 if it is none."""
    if len(payload) >= 16 and i64(payload[0]) == BEGIN:
        return read_i64_be(payload, 8)
    return -1
