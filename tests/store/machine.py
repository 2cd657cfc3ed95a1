"""A broker's process on a disk that may fail: the real core, journal, log, pager and pages, and no threads.

What the server's threads do is done in steps, in whatever order a test likes: a block is handed over, written, and
reported; pages are written, and reported. The loop's part is `turn`. A `Hand` plays a consumer.
"""

from __future__ import annotations

import struct
from collections import deque

from leveret.core.asking import OneMessage, Receiver
from leveret.core.broker import Broker
from leveret.core.lane import Lane
from leveret.core.page import AGAIN, GONE, READY
from leveret.core.queue import Queue
from leveret.core.restore import BrokerRestorer, BrokerSource
from leveret.core.session import Session
from leveret.core.vhost import Route
from leveret.errors import StoreError
from leveret.message import AMQP091, Message, Terms
from leveret.store.disk import Disk
from leveret.store.journal import Block
from leveret.store.log import FileLog
from leveret.store.opening import finish, new_journal, read_log, replay
from leveret.store.pager import FilePager, Job
from leveret.store.pages import FilePages
from leveret.store.recovery import Recovery

SEGMENT_BYTES = 16_384
SEGMENTS = 3
PAGE_SLOTS = 8
PAGE_BYTES = 7_000
MEMORY_BYTES = 14_000


Four = tuple[int, int, int, int]  # a message's terms


class Sizes:
    """Small ones, so that everything that happens at an end of something happens often."""

    def __init__(
        self,
        segment_bytes: int = SEGMENT_BYTES,
        segments: int = SEGMENTS,
        page_slots: int = PAGE_SLOTS,
        page_bytes: int = PAGE_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.segment_bytes = segment_bytes
        self.segments = segments
        self.page_slots = page_slots
        self.page_bytes = page_bytes
        self.memory_bytes = memory_bytes


class Hand:
    """A consumer on a session of its own. got: (tag, body, redelivered, the block then open), not looked at yet."""

    def __init__(self, machine: Machine, queue: Queue, prefetch: int, no_ack: bool, name: str) -> None:
        self.machine = machine
        self.queue = queue
        self.no_ack = no_ack
        self.session = Session()
        self.getters: list[OneMessage] = []
        self.got: deque[tuple[int, bytes, bool, int]] = deque()
        self.unsettled: dict[int, int] = {}  # tag: what the test knows the message by
        self.consumer = Receiver(self.session, queue, name, no_ack, prefetch, self._take)
        self.session.consumers[name] = self.consumer
        machine.vhost.consume(queue, self.consumer)

    def _take(self, tag: int, m: Message, redelivered: bool) -> None:
        self.got.append((tag, m.data, redelivered, int(self.machine.journal.block)))

    def ask(self) -> None:
        """One message by get, beside those that are pushed."""

        def then(m: Message | None, redelivered: bool) -> None:
            if m is not None:
                self._take(int(self.session.next_tag) - 1, m, redelivered)

        getter = OneMessage(self.session, self.queue, then)
        self.getters.append(getter)
        self.queue.get(getter)

    def leave(self) -> None:
        for getter in self.getters:
            getter.active = False
        self.session.consumers.clear()
        self.machine.vhost.cancel(self.consumer)
        self.session.release_all(True)


class Machine:
    """One life of the process. Opening recovers what the disk has; raises Damaged, StoreError, PowerLoss."""

    def __init__(self, disk: Disk, sizes: Sizes | None = None, now_ms: int = 0) -> None:
        sizes = Sizes() if sizes is None else sizes
        self.disk = disk
        self.log = FileLog(disk, sizes.segment_bytes)
        self.pages = FilePages(disk)
        self.pager = FilePager(self.pages, sizes.memory_bytes)
        self.pager.page_slots = sizes.page_slots
        self.pager.page_bytes = sizes.page_bytes
        source = BrokerSource()
        found = read_log(self.log)
        self.journal = new_journal(found, source, sizes.segment_bytes, sizes.segments)
        self.broker = Broker(self.journal, self.pager)
        self.broker.turn.now_ms = now_ms
        source.broker = self.broker
        try:
            self._recover(found)
        except BaseException:
            self.let_go()
            raise
        self.vhost = self.broker.add_vhost("/")
        self.seq = int(found.next_seq)
        self.block: Block | None = None
        self.on_disk = False
        self.failure = ""
        self.more = False  # to do at once
        self.pager.wake = self._nothing

    def _recover(self, found: Recovery) -> None:
        replay(self.log, found, BrokerRestorer(self.broker))
        for vhost in self.broker.vhosts.values():
            vhost.recovered()
        finish(self.journal, self.pager, self.broker.knows_page, found)

    def _nothing(self) -> None:
        """The loop is not woken: it looks when the test says so."""

    # ---- the loop

    def turn(self) -> None:
        self.more = self.broker.work()
        self.broker.turn.pump()
        self.broker.turn.settle_waiters()

    def hand_over(self) -> None:
        """Give the writer a block if it is free and there is one to write."""
        if self.block is None and not self.failure and self.journal.due():
            self.block = self.journal.take()
            self.on_disk = False

    def block_landed(self) -> None:
        if self.block is not None and self.on_disk:
            self.journal.written(self.block)
            self.block = None
            self.pager.settle_deletions(self.journal.durable)
            self.turn()

    def pages_landed(self) -> None:
        self.pager.finish()

    # ---- the threads

    def write(self) -> None:
        """What the writer does with a block. A failure is its last word."""
        block = self.block
        if block is None or self.on_disk or self.failure:
            return
        try:
            self.log.append(int(block.segment), self.seq, int(block.flags), block.parts)
            self.seq += 1
            if block.keep_from:
                self.log.trim(int(block.keep_from))
        except StoreError as error:
            self.failure = error.text
            return
        self.on_disk = True

    def move_pages(self, jobs: int) -> None:
        """Some of what waits for the pager's thread; names are synced together."""
        taken: list[Job] = []
        while len(taken) < jobs and not self.pager.jobs.empty():
            taken.append(self.pager.jobs.get_nowait())
            self.pager.perform(taken[-1])
        if taken:
            self.pager._names()

    def prepare(self) -> None:
        """A step of what the pager's thread does when it has nothing else to do."""
        self.pager.background = self.log.prepare
        self.pager._prepare()

    def page_file(self, lane: int, base: int) -> bytes:
        """A page's content, once all that is on its way to disk is there."""
        while not self.pager.jobs.empty():
            self.move_pages(100)
            self.pages_landed()
        return self.pages.get(lane, base)

    def ended(self) -> str:
        """Why the broker has to end, if it has to."""
        return self.failure or self.pager.failure

    # ---- all of it

    def block_through(self) -> None:
        """One block all the way."""
        self.hand_over()
        self.write()
        self.block_landed()

    def start(self) -> None:
        """Nobody is let in before the first checkpoint is on disk."""
        self.journal.urgent = True
        while self.journal.closed or self.block is not None:
            self.block_through()
            if self.ended():
                raise StoreError(self.ended())

    def settle_down(self) -> None:
        """Turns and writes until nothing is left to do, or the writer has stopped."""
        for _ in range(10_000):
            self.journal.urgent = True
            self.turn()
            self.block_through()
            self.move_pages(100)
            self.pages_landed()
            if self.ended():
                return
            idle = self.block is None and self.journal.empty() and self.pager.jobs.empty()
            if idle and not self.broker.turn.dirty and not self.more:
                return
        raise AssertionError("it never comes to rest")

    def stop(self) -> None:
        """A clean stop, as the server makes one; sessions are gone."""
        self.broker.stop_cleanly(self.journal)
        self.settle_down()
        self.log.close()

    def let_go(self) -> None:
        """Cut the circles through bindings, which the collector does not see in compiled code: there are too many of
        them for that, and a broker takes away each by itself. The many brokers of a test would stay in memory."""
        for vhost in self.broker.vhosts.values():
            for exchange in vhost.topology.exchanges.values():
                exchange.by_destination.clear()

    # ---- what clients do

    def queue(self, name: str, durable: bool = True) -> Queue:
        return self.vhost.declare_queue(name, durable, False, False, {}, False, None)

    def publish(
        self, exchange: str, key: str, body: bytes, persistent: bool = True, terms: Terms | None = None
    ) -> int:
        """Returns the position that a confirm would wait for."""
        raw = bytes([len(exchange)]) + exchange.encode() + bytes([len(key)]) + key.encode() + b"\0"
        route: Route | None = self.vhost.routes.get(raw)
        if route is None:
            route = self.vhost.resolve(raw)
        m = Message(body, route.raw, len(body), persistent, AMQP091)
        m.terms = terms
        return int(self.vhost.publish(route.queues, m))

    def next_of(self, queue: Queue) -> Message | None:
        """The message of a queue that is next, if it is in memory."""
        seq = queue.lane.front_ready()
        return None if seq < 0 else queue.lane.fetch(seq)

    def move(self, source: Queue, target: Queue) -> int:
        """Move the message that `next_of` gave, as a dead letter goes. Returns its position."""
        lane = source.lane
        seq = lane.front_ready()
        m = lane.fetch(seq)
        assert m is not None
        assert lane.seize(seq)
        return int(self.vhost.offer([target], m, lane, seq))


def contents(machine: Machine, lane: Lane) -> list[tuple[bytes, bool]]:
    """What waits in a lane, in order, without touching it: (body, would it be flagged as redelivered)."""
    return [(body, flag) for body, flag, _ in contents_and_terms(machine, lane)]


def contents_and_terms(machine: Machine, lane: Lane) -> list[tuple[bytes, bool, Four | None]]:
    found: list[tuple[bytes, bool, Four | None]] = []
    last = -1
    for page in lane.pages or []:
        stored: dict[int, tuple[bytes, Four | None]] = {}
        if page.messages is None:
            stored = entries(machine.pages.get(int(lane.lid), int(page.base)))
        for slot in range(page.count):
            seq = page.base + slot
            touched = page.states is not None and slot < len(page.states)
            state = int(page.states[slot]) if page.states is not None and touched else READY
            if state == GONE:
                continue
            assert seq > last, "pages overlap or are out of order"
            last = seq
            m = None if page.messages is None else page.messages[slot]
            body, terms = stored[slot] if m is None else (m.data, four(m.terms))
            found.append((body, state == AGAIN or seq < lane.redelivered_below, terms))
    assert len(found) == lane.ready + lane.out
    return found


def four(terms: Terms | None) -> Four | None:
    if terms is None:
        return None
    return int(terms.stamp_ms), int(terms.ttl_ms), int(terms.due_ms), int(terms.priority)


def entries(content: bytes) -> dict[int, tuple[bytes, Four | None]]:
    """A page file's content, read as core/page.py describes it: slot, and the message's data and terms."""
    found: dict[int, tuple[bytes, Four | None]] = {}
    at = 0
    while at < len(content):
        slot = int.from_bytes(content[at : at + 2], "big")
        route = int.from_bytes(content[at + 4 : at + 6], "big")
        size = int.from_bytes(content[at + 6 : at + 10], "big")
        terms: Four | None = None
        if content[at + 2] & 2:
            terms = struct.unpack_from(">4q", content, at + 18)
            at += 32
        at += 18 + route
        found[slot] = content[at : at + size], terms
        at += size
    return found
