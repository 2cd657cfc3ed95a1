"""The whole of core and store on a disk that forgets: power lost and processes killed at any moment, again and again.

After every crash the broker that starts must hold exactly what a prefix of the log leaves: all blocks that were
reported to be on disk, and possibly the one that was being written. So nothing confirmed is missing, nothing whose
settlement was written comes back, a transaction is there or is not, order is kept; and whatever had been handed out
carries the redelivered flag.

LEVERET_CRASHES=N makes it longer, LEVERET_CRASH_SEED=S begins elsewhere: a failure names its seed, and
LEVERET_CRASHES=1 LEVERET_CRASH_SEED=S runs that one again.
"""

from __future__ import annotations

import os
import random

from leveret.core.queue import Queue
from leveret.message import ACCEPTED, REJECTED, RELEASED, Terms
from tests.store.machine import Hand, Machine, Sizes, contents_and_terms
from tests.store.simdisk import PowerLoss, SimDisk

CRASHES = int(os.environ.get("LEVERET_CRASHES", "400"))
FIRST_SEED = int(os.environ.get("LEVERET_CRASH_SEED", "0"))
LIVES = 8  # of one store
STEPS = 150  # of one life
NAMES = ("a", "b", "c")
FANOUT = "amq.fanout"
SIZES = (0, 10, 100, 100, 100, 100, 700, 1_500, 3_000, 3_000, 9_000, 17_000)

State = dict[str, tuple[int, bool, list[int]]]  # queue: (its number, bound to the exchange, what waits in it)


def body_of(n: int) -> bytes:
    return n.to_bytes(4, "big") + random.Random(n).choice(SIZES) * bytes([n % 251])


def terms_of(n: int) -> tuple[int, int, int, int] | None:
    return (n + 1, -1, 0, n % 256) if n % 3 == 0 else None


class Event:
    """Something that the log learns in a block."""

    def __init__(self, block: int, kind: str, queue: str, what: int) -> None:
        self.block = block
        self.kind = kind
        self.queue = queue
        self.what = what


class Events:
    """What happened in a life, and what it leaves when the log ends with a certain block."""

    def __init__(self, before: State) -> None:
        self.before = before
        self.events: list[Event] = []

    def add(self, block: int, kind: str, queue: str, what: int = 0) -> None:
        self.events.append(Event(block, kind, queue, what))

    def state(self, last: int) -> State:
        numbers = {name: qid for name, (qid, _, _) in self.before.items()}
        bound = {name for name, (_, is_bound, _) in self.before.items() if is_bound}
        waiting = {name: dict.fromkeys(ns) for name, (_, _, ns) in self.before.items()}
        gone: dict[str, set[int]] = {name: set() for name in self.before}
        for e in self.events:
            if e.block > last:
                continue
            if e.kind == "declare":
                numbers[e.queue], waiting[e.queue], gone[e.queue] = e.what, {}, set()
            elif e.kind == "delete":
                del numbers[e.queue]
                bound.discard(e.queue)
            elif e.kind == "bind":
                bound.add(e.queue)
            elif e.kind == "unbind":
                bound.discard(e.queue)
            elif numbers.get(e.queue) is None:
                pass  # a record that came in fragments, of a queue that was deleted meanwhile
            elif e.kind == "publish":
                waiting[e.queue][e.what] = None
            else:
                gone[e.queue].add(e.what)
        return {
            name: (qid, name in bound, [n for n in waiting[name] if n not in gone[name]])
            for name, qid in numbers.items()
        }


class Life:
    """Clients of one process, and the process, at random."""

    def __init__(self, world: World, machine: Machine, found: State) -> None:
        self.world = world
        self.rng = world.rng
        self.machine = machine
        self.events = Events(found)
        self.hands: list[Hand] = []
        self.settled: set[tuple[int, int]] = set()  # (queue, message)
        self.flagged = set(world.flagged)
        self.actions = (
            (self.publish, 30),
            (self.publish_to_all, 5),
            (self.move, 6),
            (self.transaction, 4),
            (machine.turn, 20),
            (self.settle, 25),
            (self.arrive, 4),
            (self.leave, 1.5),
            (self.get, 3),
            (self.purge, 0.4),
            (self.declare, 1.5),
            (self.delete, 0.5),
            (self.bind, 1.5),
            (machine.broker.shed, 0.7),
            (self.hurry, 10),
            (machine.hand_over, 10),
            (machine.write, 10),
            (machine.block_landed, 10),
            (self.catch_up, 12),
            (self.move_pages, 10),
            (machine.pages_landed, 10),
            (machine.prepare, 3),
        )

    def run(self, steps: int) -> None:
        doing = [action for action, _ in self.actions]
        weights = [weight for _, weight in self.actions]
        for action in self.rng.choices(doing, weights, k=steps):
            action()
            if self.machine.ended():
                return
            for hand in self.hands:
                self.look_at(hand)

    # ---- the process

    def hurry(self) -> None:
        self.machine.journal.urgent = True
        if self.rng.random() < 0.2:
            self.machine.journal.tick += 1

    def catch_up(self) -> None:
        for _ in range(self.rng.choice((1, 5, 100))):
            self.hurry()
            self.machine.block_through()

    def move_pages(self) -> None:
        self.machine.move_pages(self.rng.choice((1, 2, 20)))

    # ---- topology

    def _queues(self) -> dict[str, Queue]:
        found: dict[str, Queue] = {}
        for name in NAMES:
            if name in self.machine.vhost.topology.queues:
                found[name] = self.machine.vhost.queue(name, None)
        return found

    def _some_queue(self) -> Queue | None:
        queues = list(self._queues().values())
        return self.rng.choice(queues) if queues else None

    def declare(self) -> None:
        name = self.rng.choice(NAMES)
        if name not in self._queues():
            queue = self.machine.queue(name)
            self.events.add(int(self.machine.vhost.position), "declare", name, int(queue.qid))
        if self.rng.random() < 0.2:  # something that leaves no trace
            self.machine.queue("fleeting", False)
            self.machine.vhost.bind_queue("fleeting", FANOUT, "", {}, None)

    def delete(self) -> None:
        queue = self._some_queue()
        if queue is None:
            return
        for hand in self.hands:
            self.look_at(hand)
        self.hands = [hand for hand in self.hands if hand.queue is not queue]
        self.machine.vhost.delete_queue(queue.name, False, False, None)
        self.events.add(int(self.machine.vhost.position), "delete", queue.name)

    def bind(self) -> None:
        queue = self._some_queue()
        if queue is None:
            return
        bound = any(b.source.name == FANOUT for b in self.machine.vhost.topology.bindings_to(queue))
        if not bound:
            self.machine.vhost.bind_queue(queue.name, FANOUT, "", {}, None)
            self.events.add(int(self.machine.vhost.position), "bind", queue.name)
        elif self.rng.random() < 0.5:
            self.machine.vhost.unbind_queue(queue.name, FANOUT, "", {}, None)
            self.events.add(int(self.machine.vhost.position), "unbind", queue.name)

    # ---- publishing

    def _send(self, exchange: str, key: str, persistent: bool) -> tuple[int, int, list[str]]:
        """Publish one. Returns its number, its position and the durable queues that it went to."""
        n = self.world.next
        self.world.next += 1
        to = [key]
        if exchange:
            to = [
                name
                for name, queue in self._queues().items()
                if any(b.source.name == FANOUT for b in self.machine.vhost.topology.bindings_to(queue))
            ]
        for name in to:
            self.world.been.add((int(self._queues()[name].qid), n))
        terms = terms_of(n)
        position = self.machine.publish(
            exchange, key, body_of(n), persistent, None if terms is None else Terms(*terms)
        )
        return n, position, to if persistent else []

    def _publish(self, exchange: str, key: str) -> None:
        n, position, to = self._send(exchange, key, self.rng.random() < 0.85)
        for name in to:
            self.events.add(position, "publish", name, n)

    def publish(self) -> None:
        queue = self._some_queue()
        if queue is not None:
            for _ in range(self.rng.choice((1, 1, 3, 20))):
                self._publish("", queue.name)

    def publish_to_all(self) -> None:
        for _ in range(self.rng.choice((1, 4))):
            self._publish(FANOUT, "")

    def _move(self) -> tuple[int, list[tuple[str, str, int]]]:
        """Move a message as a dead letter goes: (position, what happened). A queue never gets one for a second time."""
        source, target = self._some_queue(), self._some_queue()
        if source is None or target is None or source is target:
            return 0, []
        for hand in self.hands:
            self.look_at(hand)
        m = self.machine.next_of(source)
        if m is None:
            return 0, []
        n = int.from_bytes(m.data[:4], "big")
        place = (int(target.qid), n)
        if place in self.world.been:
            return 0, []
        self.world.been.add(place)
        position = self.machine.move(source, target)
        self.settled.add((int(source.qid), n))
        if not m.persistent:
            return position, []
        return position, [("publish", target.name, n), ("settle", source.name, n)]

    def move(self) -> None:
        for _ in range(self.rng.choice((1, 1, 5))):
            position, events = self._move()
            for kind, name, n in events:
                self.events.add(position, kind, name, n)

    def transaction(self) -> None:
        """Publishes, moves and settlements in one record."""
        events: list[tuple[str, str, int]] = []
        taken = []
        holders = [hand for hand in self.hands if hand.unsettled]
        if holders:
            hand = self.rng.choice(holders)
            for tag in self.rng.sample(sorted(hand.unsettled), min(3, len(hand.unsettled))):
                runs = hand.session.take(tag, False)
                assert runs is not None
                n = hand.unsettled.pop(tag)
                taken.append((hand, runs[0], n))
        self.machine.journal.begin_tx()
        queues = list(self._queues())
        for _ in range(self.rng.choice((0, 1, 3, 8)) if queues else 0):
            exchange = self.rng.choice(("", "", FANOUT))
            n, _, to = self._send(exchange, "" if exchange else self.rng.choice(queues), True)
            events += [("publish", name, n) for name in to]
        for _ in range(self.rng.choice((0, 0, 1, 3))):
            events += self._move()[1]
        for hand, run, n in taken:
            outcome = self.rng.choice((ACCEPTED, ACCEPTED, REJECTED, RELEASED))
            hand.session.finish(run, outcome)
            if outcome != RELEASED:
                events.append(("settle", hand.queue.name, n))
                self.settled.add((int(hand.queue.qid), n))
        position = int(self.machine.journal.end_tx())
        for kind, name, n in events:
            self.events.add(position, kind, name, n)

    # ---- consuming

    def arrive(self) -> None:
        queue = self._some_queue()
        if queue is not None and len(self.hands) < 4:
            prefetch = self.rng.choice((0, 1, 3, 10))
            self.world.touched.add(int(queue.qid))
            name = f"hand {self.world.next} {len(self.hands)} {self.rng.random()}"
            self.hands.append(Hand(self.machine, queue, prefetch, self.rng.random() < 0.15, name))

    def leave(self) -> None:
        if self.hands:
            hand = self.hands.pop(self.rng.randrange(len(self.hands)))
            self.look_at(hand)
            hand.leave()

    def get(self) -> None:
        if self.hands:
            self.rng.choice(self.hands).ask()

    def look_at(self, hand: Hand) -> None:
        """Deliveries since the last look: waiting, and flagged if and only if they may have been seen before."""
        qid = int(hand.queue.qid)
        while hand.got:
            tag, data, redelivered, block = hand.got.popleft()
            n = int.from_bytes(data[:4], "big")
            assert data == body_of(n)
            assert (qid, n) not in self.settled, f"{n} was settled before"
            seen = (qid, n) in self.world.seen
            assert redelivered or not seen, f"{n} was handed out before and is not flagged"
            assert not redelivered or seen or (qid, n) in self.flagged, f"{n} is flagged and is new"
            self.world.seen.add((qid, n))
            if tag == 0:
                self._gone(hand.queue, n, block)
            else:
                hand.unsettled[tag] = n

    def _gone(self, queue: Queue, n: int, block: int) -> None:
        self.settled.add((int(queue.qid), n))
        self.events.add(block, "settle", queue.name, n)

    def settle(self) -> None:
        holders = [hand for hand in self.hands if hand.unsettled]
        if not holders:
            return
        hand = self.rng.choice(holders)
        tag = self.rng.choice(sorted(hand.unsettled))
        multiple = self.rng.random() < 0.4
        outcome = self.rng.choice((ACCEPTED, ACCEPTED, ACCEPTED, REJECTED, RELEASED))
        block = int(self.machine.journal.block)
        assert hand.session.settle(tag, multiple, outcome)
        for t in [t for t in sorted(hand.unsettled) if t == tag or (multiple and t < tag)]:
            n = hand.unsettled.pop(t)
            if outcome != RELEASED:
                self._gone(hand.queue, n, block)

    def purge(self) -> None:
        queue = self._some_queue()
        if queue is None:
            return
        out = {n for hand in self.hands if hand.queue is queue for n in hand.unsettled.values()}
        waiting = self.events.state(1 << 62)[queue.name][2]
        block = int(self.machine.journal.block)
        queue.purge()
        for n in waiting:
            if n not in out:
                self._gone(queue, n, block)


class World:
    """A disk, the processes that lived on it one after another, and what is known of them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = SimDisk(seed)
        self.next = 0
        self.seen: set[tuple[int, int]] = set()  # (queue, message): handed out at some time
        self.flagged: set[tuple[int, int]] = set()  # flagged as redelivered when the process began
        self.been: set[tuple[int, int]] = set()  # (queue, message): was in it at some time
        self.touched: set[int] = set()  # queues that had a consumer
        self.possible: list[State] = [{}]  # what may be found at the next start
        self.clean = False
        self.crashes = 0

    def lives(self, count: int) -> None:
        for _ in range(count):
            if self.rng.random() < 0.8:
                self.disk.arm(self.rng.choice((5, 40, 200, 600)), self.rng.random() < 0.7)
                self.disk.crash_at = self.rng.randint(self.disk.operations + 1, self.disk.crash_at)
            self.live()

    def live(self) -> None:
        life: Life | None = None
        machine: Machine | None = None
        try:
            machine = Machine(self.disk, self.sizes())
            found = self.look(machine)
            machine.start()
            self.possible = [found]
            life = Life(self, machine, found)
            life.run(self.rng.choice((20, STEPS, STEPS, 3 * STEPS)))
            if self.rng.random() < 0.3:
                self.stop(life)
            else:
                self.disk._stop()
        except PowerLoss:
            self.crashes += 1
            self.clean = False
        if life is not None:
            self.ended(life)
        if machine is not None:
            machine.let_go()

    def sizes(self) -> Sizes:
        """Configurations change from one start to the next."""
        if self.rng.random() < 0.7:
            return Sizes()
        choice = self.rng.choice
        return Sizes(
            choice((8_192, 16_384, 65_536)),
            choice((3, 5)),
            choice((1, 3, 30)),
            choice((2_000, 20_000)),
            choice((0, 4_096, 100_000)),
        )

    def stop(self, life: Life) -> None:
        for hand in life.hands:
            life.look_at(hand)
            hand.leave()
        life.hands = []
        life.machine.stop()
        self.clean = True
        self.disk.kill()

    def ended(self, life: Life) -> None:
        """What the log may hold now: up to the last block reported, and perhaps the one under way."""
        for hand in life.hands:
            life.look_at(hand)
        self.possible = [life.events.state(int(life.machine.journal.durable))]
        block = life.machine.block
        if block is not None and block.number > 0:
            self.possible.append(life.events.state(int(block.number)))

    def look(self, machine: Machine) -> State:
        """What was recovered: one of the possible states, with flags as they should be."""
        found: State = {}
        flagged: set[tuple[int, int]] = set()
        for name, queue in machine.vhost.topology.queues.items():
            assert isinstance(queue, Queue)
            waiting = []
            for body, flag, terms in contents_and_terms(machine, queue.lane):
                n = int.from_bytes(body[:4], "big")
                assert body == body_of(n)
                assert terms == terms_of(n)
                key = (int(queue.qid), n)
                waiting.append(n)
                if flag:
                    flagged.add(key)
                assert flag or key not in self.seen, f"{n} was handed out before and is not flagged"
            bound = any(b.source.name == FANOUT for b in machine.vhost.topology.bindings_to(queue))
            found[name] = (int(queue.qid), bound, waiting)
        assert found in self.possible, difference(found, self.possible)
        assert {qid for qid, _ in flagged} <= self.touched, "flagged in a queue that nobody has touched"
        if self.clean:
            present = {(qid, n) for qid, _, ns in found.values() for n in ns}
            assert flagged == present & (self.seen | self.flagged), "flags are not exact after a clean stop"
        self.flagged = flagged
        return found


def difference(found: State, possible: list[State]) -> str:
    """What is missing and what is too much, in comparison with each of the states that were possible."""
    lines = ["recovered what cannot be:"]
    for state in possible:
        for name in sorted(found.keys() | state.keys()):
            here, there = found.get(name, (0, False, [])), state.get(name, (0, False, []))
            missing = sorted(set(there[2]) - set(here[2]))
            extra = sorted(set(here[2]) - set(there[2]))
            lines.append(
                f"  {name}: found {here[:2]}, wanted {there[:2]}, missing {missing}, too much {extra}"
            )
        lines.append("or")
    return "\n".join(lines[:-1])


def test_power_lost_at_any_moment() -> None:
    crashes = 0
    seed = FIRST_SEED
    while crashes < CRASHES:
        world = World(seed)
        try:
            world.lives(LIVES)
            world.disk.kill()
            world.look(Machine(world.disk))
        except BaseException:
            print(f"LEVERET_CRASHES=1 LEVERET_CRASH_SEED={seed}")
            raise
        crashes += world.crashes
        seed += 1


def test_a_store_that_fails_does_not_count_as_stopped() -> None:
    """The machine of these tests: a failed write is the writer's last."""
    disk = SimDisk()
    machine = Machine(disk)
    machine.start()
    machine.queue("a")
    machine.publish("", "a", b"x")
    disk.fail(1)
    machine.settle_down()
    assert machine.failure
    assert machine.journal.durable == 0
    for _ in range(3):
        machine.block_through()
    assert machine.journal.durable == 0
