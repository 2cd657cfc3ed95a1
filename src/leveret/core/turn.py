"""What one turn of the loop has to look after: queues that changed, peers with output, sessions that wait for disk.

A peer, a session or a queue enters itself once and is taken out when looked after; nothing here knows more of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.journal import Journal
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.queue import Queue


class Outlet:
    """Something that writes to one connection."""

    def __init__(self) -> None:
        self.touched = False

    def flush(self) -> None:
        """Write what has gathered, once."""


class Waiter:
    """Something that waits for the watermark, such as a channel with confirms to send."""

    def __init__(self) -> None:
        self.waiting = False

    def advance(self, durable: i64) -> i64:
        """All blocks up to `durable` are on disk. Returns the last position it still waits for, 0 for none."""
        return 0


class Turn:
    """What one of those raises that it goes through holds up none of the others: they are next."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.now_ms: i64 = 0  # wall clock, set once a turn by whoever runs the loop
        self.tick_ms: i64 = 0  # a clock that is never set, ten times a second
        self.dirty: list[Queue] = []
        self.outlets: list[Outlet] = []
        self.waiters: list[Waiter] = []

    def wait_for(self, waiter: Waiter, position: i64) -> None:
        """Call `advance` when the watermark moves; the open block is wanted soon if it is the one."""
        if position >= self.journal.block:
            self.journal.urgent = True
        if not waiter.waiting:
            waiter.waiting = True
            self.waiters.append(waiter)

    def pump(self) -> None:
        """Deliver from every queue that changed."""
        dirty = self.dirty
        if dirty:
            self.dirty = []
            done: i64 = 0
            try:
                for queue in dirty:
                    done += 1
                    queue.pump()
            except Exception:
                self.dirty.extend(dirty[done:])
                raise

    def settle_waiters(self) -> None:
        """Tell those that wait how far the disk is."""
        waiters = self.waiters
        if waiters:
            self.waiters = []
            journal = self.journal
            durable = journal.durable
            done: i64 = 0
            try:
                for w in waiters:
                    done += 1
                    w.waiting = False
                    position = w.advance(durable)
                    if position != 0:
                        self.wait_for(w, position)
            except Exception:
                self.waiters.extend(waiters[done:])
                raise

    def flush(self) -> None:
        """One write for every connection that has output."""
        outlets = self.outlets
        if outlets:
            self.outlets = []
            done: i64 = 0
            try:
                for outlet in outlets:
                    done += 1
                    outlet.touched = False
                    outlet.flush()
            except Exception:
                self.outlets.extend(outlets[done:])
                raise
