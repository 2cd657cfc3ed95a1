"""How the consumers of a queue are served: by priority, in turn within one, or one of them alone.

    Tier          consumers of one priority; a message each, in turn, to those with credit
    SingleActive  which consumer of a queue with `x-single-active-consumer` gets everything

It knows consumers' credit and hands out what a lane gives. RabbitMQ's rules are those of rabbit_queue_consumers and
priority_queue for classic queues, and of rabbit_fifo for quorum queues. What a queue is besides is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leveret.core.arguments import QUORUM
from leveret.core.consumer import Consumer
from leveret.core.destination import Table, named
from leveret.errors import AccessRefused, ResourceLocked
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.lane import Lane
    from leveret.core.queue import Queue

STALLED: Final[i64] = -1  # a lane has something ready, but nothing that can be had now


class Tier:
    """next_turn: index of the consumer whose turn it is."""

    def __init__(self, priority: i64) -> None:
        self.priority: i64 = priority
        self.consumers: list[Consumer] = []
        self.next_turn: i64 = 0

    def add(self, c: Consumer) -> None:
        """Who comes last is served last: just before the one whose turn it is, going round."""
        if self.next_turn >= i64(len(self.consumers)):
            self.next_turn = 0
        self.consumers.insert(self.next_turn, c)
        self.next_turn += 1

    def remove(self, c: Consumer) -> None:
        i: i64 = self.consumers.index(c)
        del self.consumers[i]
        if i < self.next_turn:
            self.next_turn -= 1

    def share(self, lane: Lane, left: i64) -> i64:
        """Hand out what is ready to those with credit, at most `left`. Returns how many of these it did not, or
        STALLED."""
        consumers = self.consumers
        n: i64 = len(consumers)
        i = self.next_turn
        idle: i64 = 0
        while lane.ready > 0 and idle < n and left > 0:
            if i >= n:
                i = 0
            c = consumers[i]
            room = c.credit()
            if room <= 0:
                idle += 1
                i += 1
                continue
            done = lane.deliver(c, room if idle == n - 1 else 1)
            if done == 0:
                self.next_turn = i
                return STALLED
            left -= done
            idle = 0
            i += 1
        self.next_turn = i
        return max(left, 0)


class SingleActive:
    """by_rank: a consumer of a higher priority takes over, as in quorum queues; else whoever is active stays so."""

    def __init__(self, by_rank: bool) -> None:
        self.by_rank = by_rank
        self.active: Consumer | None = None

    def elect(self, consumers: list[Consumer] | None) -> Consumer | None:
        """Who is to be served now. consumers: those of the queue, as they came."""
        active = self.active
        if active is not None and not active.active:
            active = None  # cancelled
        if consumers is None:
            self.active = None
            return None
        if active is not None and active.late == 0 and not self.by_rank:
            return active
        best = active if active is not None and active.late == 0 else None
        for c in consumers:
            # One that did not settle in time is passed over until it has.
            if c.late == 0 and (best is None or c.priority > best.priority):
                best = c
        if best is None:
            best = active if active is not None else consumers[0]
        if active is None or best is active:
            self.active = best
            return best
        if active.late == 0 and active.out > 0:
            return None  # what it has it may settle, more it does not get (rabbit_fifo: quiescing)
        self.active = best
        consumers.remove(active)  # behind the others of its priority
        consumers.append(active)
        return best


def enter(tiers: list[Tier], c: Consumer) -> None:
    """Put a consumer into its tier. Tiers are in order of priority, the highest first."""
    i: i64 = 0
    for tier in tiers:
        if tier.priority == c.priority:
            tier.add(c)
            return
        if tier.priority < c.priority:
            break
        i += 1
    fresh = Tier(c.priority)
    fresh.add(c)
    tiers.insert(i, fresh)


def leave(tiers: list[Tier], c: Consumer) -> None:
    for tier in tiers:
        if tier.priority == c.priority:
            tier.remove(c)
            if not tier.consumers:
                tiers.remove(tier)
            return


def priority_of(arguments: Table) -> i64:
    """`x-priority`, which has been checked."""
    value = arguments.get("x-priority")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def is_active(c: Consumer) -> bool:
    """Whether it may get messages: it is not one that waits for another to go."""
    single = c.queue.single
    return single is None or single.active is c


def check_may_consume(queue: Queue, c: Consumer) -> None:
    """Raises AccessRefused when an exclusive consumer is in the way."""
    in_use = queue.has_exclusive_consumer
    if c.exclusive and (queue.single is not None or queue.consumer_count() > 0):
        in_use = True
    if in_use:
        raise AccessRefused(f"{named('queue', queue.name, queue.vhost)} in exclusive use")


def check_may_get(queue: Queue) -> None:
    """Raises ResourceLocked for a queue whose messages only its active consumer gets."""
    if queue.single is not None and queue.queue_type == QUORUM:
        raise ResourceLocked(
            f"cannot obtain access to locked {named('queue', queue.name, queue.vhost)}. basic.get operations are not "
            'supported by <<"quorum">> queues with single active consumer'
        )
