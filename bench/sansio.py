"""A broker and two peers in memory: publish, deliver, confirm, ack, with no socket, thread or disk.

`python -m bench.sansio SCENARIO MESSAGES` takes that many messages through. It does what a turn of the server does,
except that a block is on disk as soon as it is taken. instructions.py counts what this costs.
"""

from __future__ import annotations

import gc
import struct
import sys

from bench.client import long_string, method_frame, short_string
from bench.messages import publish
from leveret.build import COMPILED
from leveret.core.access import User
from leveret.core.broker import Broker
from leveret.core.restore import BrokerRestorer, BrokerSource
from leveret.limits import LOG_SEGMENTS, SEGMENT_BYTES
from leveret.protocol.amqp091.connection import Connection, Settings
from leveret.protocol.amqp091.peer import Link
from leveret.store.memory import MemoryLog, MemoryPages
from leveret.store.opening import finish, new_journal, read_log, replay
from leveret.store.pager import FilePager

BATCH = 200  # messages in what is read at once: 32 KB of the first line's
ACK_EVERY = 50
BODY = b"x" * 100
QUEUE = "q"
PAGES_BYTES = 64 << 20
SCENARIOS = {
    # name: (durable, confirmed and persistent; with a Celery task's headers)
    "transient": (False, False),
    "transient-celery": (False, True),
    "durable": (True, False),
    "durable-celery": (True, True),
}


class Sink(Link):
    """Takes what a peer sends, and keeps the last of it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.last = b""

    def write(self, parts: list[bytes]) -> None:
        for part in parts:
            self.bytes += len(part)
        self.last = parts[-1]


class World:
    """A broker on a log in memory."""

    def __init__(self) -> None:
        source = BrokerSource()
        log = MemoryLog()
        found = read_log(log)
        self.journal = new_journal(found, source, SEGMENT_BYTES, LOG_SEGMENTS)
        self.pager = FilePager(MemoryPages(), PAGES_BYTES)
        self.broker = Broker(self.journal, self.pager)
        source.broker = self.broker
        replay(log, found, BrokerRestorer(self.broker))
        finish(self.journal, self.pager, self.broker.knows_page, found)
        self.broker.add_vhost("/")
        self.broker.access.add(User("guest", "guest", None, ()))
        self.settings = Settings("bench", "0", "memory")
        self.turn()

    def turn(self) -> None:
        """What the server does once what was read is taken in, and again when the block is on disk."""
        turn = self.broker.turn
        turn.pump()
        turn.settle_waiters()
        while self.journal.due():
            block = self.journal.take()
            if block is None:
                break
            self.journal.written(block)
            self.pager.settle_deletions(self.journal.durable)
            turn.settle_waiters()
        turn.flush()


class Client:
    """One connection with channel 1."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sink = Sink()
        self.peer = Connection(world.broker, world.settings, self.sink, True).peer
        login = (
            long_string(b"") + short_string("PLAIN") + long_string(b"\0guest\0guest") + short_string("en_US")
        )
        self.say(b"AMQP\0\0\x09\x01")
        self.say(method_frame(0, (10, 11), login))
        self.say(method_frame(0, (10, 31), struct.pack(">HIH", 2047, 131072, 0)))
        self.say(method_frame(0, (10, 40), short_string("/") + b"\0\0"))
        self.say(method_frame(1, (20, 10), b"\0"))

    def say(self, data: bytes) -> None:
        self.peer.receive(data)
        self.world.turn()

    def call(self, method: tuple[int, int], arguments: bytes) -> None:
        """What is answered with the method that follows it in number."""
        self.sink.last = b""
        self.say(method_frame(1, method, arguments))
        answer = struct.unpack_from(">HH", self.sink.last, 7) if len(self.sink.last) > 11 else None
        if answer != (method[0], method[1] + 1):
            raise SystemExit(f"bench.sansio: {method} was answered with {answer}: {self.sink.last!r}")


def run(scenario: str, messages: int) -> None:
    """Take so many messages through, a whole number of batches. Ends the process when one did not arrive."""
    durable, celery = SCENARIOS[scenario]
    world = World()
    publisher, consumer = Client(world), Client(world)
    consumer.call(
        (50, 10), b"\0\0" + short_string(QUEUE) + (b"\x02" if durable else b"\0") + long_string(b"")
    )
    consumer.call((60, 10), struct.pack(">IHB", 0, 1000, 0))
    consumer.call((60, 20), b"\0\0" + short_string(QUEUE) + short_string("c") + b"\0" + long_string(b""))
    if durable:
        publisher.call((85, 10), b"\0")
    batch = publish(1, QUEUE, BODY, durable, celery) * BATCH
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    sink = consumer.sink
    before, tag = sink.bytes, 0
    for _ in range(messages // BATCH):
        publisher.say(batch)
        acks = []
        for _ in range(BATCH // ACK_EVERY):
            tag += ACK_EVERY
            acks.append(method_frame(1, (60, 80), struct.pack(">QB", tag, 1)))
        consumer.say(b"".join(acks))
    content = len(publish(1, QUEUE, BODY, durable, celery)) - len(method_frame(1, (60, 40), b"\0\0\0\x01q\0"))
    deliver = len(method_frame(1, (60, 60), short_string("c") + bytes(9) + b"\0" + short_string(QUEUE)))
    wanted = messages // BATCH * BATCH * (content + deliver)
    if sink.bytes - before != wanted:
        raise SystemExit(f"bench.sansio: {sink.bytes - before} bytes were delivered, not {wanted}")


if __name__ == "__main__":
    if sys.argv[1] == "compiled":
        print("compiled" if COMPILED else "pure")
    else:
        run(sys.argv[1], int(sys.argv[2]))
