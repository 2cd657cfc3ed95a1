"""Publishes and settlements that are kept until they are committed: as one record of the journal, all of it or nothing
after a crash.

Queues are found when a message is published. One that is gone by the commit gets nothing, but if there is another of its
name by then, that one gets it, as in RabbitMQ. What is settled is taken
out of its session at once, and put back if the transaction is given up. Who begins and ends it is its protocol's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.queue import Queue
from leveret.core.session import Run, Session
from leveret.message import Message
from leveret.native import i64, mypyc_attr

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.journal import Journal


class Settlement:
    def __init__(self, session: Session, run: Run, outcome: i64) -> None:
        self.session = session
        self.run = run
        self.outcome: i64 = outcome


def still_there(route: Route, queues: list[Queue]) -> list[Queue]:
    """These queues, or those that have their names now."""
    for q in queues:
        if q.gone:
            break
    else:
        return queues
    found: list[Queue] = []
    for q in queues:
        now = route.vhost.topology.queues.get(q.name) if q.gone else q
        if isinstance(now, Queue):
            found.append(now)
    return found


@mypyc_attr(allow_interpreted_subclasses=True)
class Transaction:
    """size_bytes: of the messages it keeps, generously."""

    def __init__(self) -> None:
        self.publishes: list[tuple[Route, list[Queue], Message]] = []
        self.settlements: list[Settlement] = []
        self.size_bytes: i64 = 0

    def publish(self, route: Route, queues: list[Queue], m: Message) -> None:
        self.publishes.append((route, queues, m))
        self._weighs(m.weight_bytes())

    def settle(self, session: Session, tag: i64, multiple: bool, outcome: i64) -> bool:
        """False if there is no such delivery."""
        taken = session.take(tag, multiple)
        if taken is None:
            return False
        for run in taken:
            self.settlements.append(Settlement(session, run, outcome))
        return True

    def commit(self, journal: Journal) -> i64:
        """Do all of it, as one record. Returns the position at which it is safe."""
        publishes = self.publishes
        settlements = self.settlements
        self._reset()
        journal.begin_tx()
        for route, queues, m in publishes:
            self.give(route, still_there(route, queues), m)
        for s in settlements:
            s.session.finish(s.run, s.outcome)
        return journal.end_tx()

    def rollback(self) -> None:
        """Forget the publishes; what was settled is unsettled again."""
        settlements = self.settlements
        self._reset()
        taken: dict[Session, list[Run]] = {}
        for s in settlements:
            runs = taken.get(s.session)
            if runs is None:
                taken[s.session] = [s.run]
            else:
                runs.append(s.run)
        for session, found in taken.items():
            session.put_back(found)

    def _reset(self) -> None:
        self.publishes = []
        self.settlements = []
        size = self.size_bytes
        self.size_bytes = 0
        self.gathered(-size)

    def _weighs(self, more: i64) -> None:
        self.size_bytes += more
        self.gathered(more)

    # ---- of each protocol

    def gathered(self, more: i64) -> None:
        """It keeps so many bytes more. Raises what its connection has against that."""

    def give(self, route: Route, queues: list[Queue], m: Message) -> None:
        """Publish one of its messages."""
        route.vhost.take(route, queues, m)
