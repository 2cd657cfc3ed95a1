"""The broker as a whole: its virtual hosts and their lanes by number. It knows no files and no protocols."""

from __future__ import annotations

from typing import Final

from leveret.core.access import Access
from leveret.core.attempts import Retries
from leveret.core.delays import Delays
from leveret.core.expiry import Expiry
from leveret.core.holder import Holder
from leveret.core.lane import Lane
from leveret.core.overdue import Overdue
from leveret.core.queue import Queue
from leveret.core.topology import Ids
from leveret.core.turn import Turn
from leveret.core.vhost import VHost
from leveret.journal import CleanJournal, Journal, Pager
from leveret.native import i64

STUCK_MS: Final[i64] = 5_000  # so often what no queue took is tried again


class Broker:
    def __init__(self, journal: Journal, pager: Pager) -> None:
        self.journal = journal
        self.pager = pager
        self.turn = Turn(journal)
        self.access = Access()
        self.ids = Ids()
        self.lanes: dict[int, Lane] = {}
        self.holders: dict[int, Holder] = {}  # who has the lanes
        self.expiry = Expiry(self.turn, pager)
        self.delays = Delays(self.turn, journal, pager)
        self.overdue = Overdue()
        self.retries = Retries()
        self.stuck: dict[int, Queue] = {}  # queues with dead letters that no queue takes
        self.try_again_ms: i64 = 0
        self.vhosts: dict[str, VHost] = {}
        self.blocked = ""  # why publishing is blocked: memory, disk
        self.stopping = False  # sessions that end now are not to blame for what they did not settle

    def add_vhost(self, name: str) -> VHost:
        vhost = self.vhosts.get(name)
        if vhost is None:
            vhost = VHost(name, self)
            self.vhosts[name] = vhost
        return vhost

    def tick(self, mono_ms: i64) -> None:
        """Ten times a second. mono_ms: a clock that is never set."""
        self.expiry.tick(mono_ms)
        self.delays.tick()
        self.overdue.tick(mono_ms)
        if self.stuck and mono_ms >= self.try_again_ms:
            self.try_again_ms = mono_ms + STUCK_MS
            self.try_again()

    def try_again(self) -> None:
        """Dead letters that no queue took may be taken now."""
        stuck = self.stuck
        self.stuck = {}
        for queue in stuck.values():
            if queue.graves is not None and not queue.gone:
                queue.graves.try_again()

    def work(self) -> bool:
        """Do what is due by the wall clock, `turn.now_ms`, a part of it at most. True if there is more to do now."""
        more = self.expiry.run()
        more = self.retries.run(self.turn.now_ms) or more
        return self.delays.run() or more

    def next_ms(self) -> i64:
        """When there is something to do by the wall clock, or sooner; -1: nothing is known of."""
        soonest: i64 = -1
        for timetable in (self.expiry.timetable, self.retries.timetable, self.delays.timetable):
            at = timetable.next_ms()
            if at >= 0 and (soonest < 0 or at < soonest):
                soonest = at
        return soonest

    def knows_page(self, lane: int, base: int) -> bool:
        """Whether a page file belongs to a page that lives."""
        known = self.lanes.get(lane)
        return known is not None and known.has_stored(base)

    def shed(self) -> None:
        """Waiting messages take too much memory together: store what no consumer needs soon, in every queue."""
        for lane in list(self.lanes.values()):
            if lane.ready + lane.out > 0:
                lane.shed()

    def stop_cleanly(self, journal: CleanJournal) -> None:
        """Sessions are gone: say in the journal how far deliveries went, exactly, and that this is the end."""
        for lane in self.lanes.values():
            if lane.durable and lane.mark > 0:
                journal.delivered_exactly(lane.lid, lane.handed_out)
                lane.mark = lane.handed_out  # for a checkpoint that may still come
        journal.clean()
