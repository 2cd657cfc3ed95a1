"""A broker on a log in memory that can lose its power: for tests of core, journal and recovery together.

No sockets, threads or files: blocks are kept as a list, pages in a dictionary, and `crash` forgets what was not
written. A consumer is played by `Hand`, which takes what it is given and settles it when told to.
"""

from __future__ import annotations

from librt.strings import BytesWriter

from leveret.core.asking import Receiver
from leveret.core.broker import Broker
from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.core.queue import Queue
from leveret.core.restore import BrokerRestorer, BrokerSource
from leveret.core.session import Session
from leveret.core.vhost import Route
from leveret.message import AMQP091, Message, Terms
from leveret.protocol.amqp091 import view  # noqa: F401  registers itself
from leveret.store.journal import Block
from leveret.store.memory import MemoryLog, MemoryPages
from leveret.store.opening import finish, new_journal, read_log, replay
from leveret.store.pager import FilePager
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, decode_properties, encode_properties


class Disk:
    """What is on disk: written blocks, and page files."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.pages = MemoryPages()
        self.seq = 1

    def write(self, block: Block) -> None:
        self.log.append(int(block.segment), self.seq, int(block.flags), block.parts)
        self.seq += 1
        if block.keep_from:
            self.log.trim(int(block.keep_from))


class Hand:
    """A consumer on a session of its own. Deliveries: (tag, body, redelivered)."""

    def __init__(
        self,
        rig: Rig,
        queue: Queue,
        prefetch: int = 0,
        no_ack: bool = False,
        name: str = "hand",
        arguments: dict[str, object] | None = None,
    ) -> None:
        self.rig = rig
        self.session = Session()
        self.got: list[tuple[int, bytes, bool]] = []
        self.consumer = Receiver(self.session, queue, name, no_ack, prefetch, self._take)
        self.consumer.arguments = arguments or {}
        self.session.consumers[name] = self.consumer
        rig.vhost.consume(queue, self.consumer)

    def _take(self, tag: int, m: Message, redelivered: bool) -> None:
        self.got.append((tag, m.data, redelivered))

    def settle(self, tag: int, outcome: int, multiple: bool = False) -> bool:
        return self.session.settle(tag, multiple, outcome)

    def leave(self) -> None:
        """Close the session: cancel, and give back what is unsettled."""
        self.session.consumers.clear()
        self.rig.vhost.cancel(self.consumer)
        self.session.lose_all()


class Rig:
    def __init__(
        self,
        disk: Disk | None = None,
        segment_bytes: int = 16_384,
        segments: int = 3,
        page_slots: int = 8,
        page_bytes: int = 8_192,
        memory_bytes: int = 24_576,
    ) -> None:
        self.disk = Disk() if disk is None else disk
        self.sizes = (segment_bytes, segments, page_slots, page_bytes, memory_bytes)
        self.source = BrokerSource()
        found = read_log(self.disk.log)
        self.journal = new_journal(found, self.source, segment_bytes, segments)
        self.pager = FilePager(self.disk.pages, memory_bytes)
        self.pager.page_slots = page_slots
        self.pager.page_bytes = page_bytes
        self.broker = Broker(self.journal, self.pager)
        self.source.broker = self.broker
        replay(self.disk.log, found, BrokerRestorer(self.broker))
        for vhost in self.broker.vhosts.values():
            vhost.recovered()
        finish(self.journal, self.pager, self.broker.knows_page, found)
        self.vhost = self.broker.add_vhost("/")
        self.routes: dict[str, Route] = {}
        self.more = False
        self.sync()

    # ---- the loop's part

    def turn(self) -> None:
        """What the server does in a turn, without writing a block."""
        self.more = self.broker.work()
        self.broker.turn.pump()
        self.broker.turn.settle_waiters()

    def sync(self, blocks: int = 1_000_000) -> None:
        """Write up to so many blocks, the open one included."""
        self.journal.urgent = True
        while blocks > 0:
            block = self.journal.take()
            if block is None:
                break
            self.disk.write(block)
            self.journal.written(block)
            self.pager.settle_deletions(self.journal.durable)
            self.broker.turn.settle_waiters()
            blocks -= 1

    def settle_down(self) -> None:
        """Turns and writes until nothing is left to do."""
        for _ in range(10_000):
            self.turn()
            self.sync()
            if not self.broker.turn.dirty and self.journal.empty() and not self.more:
                return
        raise AssertionError("it never comes to rest")

    def crash(self) -> Rig:
        """Power off: what was not written is gone. Returns the broker that starts from the rest."""
        return Rig(self.disk, *self.sizes)

    # ---- what clients do

    def queue(
        self, name: str = "q", durable: bool = True, arguments: dict[str, object] | None = None
    ) -> Queue:
        return self.vhost.declare_queue(name, durable, False, False, arguments or {}, False, None)

    def at(self, now_ms: int) -> None:
        """Let it be that time (ms since 1970, as far as the broker knows)."""
        self.broker.turn.now_ms = now_ms
        self.broker.turn.tick_ms = now_ms

    def pass_time(self, now_ms: int) -> None:
        """Let the time come to this, with everything that happens on the way."""
        turn = self.broker.turn
        while int(turn.now_ms) < now_ms:
            turn.now_ms = min(int(turn.now_ms) + 100, now_ms)
            self.broker.tick(turn.now_ms)
            self.settle_down()

    def publish(
        self, key: str, body: bytes, persistent: bool = True, exchange: str = "", ttl_ms: int = -1
    ) -> int:
        """Publish something without properties; returns the position that a confirm would wait for."""
        route = self._route(exchange, key)
        message = Message(body, route.raw, len(body), persistent, AMQP091)
        if ttl_ms >= 0:
            message.terms = Terms(self.broker.turn.now_ms, ttl_ms, 0, 0)
        elif route.simple:
            return self.vhost.publish(route.queues, message)
        return self.vhost.take(route, route.queues, message)

    def send(self, key: str, body: bytes, properties: Properties | None = None, exchange: str = "") -> int:
        """Publish as AMQP 0-9-1 does, with these properties (persistent unless they say otherwise)."""
        if properties is None:
            properties = Properties()
        if properties.delivery_mode is None:
            properties.delivery_mode = 2
        out = BytesWriter()
        content_header(out, 1, len(body), encode_properties(properties))
        body_frames(out, 1, body, 131_072)
        route = self._route(exchange, key)
        message = Message(out.getvalue(), route.raw, len(body), properties.delivery_mode == 2, AMQP091)
        self.vhost.set_terms(route, message, ASKS_EXPIRATION | ASKS_BY_HEADERS)
        return self.vhost.take(route, route.queues, message)

    def _route(self, exchange: str, key: str) -> Route:
        raw = bytes([len(exchange)]) + exchange.encode() + bytes([len(key)]) + key.encode() + b"\0"
        route = self.vhost.routes.get(raw)
        return self.vhost.resolve(raw) if route is None else route


def body_of(data: bytes) -> bytes:
    """The body of what `send` published."""
    end = 8 + int.from_bytes(data[3:7], "big")
    return b"" if end == len(data) else data[end + 7 : -1]


def headers_of(data: bytes) -> dict[str, object]:
    """And its headers."""
    found = decode_properties(data, 19, 7 + int.from_bytes(data[3:7], "big")).headers
    return {} if found is None else found
