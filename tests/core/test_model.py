"""Core, journal and recovery against a model that is a list: random histories, crashes included.

The model knows for each message: published, settled, and whether the log that says so was written. After a crash
nothing that was confirmed and not settled may be missing, nothing whose settlement was written comes back, and the
order is kept.

A second kind of history has queues with every feature (tests/play): there the accounts of each message are kept, and
its deliveries are held against the rules of its queue.

LEVERET_MODEL_RUNS=N plays more of each, LEVERET_MODEL_SEED=S begins elsewhere.
"""

from __future__ import annotations

import os
import random

import pytest

from leveret.message import ACCEPTED, REJECTED, RELEASED
from tests.play.messages import copies
from tests.play.play import Play, World
from tests.rig import Disk, Hand, Rig

RUNS = int(os.environ.get("LEVERET_MODEL_RUNS", "60"))
FIRST_SEED = int(os.environ.get("LEVERET_MODEL_SEED", "0"))


class Model:
    def __init__(self) -> None:
        self.order: list[int] = []  # bodies in order of publishing
        self.position: dict[int, int] = {}  # body: what its confirm waits for
        self.gone: dict[int, int] = {}  # body: block in which its settlement is
        self.seen: set[int] = set()  # handed out at some time

    def waiting(self) -> list[int]:
        return [n for n in self.order if n not in self.gone]


def body_of(n: int, size: int) -> bytes:
    return n.to_bytes(4, "big") + b"x" * size


class History:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rig = Rig()
        self.queue = self.rig.queue()
        self.model = Model()
        self.hands: list[Hand] = []
        self.all: list[Hand] = []  # so that none's id is used again
        self.taken: dict[int, int] = {}  # per hand: how many of its deliveries were looked at
        self.unsettled: dict[int, dict[int, int]] = {}  # hand: tag: body
        self.next = 0

    def step(self) -> None:
        actions = (
            (self.publish, 40),
            (self.turn, 25),
            (self.sync, 12),
            (self.settle, 25),
            (self.arrive, 3),
            (self.leave, 2),
            (self.purge, 0.3),
            (self.shed, 1),
            (self.crash, 1.5),
        )
        chosen = self.random.choices([a for a, _ in actions], [w for _, w in actions])[0]
        chosen()
        self.look()

    def publish(self) -> None:
        for _ in range(self.random.choice((1, 1, 3, 20))):
            size = self.random.choice((0, 10, 100, 100, 700, 6_000))
            self.model.order.append(self.next)
            self.model.position[self.next] = self.rig.publish("q", body_of(self.next, size))
            self.next += 1

    def turn(self) -> None:
        self.rig.turn()

    def sync(self) -> None:
        self.rig.sync(self.random.choice((1, 1, 2, 100)))

    def arrive(self) -> None:
        if len(self.hands) < 4:
            hand = Hand(
                self.rig, self.queue, self.random.choice((0, 1, 3, 10)), name=f"h{self.next}-{id(self)}"
            )
            self.hands.append(hand)
            self.all.append(hand)
            self.unsettled[id(hand)] = {}
            self.taken[id(hand)] = 0

    def leave(self) -> None:
        if self.hands:
            hand = self.hands.pop(self.random.randrange(len(self.hands)))
            self.look_at(hand)
            hand.leave()
            del self.unsettled[id(hand)]

    def look(self) -> None:
        for hand in self.hands:
            self.look_at(hand)

    def look_at(self, hand: Hand) -> None:
        """Deliveries since the last look: known, waiting, flagged if they were seen before."""
        for tag, data, redelivered in hand.got[self.taken[id(hand)] :]:
            n = int.from_bytes(data[:4], "big")
            assert n in self.model.position, "delivered and never published"
            assert n not in self.model.gone, "delivered and settled before"
            assert redelivered or n not in self.model.seen, f"{n} was handed out before and is not flagged"
            self.model.seen.add(n)
            self.unsettled[id(hand)][tag] = n
        self.taken[id(hand)] = len(hand.got)

    def settle(self) -> None:
        holders = [h for h in self.hands if self.unsettled[id(h)]]
        if not holders:
            return
        hand = self.random.choice(holders)
        mine = self.unsettled[id(hand)]
        tag = self.random.choice(sorted(mine))
        multiple = self.random.random() < 0.4
        outcome = self.random.choice((ACCEPTED, ACCEPTED, ACCEPTED, REJECTED, RELEASED))
        tags = [t for t in sorted(mine) if t <= tag] if multiple else [tag]
        assert hand.settle(tag, outcome, multiple)
        for t in tags:
            n = mine.pop(t)
            if outcome != RELEASED:
                self.model.gone[n] = int(self.rig.journal.block)

    def purge(self) -> None:
        held = {n for mine in self.unsettled.values() for n in mine.values()}
        for n in self.model.waiting():
            if n not in held:
                self.model.gone[n] = int(self.rig.journal.block)
        self.queue.purge()

    def shed(self) -> None:
        self.rig.broker.shed()

    def crash(self) -> None:
        self.look()
        durable = int(self.rig.journal.durable)
        before = self.model
        self.rig = self.rig.crash()
        if "q" not in self.rig.vhost.topology.queues:
            assert durable == 0, "the queue was declared, that was on disk, and it is gone"
            self.rig.queue()
            self.rig.sync()
        self.hands = []
        self.unsettled = {}
        self.taken = {}
        present = self.drain()
        must = [n for n in before.waiting() if 0 < before.position[n] <= durable]
        may_return = {n for n, block in before.gone.items() if block > durable}
        assert [n for n in must if n not in set(present)] == [], "confirmed and lost"
        for n in present:
            assert n not in before.gone or n in may_return, (
                f"{n} was settled, that was written, and it came back"
            )
        assert present == sorted(present), "the order is not kept"
        # What came back is what there is now.
        self.model = Model()
        self.model.order = present
        for n in present:
            self.model.position[n] = 1
        self.model.seen = set(before.seen)
        self.model.position.update(dict.fromkeys(present, 1))

    def drain(self) -> list[int]:
        """What is in the queue: everything is taken, nothing settled, and the power fails once more."""
        hand = Hand(self.rig, self.rig.vhost.queue("q", None))
        self.rig.settle_down()
        self.rig = self.rig.crash()
        self.queue = self.rig.vhost.queue("q", None)
        return [int.from_bytes(data[:4], "big") for _, data, _ in hand.got]

    def check(self) -> None:
        """At rest, what is left is what the model says, in order."""
        for hand in self.hands:
            self.look_at(hand)
            hand.leave()
        self.hands = []
        hand = Hand(self.rig, self.queue)
        self.rig.settle_down()
        got = [int.from_bytes(data[:4], "big") for _, data, _ in hand.got]
        assert got == self.model.waiting()


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_random_history(seed: int) -> None:
    history = History(seed)
    for _ in range(200):
        history.step()
    history.check()


class PlayedRig(Rig):
    """Pages are on their way until the next turn, as with the thread that the server has for them."""

    def __init__(self, now_ms: int, disk: Disk | None = None) -> None:
        self.born_ms = now_ms
        super().__init__(disk)
        self.pager.wake = self._nothing
        self.at(now_ms)

    def _nothing(self) -> None:
        """The loop is not woken: it looks when the test says so."""

    def move_pages(self) -> bool:
        moved = False
        while not self.pager.jobs.empty():
            moved = True
            self.pager.perform(self.pager.jobs.get_nowait())
        if moved:
            self.pager._names()
            self.pager.finish()
        return moved

    def page_file(self, lane: int, base: int) -> bytes:
        while self.move_pages():
            pass
        return self.disk.pages.files[(lane, base)]

    def turn(self) -> None:
        self.move_pages()
        super().turn()

    def settle_down(self) -> None:
        for _ in range(10_000):
            self.turn()
            self.sync()
            if not (self.move_pages() or self.broker.turn.dirty or self.more) and self.journal.empty():
                return
        raise AssertionError("it never comes to rest")


def one_life(world: World, rig: PlayedRig, steps: int) -> Play:
    rng = world.rng
    play = Play(world, rig)
    actions = (*play.actions, (lambda: rig.sync(rng.choice((1, 1, 2, 100))), 12))
    doing = [action for action, _ in actions]
    for action in rng.choices(doing, [weight for _, weight in actions], k=steps):
        action()
    return play


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_random_history_with_features(seed: int) -> None:
    world = World(seed)
    rng = world.rng
    rig = PlayedRig(world.now_ms)
    world.declare(rig)
    rig.sync()
    for _ in range(3):
        play = one_life(world, rig, 120)
        if rng.random() < 0.3:
            play.audit()
        if rng.random() < 0.1:
            play.run_out()
        clean = rng.random() < 0.2
        if clean:
            play.everybody_leaves()
            rig.settle_down()
            rig.broker.stop_cleanly(rig.journal)
            rig.sync()
        durable = int(rig.journal.durable)
        rig = PlayedRig(world.now_ms, rig.disk)
        found = copies(rig)
        wrong = world.book.wrong(found, durable, True)
        assert not wrong, "\n".join(wrong)
        world.restarted(found, durable, durable)
    play = one_life(world, rig, 60)
    play.audit()
    play.run_out()
