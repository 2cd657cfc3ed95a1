"""Every operation of the disk failing in turn, once, under the whole of core and store.

Whatever fails: nothing is called durable that is not on disk, the failure is told with the file it is about, and the
next start finds what was promised. A disk without room is no reason to end, where it is about pages or about room
made ahead: pages stay in memory, and settling goes on.

LEVERET_FAULT_SEED=S plays another history.
"""

from __future__ import annotations

import os

import pytest

from leveret.errors import BrokerError
from leveret.message import ACCEPTED
from tests.store.machine import MEMORY_BYTES, Hand, Machine
from tests.store.simdisk import EIO, ENOSPC, SHORT, SimDisk
from tests.store.test_power_loss import Life, World

SEED = int(os.environ.get("LEVERET_FAULT_SEED", "3"))
STEPS = 120
STRIDE = 3  # every third operation here, beginning with another one for each fault


def prepared() -> World:
    """A store with a history, stopped cleanly."""
    world = World(SEED)
    machine = Machine(world.disk)
    found = world.look(machine)
    machine.start()
    life = Life(world, machine, found)
    life.run(STEPS)
    world.stop(life)
    world.ended(life)
    return world


def live_with_a_fault(operation: int, fault: str) -> tuple[World, str, bool]:
    """The next life of that store. Returns it, what ended it, and whether the fault came at all."""
    world = prepared()
    disk = world.disk
    disk.fail(operation, fault)
    life: Life | None = None
    ended = ""
    try:
        machine = Machine(disk)
        found = world.look(machine)
        machine.start()
        world.possible = [found]
        life = Life(world, machine, found)
        life.run(STEPS)
        world.stop(life)
        ended = machine.ended()
        world.clean = not ended
    except BrokerError as error:
        ended = error.text  # at the start, or what clients are told of a queue whose page cannot be read
    if life is not None:
        world.ended(life)
    return world, ended, disk.failed > 0


@pytest.mark.parametrize(("fault", "first"), [(EIO, 1), (ENOSPC, 2), (SHORT, 3)])
def test_every_operation_failing(fault: str, first: int) -> None:
    operation = first
    endings = 0
    survived: set[str] = set()
    while True:
        world, ended, came = live_with_a_fault(operation, fault)
        disk = world.disk
        if not came:
            break
        if ended:
            endings += 1
            assert "(" in ended, f"it does not say which file: {ended}"
            world.clean = False
        else:
            survived.add(disk.faulted.split()[0])
        disk.crash()
        world.look(Machine(disk))
        operation += STRIDE
    assert operation > 100
    assert endings > 10
    if fault == EIO:
        assert survived <= {"read"}, "an operation failed and nobody said so"


def filled() -> tuple[SimDisk, Machine, Hand]:
    disk = SimDisk(1)
    machine = Machine(disk)
    machine.start()
    queue = machine.queue("q")
    for n in range(40):
        machine.publish("", "q", n.to_bytes(4, "big") + bytes(500))
    machine.settle_down()
    return disk, machine, Hand(machine, queue, 4, False, "hand")


def test_without_room_for_pages_they_stay_in_memory_and_settling_goes_on() -> None:
    disk, machine, hand = filled()
    disk.no_room_for = "pages/"
    for n in range(40, 80):
        machine.publish("", "q", n.to_bytes(4, "big") + bytes(500))
    machine.settle_down()
    machine.broker.shed()
    machine.settle_down()
    assert machine.pager.full
    assert not machine.ended()
    assert machine.pager.resident_bytes > 3 * MEMORY_BYTES
    got = []
    while hand.got:
        tag, body, redelivered, _ = hand.got.popleft()
        assert not redelivered
        got.append(int.from_bytes(body[:4], "big"))
        assert hand.session.settle(tag, False, ACCEPTED)
        machine.settle_down()
    assert got == list(range(80))
    assert not machine.ended()


def test_with_room_again_pages_are_stored_again() -> None:
    disk, machine, _ = filled()
    disk.no_room_for = "pages/"
    for n in range(40, 80):
        machine.publish("", "q", n.to_bytes(4, "big") + bytes(500))
    machine.settle_down()
    before = len(machine.pages.list())
    resident = machine.pager.resident_bytes
    assert machine.pager.full
    disk.no_room_for = ""
    machine.broker.shed()
    machine.settle_down()
    assert not machine.pager.full
    assert len(machine.pages.list()) > before
    assert machine.pager.resident_bytes < resident


def test_a_full_disk_leaves_settling_its_room() -> None:
    """Publishers stop when the store says so; then as many settlements as there may be still find room."""
    disk, machine, hand = filled()
    for _ in range(10):
        machine.prepare()
    while not machine.log.short_of_room():
        disk.no_room_for = ".tmp"
        machine.prepare()
        machine.publish("", "q", bytes(4) + bytes(500))
        machine.settle_down()
        assert not machine.ended()
    assert machine.log.space_bytes() > 0
    machine.journal.leave(machine.journal.segment)  # as the server does it
    machine.settle_down()
    first = machine.journal.segment
    while hand.got:
        tag, _, _, _ = hand.got.popleft()
        assert hand.session.settle(tag, False, ACCEPTED)
        machine.settle_down()
        machine.prepare()
        assert not machine.ended()
    assert machine.journal.segment >= first + 2
    disk.no_room_for = ""
    for _ in range(10):
        machine.prepare()
    assert not machine.log.full


@pytest.mark.parametrize("fault", [EIO, ENOSPC, SHORT])
def test_a_failed_write_of_the_log_is_the_last(fault: str) -> None:
    disk, machine, _ = filled()
    durable = machine.journal.durable
    position = machine.publish("", "q", b"late")
    disk.fail(1, fault)
    machine.settle_down()
    assert "cannot write" in machine.ended()
    assert machine.journal.durable == durable < position
    for _ in range(3):
        machine.publish("", "q", b"later")
        machine.block_through()
    assert machine.journal.durable == durable
