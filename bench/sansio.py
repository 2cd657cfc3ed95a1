"""A broker and two peers in memory: publish, deliver, confirm, ack, with no socket, thread or disk.

`python -m bench.sansio SCENARIO MESSAGES` takes that many messages through. It does what a turn of the server does,
except that a block is on disk as soon as it is taken. instructions.py counts what this costs.
"""

from __future__ import annotations

import gc
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.client import long_string, method_frame, short_string
from bench.messages import Asks, publish, table
from leveret.build import COMPILED
from leveret.core.access import User
from leveret.core.broker import Broker
from leveret.core.queue import Queue
from leveret.core.restore import BrokerRestorer, BrokerSource
from leveret.limits import LOG_SEGMENTS, SEGMENT_BYTES
from leveret.protocol.amqp091.connection import Connection, Settings
from leveret.protocol.peering import Link
from leveret.protocol.stomp.connection import StompConversation, StompSettings
from leveret.store.memory import MemoryLog, MemoryPages
from leveret.store.opening import finish, new_journal, read_log, replay
from leveret.store.pager import FilePager

BATCH = 200  # messages in what is read at once: 32 KB of the first line's
ACK_EVERY = 50
RECEIPT_EVERY = 100
BATCHES = 20  # different ones, where messages differ: sent again and again
BODY = b"x" * 100
QUEUE = "q"
GRAVE = "dead"
PAGES_BYTES = 64 << 20
NOW_MS = 1_800_000_000_000
DELAY_MS = 20
MAX_LENGTH = 1000
PATIENCE = 1_000  # turns in which nothing comes, at most


@dataclass(frozen=True)
class Scenario:
    """durable: so is the queue, messages are persistent and confirmed; arguments: of the queue; consumed: somebody
    consumes, and acks, or rejects if there is a queue for dead letters."""

    durable: bool = True
    celery: bool = False
    arguments: dict[str, object] = field(default_factory=dict)
    consumed: bool = True
    different: bool = False  # each message asks something else
    stomp: bool = False  # by STOMP, with a receipt for each 100 messages if they are persistent


SCENARIOS = {
    "transient": Scenario(durable=False),
    "transient-celery": Scenario(durable=False, celery=True),
    "durable": Scenario(),
    "durable-celery": Scenario(celery=True),
    "durable-ttl": Scenario(),
    "durable-priorities": Scenario(arguments={"x-max-priority": 10}, different=True),
    "durable-groups": Scenario(arguments={"x-group-header": "x-group-id"}, different=True),
    "durable-delay": Scenario(),
    "durable-maxlen": Scenario(arguments={"x-max-length": MAX_LENGTH}, consumed=False),
    "durable-dead": Scenario(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": GRAVE}),
    "stomp": Scenario(stomp=True),
    "stomp-transient": Scenario(durable=False, stomp=True),
}


def asks(name: str, i: int) -> Asks:
    """What the i-th message of a scenario asks."""
    if name == "durable-ttl":
        return Asks(expiration="3600000")
    if name == "durable-priorities":
        return Asks(priority=i % 10)
    if name == "durable-groups":
        return Asks(headers={"x-group-id": f"customer-{i:06d}"})
    if name == "durable-delay":
        return Asks(headers={"x-deliver-after": DELAY_MS})
    return Asks()


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
        self.broker.turn.now_ms = NOW_MS
        self.turn()

    def turn(self) -> None:
        """What the server does once what was read is taken in, and again when the block is on disk."""
        turn = self.broker.turn
        turn.now_ms += 1
        self.broker.work()
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

    def declare(self, queue: str, durable: bool, arguments: dict[str, object]) -> None:
        bits = b"\x02" if durable else b"\0"
        self.call((50, 10), b"\0\0" + short_string(queue) + bits + table(arguments))

    def consume(self, queue: str) -> None:
        self.call((60, 10), struct.pack(">IHB", 0, 1000, 0))
        self.call((60, 20), b"\0\0" + short_string(queue) + short_string("c") + b"\0" + long_string(b""))

    def delivered(self) -> int:
        return self.peer.channels[1].next_tag - 1


class Settler:
    """A consumer that acks, or rejects, in steps what it was given."""

    def __init__(self, client: Client, reject: bool) -> None:
        self.client = client
        self.tag = 0
        self.method = (60, 120) if reject else (60, 80)  # basic.nack, basic.ack
        self.bits = 1  # multiple, and not to be requeued

    def settle(self) -> None:
        """All that came, the rest of a step when nothing more does."""
        upto = self.client.delivered()
        said = []
        while self.tag + ACK_EVERY <= upto:
            self.tag += ACK_EVERY
            said.append(method_frame(1, self.method, struct.pack(">QB", self.tag, self.bits)))
        if said:
            self.client.say(b"".join(said))


class StompClient:
    """One connection that speaks STOMP 1.2."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sink = Sink()
        self.peer = StompConversation(world.broker, StompSettings("bench", "0"), self.sink, True).peer
        self.say(stomp_frame("CONNECT", "accept-version:1.2", "host:/", "login:guest", "passcode:guest"))
        self.expect(b"CONNECTED")

    def say(self, data: bytes) -> None:
        self.peer.receive(data)
        self.world.turn()

    def expect(self, answer: bytes) -> None:
        if not self.sink.last.startswith(answer):
            raise SystemExit(f"bench.sansio: {answer!r} was expected, {self.sink.last!r} came")

    def subscribe(self) -> None:
        self.say(
            stomp_frame(
                "SUBSCRIBE",
                "id:c",
                f"destination:/amq/queue/{QUEUE}",
                "ack:client",
                "prefetch-count:1000",
                "receipt:s",
            )
        )
        self.expect(b"RECEIPT\nreceipt-id:s\n")

    def ack(self, tag: int) -> bytes:
        return stomp_frame("ACK", f"id:T_c@@{self.peer.conversation.session_id}@@{tag}")

    def delivered(self) -> int:
        (session,) = self.peer.subscribers.values()
        return int(session.next_tag) - 1


class StompSettler:
    """As `Settler`, in client mode."""

    def __init__(self, client: StompClient) -> None:
        self.client = client
        self.tag = 0

    def settle(self) -> None:
        upto = self.client.delivered()
        said = []
        while self.tag + ACK_EVERY <= upto:
            self.tag += ACK_EVERY
            said.append(self.client.ack(self.tag))
        if said:
            self.client.say(b"".join(said))


def stomp_frame(command: str, *headers: str, body: bytes = b"") -> bytes:
    return "\n".join([command, *headers, "\n"]).encode() + body + b"\0"


def stomp_send(durable: bool, i: int) -> bytes:
    headers = [f"destination:/queue/{QUEUE}", f"content-length:{len(BODY)}"]
    if durable:
        headers.append("persistent:true")
        if (i + 1) % RECEIPT_EVERY == 0:
            headers.append(f"receipt:{i}")
    return stomp_frame("SEND", *headers, body=BODY)


def run_stomp(scenario: Scenario, messages: int) -> None:
    world = World()
    declarer = Client(world)
    declarer.declare(QUEUE, scenario.durable, {})
    publisher, consumer = StompClient(world), StompClient(world)
    consumer.subscribe()
    settler = StompSettler(consumer)
    batch = b"".join(stomp_send(scenario.durable, i) for i in range(BATCH))
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    for _ in range(messages // BATCH):
        publisher.say(batch)
        if scenario.durable:
            publisher.expect(b"RECEIPT\nreceipt-id:99\n")
        settler.settle()
    check(world, [settler], messages // BATCH * BATCH)


def run(name: str, messages: int) -> None:
    """Take so many messages through, a whole number of batches. Ends the process when one did not arrive."""
    scenario = SCENARIOS[name]
    if scenario.stomp:
        run_stomp(scenario, messages)
        return
    world = World()
    publisher, consumer = Client(world), Client(world)
    consumer.declare(QUEUE, scenario.durable, scenario.arguments)
    settlers: list[Settler] = []
    if scenario.consumed:
        consumer.consume(QUEUE)
        settlers.append(Settler(consumer, "x-dead-letter-exchange" in scenario.arguments))
    if "x-dead-letter-exchange" in scenario.arguments:
        buried = Client(world)
        buried.declare(GRAVE, scenario.durable, {})
        buried.consume(GRAVE)
        settlers.append(Settler(buried, False))
    if scenario.durable:
        publisher.call((85, 10), b"\0")
    batches = [
        b"".join(
            publish(1, QUEUE, BODY, scenario.durable, scenario.celery, asks(name, n * BATCH + i))
            for i in range(BATCH)
        )
        for n in range(BATCHES if scenario.different else 1)
    ]
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    before = consumer.sink.bytes
    for n in range(messages // BATCH):
        publisher.say(batches[n % len(batches)])
        for settler in settlers:
            settler.settle()
    check(world, settlers, messages // BATCH * BATCH)
    if name in ("transient", "durable") or scenario.celery:
        content = len(batches[0]) // BATCH - len(method_frame(1, (60, 40), b"\0\0\0\x01q\0"))
        deliver = len(method_frame(1, (60, 60), short_string("c") + bytes(9) + b"\0" + short_string(QUEUE)))
        wanted = messages // BATCH * BATCH * (content + deliver)
        if consumer.sink.bytes - before != wanted:
            raise SystemExit(
                f"bench.sansio: {consumer.sink.bytes - before} bytes were delivered, not {wanted}"
            )


def check(world: World, settlers: Sequence[Settler | StompSettler], messages: int) -> None:
    """Whether all is where it belongs: with the last consumer, or all but the newest dropped. What is delayed, and
    what is to be buried, gets some turns more."""
    if not settlers:
        queue = world.broker.vhosts["/"].topology.queues[QUEUE]
        assert isinstance(queue, Queue)
        if queue.ready_count() != min(messages, MAX_LENGTH):
            raise SystemExit(f"bench.sansio: {queue.ready_count()} messages are left of {messages}")
        return
    turns = 0
    while settlers[-1].tag < messages and turns < PATIENCE:
        turns += 1
        world.turn()
        for settler in settlers:
            settler.settle()
    if settlers[-1].tag != messages:
        raise SystemExit(f"bench.sansio: {settlers[-1].tag} of {messages} messages were delivered")


if __name__ == "__main__":
    if sys.argv[1] == "compiled":
        print("compiled" if COMPILED else "pure")
    else:
        run(sys.argv[1], int(sys.argv[2]))
