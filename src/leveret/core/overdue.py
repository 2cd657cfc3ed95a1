"""Deliveries that are not settled in time (`x-consumer-timeout`): they go back to their places.

Nothing here costs a delivery anything. A session with a limit is visited now and then, sixteen times within the limit
but ten times a second at most; each visit notes how far the session's tags go, and what is unsettled below a note as
old as the limit is overdue. So a delivery goes back up to a sixteenth of its limit late, never early. A session whose
consumers are gone and that has settled all is forgotten.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final, final

from leveret.core.consumer import Consumer
from leveret.core.destination import Table
from leveret.core.session import Session
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.queue import Queue

VISITS: Final[i64] = 16
SHORTEST_MS: Final[i64] = 100  # between two visits


@final
class Watch:
    """A session's deliveries to consumers with one limit."""

    def __init__(self, session: Session, limit_ms: i64) -> None:
        self.session = session
        self.limit_ms: i64 = limit_ms
        self.notes: deque[tuple[int, int]] = deque()  # (when, tags below this had been given)
        self.noted: i64 = 0
        self.below: i64 = 0  # tags below this are overdue

    def visit(self, now_ms: i64) -> bool:
        """Whether to come again."""
        session = self.session
        notes = self.notes
        if session.next_tag > self.noted:
            self.noted = session.next_tag
            notes.append((int(now_ms), int(session.next_tag)))
        while notes and i64(notes[0][0]) + self.limit_ms <= now_ms:
            self.below = i64(notes.popleft()[1])
        if session.out > 0:
            session.give_up(self.below, self.limit_ms)
        return bool(session.out > 0 or session.consumers)

    def interval_ms(self) -> i64:
        return max(self.limit_ms // VISITS, SHORTEST_MS)


@final
class Overdue:
    """default_ms: the limit of consumers and queues that say nothing; 0 for none."""

    def __init__(self) -> None:
        self.default_ms: i64 = 0
        self.now_ms: i64 = 0
        self.watches: dict[Session, dict[int, Watch]] = {}
        self.visits: list[tuple[int, int, Watch]] = []  # a heap: when, a number that orders equals, who
        self.visit_number: i64 = 0

    def limit_ms(self, queue: Queue, arguments: Table) -> i64:
        """The limit of a consumer with these arguments; 0 for none."""
        asked = arguments.get("x-consumer-timeout")
        if isinstance(asked, int) and not isinstance(asked, bool):
            return asked
        rules = queue.rules
        if rules is not None and rules.consumer_timeout_ms >= 0:
            return rules.consumer_timeout_ms
        return self.default_ms

    def watch(self, c: Consumer) -> None:
        """Take on what is delivered to a consumer from now on, if there is a limit to it."""
        limit = c.timeout_ms
        if limit <= 0 or c.no_ack:
            return
        session = c.session
        here = self.watches.get(session)
        if here is None:
            here = {}
            self.watches[session] = here
        if int(limit) not in here:
            watch = Watch(session, limit)
            here[int(limit)] = watch
            self._plan(watch, self.now_ms)

    def _plan(self, watch: Watch, now_ms: i64) -> None:
        self.visit_number += 1
        heapq.heappush(self.visits, (int(now_ms + watch.interval_ms()), int(self.visit_number), watch))

    def tick(self, now_ms: i64) -> None:
        self.now_ms = now_ms
        visits = self.visits
        while visits and i64(visits[0][0]) <= now_ms:
            watch = heapq.heappop(visits)[2]
            if watch.visit(now_ms):
                self._plan(watch, now_ms)
            else:
                self._forget(watch)

    def _forget(self, watch: Watch) -> None:
        here = self.watches.get(watch.session)
        if here is not None:
            here.pop(int(watch.limit_ms), None)
            if not here:
                del self.watches[watch.session]
