"""The broker's state, taken down for a checkpoint and brought back by recovery."""

from __future__ import annotations

from leveret.core.broker import Broker
from leveret.core.holder import Holder
from leveret.core.lane import Lane
from leveret.core.page import GONE, Page, page_of_entry
from leveret.core.vhost import vhost_prefix
from leveret.journal import LANE_INDEX_SHIFT, OWNER_MASK, Restorer, StateSink, StateSource
from leveret.message import Message
from leveret.native import i64
from leveret.ranges import Ranges


class BrokerSource(StateSource):
    """Set `broker` before the first checkpoint: broker and journal need each other."""

    def __init__(self) -> None:
        self.broker: Broker | None = None

    def checkpoint(self, out: StateSink) -> None:
        broker = self.broker
        assert broker is not None
        for vhost in broker.vhosts.values():
            prefix = vhost_prefix(vhost.name)
            for op in vhost.topology.snapshot():
                out.topology(prefix + op)
        for holder in broker.holders.values():
            if not holder.keeps():
                continue
            for lane in holder.all_lanes():
                if lane.next_seq > 0:
                    self._lane(lane, out)
                    holder.notes(lane, out)
            holder.facts(out)

    def _lane(self, lane: Lane, out: StateSink) -> None:
        out.lane(lane.lid, lane.next_seq, lane.mark)
        pages = lane.pages
        if pages is not None:
            for page in pages:
                if page.stored and page.survivors > 0:
                    out.stored(lane.lid, page.base, page.entry())


class BrokerRestorer(Restorer):
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.messages = 0

    def topology(self, op: bytes) -> None:
        at = 1 + op[0]
        name = op[1:at].decode("utf-8", "surrogateescape")
        self.broker.add_vhost(name).topology.apply(op[at:])

    def has_lane(self, lane: i64) -> bool:
        return int(lane & OWNER_MASK) in self.broker.holders

    def _holder(self, lane: i64) -> Holder:
        return self.broker.holders[int(lane & OWNER_MASK)]

    def _lane(self, lane: i64) -> Lane:
        known = self.broker.lanes.get(int(lane))
        if known is None:
            known = self._holder(lane).lane_at(lane >> LANE_INDEX_SHIFT)
        return known

    def lane(self, lane: i64, delivered_below: i64) -> None:
        restored = self._lane(lane)
        restored.redelivered_below = delivered_below
        restored.handed_out = delivered_below
        restored.mark = delivered_below
        restored.mark_durable = delivered_below

    def page(self, lane: i64, base: i64, entry: bytes, gone: Ranges) -> bool:
        page = page_of_entry(base, entry)
        if gone.overlaps(base, base + page.count - 1):
            self._settle(page, gone)
        if page.ready == 0:
            return False
        page.survivors = page.ready
        self._lane(lane).restore_page(page)
        return True

    def _settle(self, page: Page, gone: Ranges) -> None:
        states = page.touch(page.count)
        slot: i64 = 0
        while slot < page.count:
            if i64(states[slot]) != GONE and gone.has(page.base + slot):
                states[slot] = 3
                page.ready -= 1
            slot += 1

    def message(self, lane: i64, seq: i64, m: Message, segment: i64) -> None:
        self._lane(lane).restore(seq, m, segment)
        self.messages += 1

    def note(self, lane: i64, seq: i64, note: bytes) -> None:
        restored = self._lane(lane)
        # The store does not know which slots of a page are gone, nor that a message's chain was cut off.
        if restored.find(seq) is not None:
            self._holder(lane).restored_note(restored, seq, note)

    def fact(self, lane: i64, fact: bytes) -> None:
        self._holder(lane).restored_fact(fact)

    def end(self, lane: i64, next_seq: i64) -> None:
        self._lane(lane).restored(next_seq)
