"""A channel's transaction (AMQP 0-9-1, tx class, as RabbitMQ does it): publishes and settlements kept until commit.

Commit is one record of the journal: all of it or nothing after a crash. Queues are found when a message is published,
as in RabbitMQ; those that are gone by the commit get nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core.queue import Queue
from leveret.core.session import Run
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import Route
    from leveret.protocol.amqp091.channel import AmqpChannel


class Settlement:
    def __init__(self, run: Run, outcome: i64) -> None:
        self.run = run
        self.outcome: i64 = outcome


class Transaction:
    def __init__(self, channel: AmqpChannel) -> None:
        self.channel = channel
        self.publishes: list[tuple[Route, list[Queue], Message]] = []
        self.settlements: list[Settlement] = []
        self.size_bytes: i64 = 0

    def publish(self, route: Route, queues: list[Queue], m: Message) -> None:
        self.publishes.append((route, queues, m))
        weight = m.weight_bytes()
        self.size_bytes += weight
        self.channel.peer.connection.gathering(weight)

    def settle(self, tag: i64, multiple: bool, outcome: i64) -> bool:
        taken = self.channel.take(tag, multiple)
        if taken is None:
            return False
        for run in taken:
            self.settlements.append(Settlement(run, outcome))
        return True

    def commit(self) -> i64:
        """Do all of it, as one record. Returns the position that commit-ok waits for."""
        channel = self.channel
        journal = channel.peer.turn.journal
        publishes = self.publishes
        settlements = self.settlements
        self._reset()
        journal.begin_tx()
        for route, queues, m in publishes:
            channel.publish_to(route, [q for q in queues if not q.gone], m)
        for s in settlements:
            channel.finish(s.run, s.outcome)
        return journal.end_tx()

    def rollback(self) -> None:
        """Forget the publishes; what was settled is unsettled again."""
        settlements = self.settlements
        self._reset()
        self.channel.put_back([s.run for s in settlements])

    def _reset(self) -> None:
        self.publishes = []
        self.settlements = []
        self.channel.peer.connection.gathering(-self.size_bytes)
        self.size_bytes = 0
