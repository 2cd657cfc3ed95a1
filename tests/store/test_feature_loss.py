"""Power lost at any moment, with every feature that queues have in play (tests/play).

After every crash each message that was confirmed is in one place, or was settled or let go by a rule of its queue; what
is moved (a dead letter, a message that was delayed, one that takes another's place) is where it was or where it goes,
never both and never neither; nothing comes before its time, and no failed delivery that was written is forgotten. The
log may end with the last block that was reported, or with the one under way: all there is has to agree on one of them.

LEVERET_CRASHES=N makes it longer, LEVERET_CRASH_SEED=S begins elsewhere: a failure names its seed, and
LEVERET_CRASHES=1 LEVERET_CRASH_SEED=S runs that one again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from leveret.errors import BrokerError
from tests.play.messages import copies
from tests.play.play import Play, World
from tests.store.machine import Machine, Sizes
from tests.store.simdisk import EIO, ENOSPC, SHORT, PowerLoss, SimDisk

CRASHES = int(os.environ.get("LEVERET_CRASHES", "200"))
FIRST_SEED = int(os.environ.get("LEVERET_CRASH_SEED", "0"))
FAULT_SEED = int(os.environ.get("LEVERET_FAULT_SEED", "4"))
LIVES = 6  # of one store
STEPS = 150  # of one life
STRIDE = 7  # every seventh operation fails, beginning with another one for each fault
ALL = 1 << 62


class Lives:
    """A disk, and the processes that live on it one after another."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.disk = SimDisk(seed)
        self.ends = [ALL]  # the blocks with which the log may end
        self.crashes = 0
        self.machine: Machine | None = None

    def many(self, count: int) -> None:
        for _ in range(count):
            if self.rng.random() < 0.8:
                self.disk.arm(self.rng.choice((5, 40, 200, 600)), self.rng.random() < 0.7)
                self.disk.crash_at = self.rng.randint(self.disk.operations + 1, self.disk.crash_at)
            try:
                self.live()
            except PowerLoss:
                self.crashes += 1
            self.over()

    def live(self) -> None:
        play = self.begin()
        self.run(play, self.rng.choice((20, STEPS, STEPS, 3 * STEPS)))
        if self.rng.random() < 0.3:
            self.stop(play)
        else:
            self.disk._stop()

    def begin(self) -> Play:
        """Start, look at what is there, and let clients in."""
        sizes = Sizes()
        if self.rng.random() < 0.3:
            choice = self.rng.choice
            sizes = Sizes(
                choice((8_192, 16_384, 65_536)), choice((3, 5)), choice((1, 3, 30)), choice((2_000, 20_000)),
                choice((0, 4_096, 100_000)),
            )  # fmt: skip
        machine = Machine(self.disk, sizes, self.world.now_ms)
        try:
            self.look(machine)
            machine.start()
        except BaseException:
            machine.let_go()
            raise
        self.machine = machine
        self.world.declare(machine)
        return Play(self.world, machine)

    def look(self, machine: Machine) -> None:
        found = copies(machine)
        wrong = {end: self.world.book.wrong(found, end, True) for end in self.ends}
        fit = [end for end in self.ends if not wrong[end]]
        assert fit, "\nor\n".join("\n".join(lines[:5]) for lines in wrong.values())
        self.world.restarted(found, min(fit), max(fit))
        self.ends = [ALL]

    def run(self, play: Play, steps: int) -> None:
        machine = self.machine
        assert machine is not None
        actions: tuple[tuple[Callable[[], None], float], ...] = (
            *play.actions,
            (self.hurry, 10),
            (machine.hand_over, 10),
            (machine.write, 10),
            (machine.block_landed, 10),
            (self.catch_up, 12),
            (lambda: machine.move_pages(self.rng.choice((1, 2, 20))), 10),
            (machine.pages_landed, 10),
            (machine.prepare, 3),
        )
        weights = [weight for _, weight in actions]
        for action in self.rng.choices([action for action, _ in actions], weights, k=steps):
            action()
            if machine.ended():
                return

    def hurry(self) -> None:
        assert self.machine is not None
        self.machine.journal.urgent = True
        if self.rng.random() < 0.2:
            self.machine.journal.tick += 1

    def catch_up(self) -> None:
        assert self.machine is not None
        for _ in range(self.rng.choice((1, 5, 100))):
            self.hurry()
            self.machine.block_through()

    def stop(self, play: Play) -> None:
        assert self.machine is not None
        play.everybody_leaves()
        self.machine.stop()
        self.disk.kill()

    def over(self) -> None:
        """A process has ended: how may the log end?"""
        machine = self.machine
        self.machine = None
        if machine is None:
            return  # before anybody was let in: nothing has happened
        self.ends = [int(machine.journal.durable)]
        if machine.block is not None and machine.block.number > 0:
            self.ends.append(int(machine.block.number))
        machine.let_go()


def test_power_lost_at_any_moment() -> None:
    crashes = 0
    seed = FIRST_SEED
    while crashes < CRASHES:
        lives = Lives(seed)
        try:
            lives.many(LIVES)
            lives.disk.kill()
            lives.begin().run_out()
            lives.over()
        except BaseException:
            print(f"LEVERET_CRASHES=1 LEVERET_CRASH_SEED={seed}")
            raise
        crashes += lives.crashes
        seed += 1


def live_with_a_fault(operation: int, fault: str) -> tuple[Lives, str]:
    """The second life of a store, in which an operation fails. Returns what ended it."""
    lives = Lives(FAULT_SEED)
    play = lives.begin()
    lives.run(play, STEPS)
    lives.stop(play)
    lives.over()
    lives.ends = [ALL]
    lives.disk.fail(operation, fault)
    ended = ""
    try:
        play = lives.begin()
        lives.run(play, STEPS)
        lives.stop(play)
    except BrokerError as error:
        ended = error.text  # at the start, or what clients are told of a queue whose page cannot be read
    if lives.machine is not None:
        ended = ended or lives.machine.ended()
    lives.over()
    return lives, ended


@pytest.mark.parametrize(("fault", "first"), [(EIO, 1), (ENOSPC, 3), (SHORT, 5)])
def test_every_operation_failing(fault: str, first: int) -> None:
    operation = first
    endings = 0
    while True:
        lives, ended = live_with_a_fault(operation, fault)
        disk = lives.disk
        if not disk.failed:
            break
        endings += bool(ended)
        disk.crash()
        lives.begin().run_out()
        lives.over()
        operation += STRIDE
    assert operation > 100
    assert endings > 3
