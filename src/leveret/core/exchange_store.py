"""What an exchange keeps: messages that are not due, and the keys of a deduplication window.

Most exchanges keep nothing and have no store. It holds messages in lanes of its own until they are due (delays.py)
and has them routed then, in one record with their leaving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from leveret.core.dedup import Window, key_of, window_of
from leveret.core.exchange import Exchange
from leveret.core.holder import Holder
from leveret.core.lane import Lane
from leveret.core.paging import LaneOwner
from leveret.journal import StateSink, lane_id
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import VHost


@final
class ExchangeStore(Holder):
    def __init__(self, home: VHost, exchange: Exchange) -> None:
        self.home = home
        self.exchange = exchange
        self.owner_of_lanes = LaneOwner()
        self.lanes: dict[int, Lane] = {}
        self.window: Window | None = window_of(exchange.arguments)
        self.asked_key = b""  # whether that was a duplicate was asked last
        self.last_key = b""  # the last that came and is not in the log yet

    def lane_at(self, index: i64) -> Lane:
        lane = self.lanes.get(int(index))
        if lane is None:
            broker = self.home.broker
            number = lane_id(self.exchange.qid, index)
            lane = Lane(number, self.owner_of_lanes, broker.journal, broker.pager, self.keeps())
            self.lanes[int(index)] = lane
            broker.lanes[int(number)] = lane
        return lane

    def all_lanes(self) -> list[Lane]:
        return list(self.lanes.values())

    def keeps(self) -> bool:
        return self.exchange.durable

    def due(self, lane: Lane, seq: i64, m: Message) -> None:
        self.home.route_due(self.exchange, m, lane, seq)

    def sleeping_count(self) -> int:
        n: i64 = 0
        for lane in self.lanes.values():
            n += lane.asleep
        return int(n)

    def is_duplicate(self, m: Message, now_ms: i64) -> bool:
        """Whether a message with its key came lately."""
        window = self.window
        if window is None:
            return False
        self.asked_key = key_of(m, window.header)
        return self.asked_key != b"" and window.has(self.asked_key, now_ms)

    def came(self, m: Message, now_ms: i64, in_tx: bool) -> None:
        """The message that was just asked about was taken. Its key is noted and journaled: in one transaction with what
        is done with the message, and `said` tells when that is over. in_tx: others do more in it."""
        window = self.window
        key = self.asked_key
        if window is None or not key:
            return
        kept = m.persistent and self.keeps()
        window.took(key, now_ms, self.home.journal, lane_id(self.exchange.qid, 0), kept, in_tx)
        if kept and not in_tx:
            self.last_key = key

    def said(self, position: i64) -> None:
        """Where the log has the last transaction."""
        if self.window is not None and self.last_key:
            self.window.said(self.last_key, position)
            self.last_key = b""

    def drop(self) -> None:
        """The exchange is deleted (and that is journaled)."""
        broker = self.home.broker
        for lane in self.lanes.values():
            lane.drop()
            broker.lanes.pop(int(lane.lid), None)

    def notes(self, lane: Lane, out: StateSink) -> None:
        pass

    def facts(self, out: StateSink) -> None:
        if self.window is not None:
            for fact in self.window.facts(self.home.journal):
                out.fact(lane_id(self.exchange.qid, 0), fact)

    def restored_note(self, lane: Lane, seq: i64, note: bytes) -> None:
        pass

    def restored_fact(self, fact: bytes) -> None:
        if self.window is not None:
            self.window.restored(fact)

    def restored(self) -> None:
        pass
