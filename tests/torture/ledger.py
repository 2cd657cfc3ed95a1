"""What is true: who published, was confirmed, got and settled what. It finds what a broker must not do.

A message is named by its publisher and number; in each queue it has an entry of its own. Actors report from many
threads; one lock makes an order of it. It knows nothing of sockets.

What is not known is not held against the broker: a publish that was not confirmed may be there or not; an ack that
was sent may be lost with the crash, and then the message comes back with its redelivered flag. An ack of a
transaction that was committed is known.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field

HEAD = struct.Struct(">HQIHHI")  # publisher, number, transaction (0: none), its publishes, index, size
FILLER = bytes((i * 37 + (i >> 8) * 11) & 0xFF for i in range(1 << 16)) * 64

CONFIRMED, ACK_SENT, ACK_SYNCED, SEEN, SEEN_FRESH = 1, 2, 4, 8, 16
Key = tuple[int, int]  # publisher, number


class Violation(Exception):
    """The broker broke a promise."""


def make_body(publisher: int, number: int, size: int, tx: int = 0, count: int = 0, index: int = 0) -> bytes:
    size = max(size, HEAD.size)
    start = (publisher * 7919 + number * 131) & 0xFFFF
    return HEAD.pack(publisher, number, tx, count, index, size) + FILLER[start : start + size - HEAD.size]


def show(queue: str, key: Key) -> str:
    return f"message {key[0]}/{key[1]} in {queue}"


@dataclass
class Tx:
    count: int
    keys: list[tuple[str, Key]]
    life: int  # of the broker, in which it was sent


@dataclass
class Lane:
    """A queue: state of each message, and in which of the broker's lives it was last seen and acked."""

    state: dict[Key, int] = field(default_factory=dict)
    seen_in: dict[Key, int] = field(default_factory=dict)
    acked_in: dict[Key, int] = field(default_factory=dict)
    # by publisher: the last first delivery of earlier lives, and of this one
    before: dict[int, int] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)


class Ledger:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.cycle = 0  # for reports
        self.life = 0  # of the broker: one ends with each kill or stop
        self.lanes: dict[str, Lane] = {}
        self.numbers: dict[int, int] = {}
        self.transactions: dict[Key, Tx] = {}  # by publisher and transaction
        self.violations: list[str] = []
        self.counts = dict.fromkeys(("sent", "confirmed", "delivered", "redelivered", "acked", "requeued"), 0)

    def lane(self, queue: str) -> Lane:
        return self.lanes.setdefault(queue, Lane())

    def violated(self, text: str) -> None:
        self.violations.append(f"cycle {self.cycle}: {text}")
        raise Violation(text)

    # ---- publishers

    def number(self, publisher: int) -> int:
        with self.lock:
            self.numbers[publisher] = self.numbers.get(publisher, 0) + 1
            return self.numbers[publisher]

    def sending(self, queues: tuple[str, ...], key: Key) -> None:
        with self.lock:
            self.counts["sent"] += 1
            for queue in queues:
                self.lane(queue).state[key] = 0

    def confirmed(self, queues: tuple[str, ...], key: Key) -> None:
        with self.lock:
            self.counts["confirmed"] += 1
            for queue in queues:
                self.lane(queue).state[key] |= CONFIRMED

    def begin(self, publisher: int, tx: int, keys: list[tuple[str, Key]]) -> None:
        with self.lock:
            self.counts["sent"] += len(keys)
            self.transactions[publisher, tx] = Tx(len(keys), keys, self.life)
            for queue, key in keys:
                self.lane(queue).state[key] = 0

    def committed(self, publisher: int, tx: int) -> None:
        with self.lock:
            found = self.transactions[publisher, tx]
            self.counts["confirmed"] += found.count
            for queue, key in found.keys:
                self.lane(queue).state[key] |= CONFIRMED

    # ---- consumers

    def delivered(self, queue: str, body: bytes, redelivered: bool, last: dict[Key, int]) -> Key:
        """A delivery; `last` is the consumer's own: the number of its last first delivery by publisher."""
        publisher, number, tx, count, index, _ = HEAD.unpack_from(body)
        key = (publisher, number)
        with self.lock:
            self.counts["delivered"] += 1
            self.counts["redelivered"] += redelivered
            lane = self.lane(queue)
            state = lane.state.get(key)
            if state is None:
                self.violated(f"{show(queue, key)} was never published there, or was settled before an audit")
                raise AssertionError
            if body != make_body(publisher, number, len(body), tx, count, index):
                self.violated(f"{show(queue, key)} came with another body ({len(body)} bytes)")
            if state & ACK_SYNCED:
                self.violated(f"{show(queue, key)} came back though its ack was committed")
            if lane.acked_in.get(key) == self.life:
                self.violated(f"{show(queue, key)} came back after its ack, without a crash between")
            if not redelivered:
                self._first(queue, lane, key, state, last)
            lane.state[key] = state | SEEN | (0 if redelivered else SEEN_FRESH)
            lane.seen_in[key] = self.life
        return key

    def _first(self, queue: str, lane: Lane, key: Key, state: int, last: dict[Key, int]) -> None:
        publisher, number = key
        if state & SEEN_FRESH or lane.seen_in.get(key, self.life) < self.life:
            self.violated(f"{show(queue, key)} was delivered again without the redelivered flag")
        for what, latest in (
            ("this consumer got", last.get((publisher, 0), 0)),
            ("an earlier life had seen", lane.before.get(publisher, 0)),
        ):
            if number <= latest:
                self.violated(f"{show(queue, key)} came as new after {what} {publisher}/{latest}")
        last[publisher, 0] = number
        lane.newest[publisher] = max(number, lane.newest.get(publisher, 0))

    def acking(self, queue: str, keys: list[Key]) -> None:
        """Before the ack is sent."""
        with self.lock:
            self.counts["acked"] += len(keys)
            lane = self.lane(queue)
            for key in keys:
                lane.state[key] |= ACK_SENT
                lane.acked_in[key] = self.life

    def dropping(self, queue: str, keys: list[Key]) -> None:
        """Before a connection is closed without a word: the system may throw away what was not read, acks too."""
        with self.lock:
            for key in keys:
                self.lane(queue).acked_in.pop(key, None)

    def acks_committed(self, queue: str, keys: list[Key]) -> None:
        with self.lock:
            lane = self.lane(queue)
            for key in keys:
                lane.state[key] |= ACK_SYNCED

    def requeueing(self, number: int) -> None:
        with self.lock:
            self.counts["requeued"] += number

    # ---- between two lives

    def next_life(self) -> None:
        self.life += 1
        for lane in self.lanes.values():
            lane.before.update(lane.newest)

    def check_count(self, queue: str, waiting: int) -> None:
        """After a start: as many as must be there, and no more than can be."""
        lane = self.lane(queue)
        must = [key for key, state in lane.state.items() if state & CONFIRMED and not state & ACK_SENT]
        may = sum(not state & ACK_SYNCED for state in lane.state.values())
        if waiting < len(must):
            self.violated(f"{queue} has {waiting} messages, {len(must)} are confirmed and not settled")
        if waiting > may:
            self.violated(f"{queue} has {waiting} messages, at most {may} can be there")

    def audit(self) -> None:
        """When everything was taken out of every queue: what should have come and did not, and torn transactions."""
        for queue, lane in sorted(self.lanes.items()):
            missing = sorted(k for k, s in lane.state.items() if s & CONFIRMED and not s & (SEEN | ACK_SENT))
            left = sorted(k for k, s in lane.state.items() if s & CONFIRMED and s & SEEN and not s & ACK_SENT)
            for keys, what in (
                (missing, "were never delivered"),
                (left, "were delivered, not settled, and gone"),
            ):
                if keys:
                    shown = ", ".join(f"{p}/{n}" for p, n in keys[:20])
                    self.violated(f"{len(keys)} confirmed messages of {queue} {what}: {shown}")
        for (publisher, number), tx in sorted(self.transactions.items()):
            # What was seen before the crash only may have been delivered ahead of the disk, and lost with it.
            after = [key for queue, key in tx.keys if self.lane(queue).seen_in.get(key, 0) > tx.life]
            absent = [key for queue, key in tx.keys if key not in self.lane(queue).seen_in]
            if after and absent:
                shown = ", ".join(f"{p}/{n}" for p, n in absent[:20])
                self.violated(
                    f"transaction {publisher}/{number} of {tx.count} publishes is torn: after a crash {len(after)} of them"
                    f" were there, and these never: {shown}"
                )
        # Nothing is in any queue: what was may be forgotten, so that a long run does not fill the memory.
        self.transactions.clear()
        for lane in self.lanes.values():
            for each in (lane.state, lane.seen_in, lane.acked_in):
                each.clear()
