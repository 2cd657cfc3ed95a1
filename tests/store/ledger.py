"""A state kept by a real journal, with lanes that are nothing but numbers, and what a log that is cut off leaves of it.

A `Ledger` does to a journal what a broker does: publishes, moves, settles, notes, facts and transactions, pages that
leave the log and checkpoints. It remembers the block of everything, so that `after(n)` is what recovery has to find
when the log ends with block n. `recovered` is what it does find.
"""

from __future__ import annotations

import json

from leveret.journal import Held, Restorer, StateSink, StateSource
from leveret.message import AMQP091, Message, Terms
from leveret.ranges import Ranges
from leveret.store.journal import Block, LogJournal
from leveret.store.recovery import Recovery

SEGMENT_BYTES = 16_384  # blocks of 4,096 bytes; large records are cut into fragments of 1,024
PAGE = 4
LANES = (7, 8, 7 + (256 << 40))

Content = tuple[bytes, tuple[int, int, int, int] | None]
Place = tuple[int, int]  # lane, seq
State = tuple[dict[Place, Content], dict[Place, bytes], dict[int, list[bytes]]]


def message(body: bytes, terms: tuple[int, int, int, int] | None = None) -> Message:
    m = Message(body, b"\0\1q", len(body), True, AMQP091)
    if terms is not None:
        m.terms = Terms(*terms)
    return m


def content_of(m: Message) -> Content:
    terms = m.terms
    if terms is None:
        return m.data, None
    return m.data, (int(terms.stamp_ms), int(terms.ttl_ms), int(terms.due_ms), int(terms.priority))


class LedgerPage(Held):
    """Leaves the log at the second time of asking, as one does that has to be written first."""

    def __init__(self, ledger: Ledger, lane: int, base: int) -> None:
        super().__init__()
        self.ledger = ledger
        self.lane = lane
        self.base = base
        self.stored = False

    def entry(self) -> bytes:
        """Slots, with the bit above that is not the store's to know; and those that are gone, in a way of our own."""
        live = [seq for lane, seq in self.ledger.live if lane == self.lane]
        gone = [seq for seq in range(self.base, self.base + PAGE) if seq not in live]
        return (PAGE | 0x8000).to_bytes(2, "big") + json.dumps(gone).encode()

    def left_log(self) -> bool:
        if self.ledger.lives(self):
            return self.stored
        self.segment = 0  # it may take messages again: then it is held again
        return True

    def leave_log(self) -> bool:
        if self.left_log():
            return True
        ledger = self.ledger
        for seq in range(self.base, self.base + PAGE):
            if (self.lane, seq) in ledger.live:
                ledger.files[(self.lane, seq)] = ledger.live[(self.lane, seq)]
        self.stored = True
        ledger.journal.stored(self.lane, self.base, self.entry())
        return False


class Ledger(StateSource):
    def __init__(self) -> None:
        self.journal = LogJournal(self, 1, SEGMENT_BYTES)
        self.events: list[tuple[int, str, Place, object]] = []
        self.live: dict[Place, Content] = {}
        self.notes: dict[Place, bytes] = {}
        self.facts: dict[int, list[bytes]] = {lane: [] for lane in LANES}
        self.next: dict[int, int] = dict.fromkeys(LANES, 0)
        self.pages: dict[Place, LedgerPage] = {}
        self.files: dict[Place, Content] = {}
        self.blocks: list[Block] = []
        self.tx: list[tuple[str, Place, object]] | None = None
        self.journal.write_checkpoint()

    # ---- what the journal asks

    def lives(self, page: LedgerPage) -> bool:
        return any((page.lane, seq) in self.live for seq in range(page.base, page.base + PAGE))

    def checkpoint(self, out: StateSink) -> None:
        for lane in LANES:
            if self.next[lane]:
                out.lane(lane, self.next[lane], 0)
            for page in self.pages.values():
                if page.lane == lane and page.stored and self.lives(page):
                    out.stored(lane, page.base, page.entry())
            for (owner, seq), note in self.notes.items():
                if owner == lane:
                    out.note(lane, seq, note)
            for fact in self.facts[lane]:
                out.fact(lane, fact)

    # ---- what clients do

    def _add(self, position: int, kind: str, place: Place, what: object = None) -> None:
        if self.tx is not None:
            self.tx.append((kind, place, what))
        else:
            self.events.append((position, kind, place, what))

    def _push(self, m: Message, lane: int) -> int:
        seq = self.next[lane]
        self.next[lane] += 1
        self.live[(lane, seq)] = content_of(m)
        base = seq - seq % PAGE
        page = self.pages.setdefault((lane, base), LedgerPage(self, lane, base))
        if page.stored:  # it is closed: go on in the next
            del self.live[(lane, seq)]
            self.next[lane] = base + PAGE
            return self._push(m, lane)
        if page.segment == 0:
            page.segment = self.journal.segment
            self.journal.hold(page)
        return seq

    def publish(self, m: Message, lanes: list[int], source: Place | None = None) -> int:
        if len(lanes) == 1 and source is None:
            seq = self._push(m, lanes[0])
            seqs = [seq]
            position = int(self.journal.publish(m, lanes[0], seq))
        else:
            seqs = [self._push(m, lane) for lane in lanes]
            self.journal.begin(m, *((-1, 0) if source is None else source))
            for lane, seq in zip(lanes, seqs, strict=True):
                self.journal.target(lane, seq)
            position = int(self.journal.end())
        for lane, seq in zip(lanes, seqs, strict=True):
            self._add(position, "publish", (lane, seq), content_of(m))
        if source is not None:
            self._gone(source)
            self._add(position, "gone", source)
        return position

    def _gone(self, place: Place) -> None:
        del self.live[place]
        self.notes.pop(place, None)

    def settle(self, place: Place) -> None:
        self.journal.settle(place[0], place[1], place[1])
        self._gone(place)
        self._add(int(self.journal.block), "gone", place)

    def note(self, place: Place, note: bytes) -> int:
        self.notes[place] = note
        position = int(self.journal.note(*place, note))
        self._add(position, "note", place, note)
        return position

    def fact(self, lane: int, fact: bytes) -> int:
        self.facts[lane].append(fact)
        position = int(self.journal.fact(lane, fact))
        self._add(position, "fact", (lane, 0), fact)
        return position

    def begin_tx(self) -> None:
        self.journal.begin_tx()
        self.tx = []

    def end_tx(self) -> int:
        position = int(self.journal.end_tx())
        inner = self.tx
        assert inner is not None
        self.tx = None
        for kind, place, what in inner:
            self.events.append((position, kind, place, what))
        return position

    # ---- the writer

    def write(self) -> None:
        """All there is."""
        while True:
            self.journal.urgent = True
            block = self.journal.take()
            if block is None:
                return
            self.blocks.append(block)
            self.journal.written(block)

    # ---- what is left

    def after(self, last: int) -> State:
        """What is there when the log ends with block `last`: a chain's records count where it ends."""
        found: dict[Place, Content] = {}
        gone: set[Place] = set()
        notes: dict[Place, bytes] = {}
        facts: dict[int, list[bytes]] = {}
        for position, kind, place, what in sorted(self.events, key=lambda event: event[0]):
            if position > last:
                break
            if kind == "publish":
                assert isinstance(what, tuple)
                found[place] = what
            elif kind == "gone":
                gone.add(place)
            elif kind == "note":
                assert isinstance(what, bytes)
                notes[place] = what
            else:
                assert isinstance(what, bytes)
                facts.setdefault(place[0], []).append(what)
        for place in gone:
            found.pop(place, None)
        return found, {place: note for place, note in notes.items() if place in found}, facts

    def cut(self, n: int, trimmed: bool) -> list[Block]:
        """The first n blocks; trimmed: without those that a checkpoint among them gave up."""
        blocks = self.blocks[:n]
        keep_from = max((int(block.keep_from) for block in blocks), default=0) if trimmed else 0
        return [block for block in blocks if block.segment >= keep_from]


class Reader(Restorer):
    """Takes down what recovery finds, and sees to it that it comes in the order that was promised."""

    def __init__(self, files: dict[Place, Content], known: tuple[int, ...] = LANES) -> None:
        self.files = files
        self.known = known
        self.found: dict[Place, Content] = {}
        self.notes: dict[Place, bytes] = {}
        self.facts: dict[int, list[bytes]] = {}
        self.last: dict[int, int] = {}
        self.ended: dict[int, int] = {}

    def topology(self, op: bytes) -> None:
        raise AssertionError("there is none")

    def has_lane(self, lane: int) -> bool:
        return lane in self.known

    def lane(self, lane: int, delivered_below: int) -> None:
        assert lane not in self.last
        self.last[int(lane)] = -1

    def fact(self, lane: int, fact: bytes) -> None:
        assert self.last[int(lane)] == -1
        self.facts.setdefault(int(lane), []).append(fact)

    def page(self, lane: int, base: int, entry: bytes, gone: Ranges) -> bool:
        before = len(self.found)
        for seq in range(base, base + PAGE):
            if not gone.has(seq) and seq not in json.loads(entry[2:]):
                self.found[(lane, seq)] = self.files[(lane, seq)]
        return len(self.found) > before

    def message(self, lane: int, seq: int, m: Message, segment: int) -> None:
        assert self.last.get(int(lane), -1) < seq
        assert (lane, seq) not in self.found
        self.last[int(lane)] = int(seq)
        self.found[(int(lane), int(seq))] = content_of(m)

    def note(self, lane: int, seq: int, note: bytes) -> None:
        assert lane not in self.ended
        if (lane, seq) in self.found:
            self.notes[(int(lane), int(seq))] = note

    def end(self, lane: int, next_seq: int) -> None:
        assert all(seq < next_seq for owner, seq in self.found if owner == lane)
        self.ended[int(lane)] = int(next_seq)


def recovered(blocks: list[Block], reader: Reader) -> State:
    """What recovery makes of these blocks."""
    recovery = Recovery()
    payloads = [b"".join(block.parts) for block in blocks]
    for n, block in enumerate(blocks):
        recovery.learn(block.segment, n + 1, block.flags, payloads[n])
    recovery.begin(reader)
    for block, payload in zip(blocks, payloads, strict=True):
        recovery.recall(block.segment, block.flags, payload)
    recovery.end()
    return reader.found, reader.notes, reader.facts
