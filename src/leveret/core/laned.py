"""The lanes of a queue: the ordinary one, and others for priorities and for what is not due, made when they are needed.

It counts over them and says in which order they are served. What is done with their messages is the queue's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leveret.core.dedup import Unique
from leveret.core.destination import QueueBase
from leveret.core.holder import FIRST_DELAYED, ORDINARY, Holder
from leveret.core.lane import Lane
from leveret.core.paging import LaneOwner
from leveret.core.rules import Rules
from leveret.journal import lane_id
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import VHost

DEFAULT_RANK: Final[i64] = 4  # of a quorum queue's priorities
RANK_MAX: Final[i64] = 31


class LanedQueue(QueueBase, Holder):
    def __init__(
        self, name: str, vhost: str, qid: i64, durable: bool, exclusive: bool, auto_delete: bool
    ) -> None:
        super().__init__(name, vhost, qid, durable, exclusive, auto_delete)
        self.rules: Rules | None = None
        self.unique: Unique | None = None
        self.by_priority = False  # the priority of a message says in which lane it goes
        self.ranks = False  # and none is one of them, as in a quorum queue
        self.more: dict[int, Lane] | None = None  # other lanes than the ordinary one
        self.ranked: list[Lane] | None = None  # by priority, the highest first; None: there is one

    def take_place(self, home: VHost, owner: LaneOwner) -> None:
        """Where its lanes are pumped, journaled and paged."""
        self.home = home
        self.turn = home.broker.turn
        self.owner_of_lanes = owner
        self.lane = self._make_lane(ORDINARY)

    def _make_lane(self, index: i64) -> Lane:
        broker = self.home.broker
        lane = Lane(lane_id(self.qid, index), self.owner_of_lanes, broker.journal, broker.pager, self.keeps())
        rules = self.rules
        if rules is not None and index < FIRST_DELAYED:
            lane.weighs = rules.max_bytes >= 0
        if self.unique is not None:
            lane.watch(self.unique)
        broker.lanes[int(lane.lid)] = lane
        return lane

    def lane_at(self, index: i64) -> Lane:
        if index == ORDINARY:
            return self.lane
        more = self.more
        if more is None:
            more = {}
            self.more = more
        lane = more.get(int(index))
        if lane is None:
            lane = self._make_lane(index)
            more[int(index)] = lane
            if index < FIRST_DELAYED:
                self.ranked = self._in_order(more)
        return lane

    def _in_order(self, more: dict[int, Lane]) -> list[Lane]:
        """The lanes of the priorities, the highest first. Where they have ranks, index 1 is that of priority 0."""
        found: list[Lane] = []
        ordinary: i64 = DEFAULT_RANK + 1 if self.ranks else ORDINARY
        placed = False
        for i in sorted(more, reverse=True):
            if i < FIRST_DELAYED:
                if i < ordinary and not placed:
                    found.append(self.lane)
                    placed = True
                found.append(more[i])
        if not placed:
            found.append(self.lane)
        return found

    def lane_of_priority(self, priority: i64) -> Lane:
        """priority: a message's own, -1 for none."""
        rules = self.rules
        if self.ranks:
            rank = min(priority, RANK_MAX)
            return self.lane if rank < 0 or rank == DEFAULT_RANK else self.lane_at(rank + 1)
        if rules is None or rules.priorities == 0:
            return self.lane
        rank = min(priority, rules.priorities)
        return self.lane if rank <= 0 else self.lane_at(rank)

    def all_lanes(self) -> list[Lane]:
        lanes = [self.lane]
        if self.more is not None:
            lanes.extend(self.more.values())
        return lanes

    def keeps(self) -> bool:
        # An exclusive queue goes with its connection: nothing of it outlives the process.
        return self.durable and not self.exclusive

    def top_lane(self) -> Lane:
        """The lane whose messages are next: of those that have any, the one of the highest priority."""
        ranked = self.ranked
        if ranked is not None:
            for lane in ranked:
                if lane.ready > 0:
                    return lane
        return self.lane

    def lowest_lane(self) -> Lane:
        """Of those that have any message ready, the lane of the lowest priority."""
        found = self.lane
        ranked = self.ranked
        if ranked is not None:
            for lane in ranked:
                if lane.ready > 0:
                    found = lane
        return found

    # ---- counts, for declare, listings and if-empty

    def ready_count(self) -> int:
        ranked = self.ranked
        if ranked is None:
            return int(self.lane.ready)
        n: i64 = 0
        for lane in ranked:
            n += lane.ready
        return int(n)

    def ready_bytes(self) -> i64:
        """Of the bodies that wait; counted where there is a limit to them."""
        ranked = self.ranked
        if ranked is None:
            return self.lane.ready_bytes
        n: i64 = 0
        for lane in ranked:
            n += lane.ready_bytes
        return n

    def unsettled_count(self) -> int:
        """With consumers."""
        ranked = self.ranked
        if ranked is None:
            return int(self.lane.out - self.lane.asleep)
        n: i64 = 0
        for lane in ranked:
            n += lane.out - lane.asleep
        return int(n)

    def sleeping_count(self) -> int:
        """Neither ready nor with consumers: they wait for another try, to be moved, or for their time."""
        n: i64 = 0
        for lane in self.all_lanes():
            n += lane.asleep
        return int(n)
