"""What became of messages that do not stay where they were published: they are delayed, tried again, and dead in the end.

A message is in one place at a time, whichever that is, and goes one way: from where it was published to where dead
letters go. So one that was delivered there cannot come from where it was again, and nobody gets it while another has
it. What is not known is not held against the broker: whether a publish without a confirm happened, and whether an ack
was on disk before a crash.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from .ledger import HEAD, Key, Violation, make_body

EARLY_S = 0.3  # the broker knows the time as of when it began to do something


@dataclass
class Fate:
    queue: str  # where it was published to
    due_s: float = 0.0  # not to be delivered before
    group: int = 0
    confirmed: bool = False
    seen: bool = False
    dead: bool = False  # was delivered as a dead letter
    holder: str = ""  # who has it
    acked_in: int = -1  # the life of the broker in which it was acked
    ack_sent: bool = False


class Fates:
    def __init__(self, dead: str) -> None:
        self.dead_queue = dead
        self.lock = threading.Lock()
        self.cycle = 0
        self.life = 0
        self.messages: dict[Key, Fate] = {}
        self.newest: dict[
            tuple[int, int], int
        ] = {}  # (publisher, group): the last that was new to its consumer
        self.violations: list[str] = []
        self.counts = dict.fromkeys(("featured", "dead", "rejected", "settled"), 0)

    def violated(self, text: str) -> None:
        self.violations.append(f"cycle {self.cycle}: {text}")
        raise Violation(text)

    # ---- publishers

    def sending(self, key: Key, queue: str, due_s: float, group: int) -> None:
        with self.lock:
            self.counts["featured"] += 1
            self.messages[key] = Fate(queue, due_s, group)

    def confirmed(self, key: Key) -> None:
        with self.lock:
            self.messages[key].confirmed = True

    # ---- consumers

    def delivered(self, queue: str, body: bytes, redelivered: bool, who: str) -> Key:
        publisher, number, tx, count, index, _ = HEAD.unpack_from(body)
        key = (publisher, number)
        name = f"message {publisher}/{number}"
        with self.lock:
            fate = self.messages.get(key)
            if fate is None:
                self.violated(f"{name} in {queue} was never published, or was settled before an audit")
                raise AssertionError
            if body != make_body(publisher, number, len(body), tx, count, index):
                self.violated(f"{name} in {queue} came with another body ({len(body)} bytes)")
            if queue not in (fate.queue, self.dead_queue):
                self.violated(f"{name} was published to {fate.queue} and came from {queue}")
            if fate.holder:
                self.violated(f"{name} came from {queue} while {fate.holder} has it: it is there twice")
            if fate.acked_in == self.life:
                self.violated(
                    f"{name} came from {queue} after its ack, without a crash between: it is there twice"
                )
            if fate.dead and queue != self.dead_queue:
                self.violated(f"{name} came from {queue} again after it was a dead letter: it is there twice")
            early_s = fate.due_s - time.time()
            if early_s > EARLY_S:
                self.violated(f"{name} came from {queue} {early_s:.1f} s too early")
            if queue == self.dead_queue:
                self.counts["dead"] += not fate.dead
                fate.dead = True
            elif fate.group and not redelivered:
                self._in_order(name, key, fate.group)
            fate.seen = True
            fate.holder = who
        return key

    def _in_order(self, name: str, key: Key, group: int) -> None:
        lane = (key[0], group)
        if key[1] <= self.newest.get(lane, 0):
            self.violated(f"{name} of group {group} came as new after {key[0]}/{self.newest[lane]}")
        self.newest[lane] = key[1]

    def acking(self, key: Key) -> None:
        """Before the ack is sent."""
        with self.lock:
            self.counts["settled"] += 1
            fate = self.messages[key]
            fate.holder = ""
            fate.ack_sent = True
            fate.acked_in = self.life

    def giving_back(self, keys: list[Key], acked: list[Key], rejected: bool = False) -> None:
        """Before messages are rejected or returned. acked: acks that may be lost with the connection."""
        with self.lock:
            self.counts["rejected"] += len(keys) if rejected else 0
            for key in keys:
                self.messages[key].holder = ""
            for key in acked:
                self.messages[key].acked_in = -1

    # ---- between two lives

    def next_life(self) -> None:
        self.life += 1
        for fate in self.messages.values():
            fate.holder = ""

    def audit(self) -> None:
        """When everything was taken out: what should have come and did not."""
        missing = sorted(k for k, f in self.messages.items() if f.confirmed and not f.ack_sent)
        if missing:
            shown = ", ".join(f"{p}/{n} of {self.messages[p, n].queue}" for p, n in missing[:20])
            self.violated(f"{len(missing)} confirmed messages are in no queue, nor among the dead: {shown}")
        self.messages.clear()
