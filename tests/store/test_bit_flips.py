"""A bit flipped anywhere in a store's files: the start or the reading of a page says so and names the file, or
everything that was there is there all the same.

The one exception is the last block of a broker that was killed: nothing says that it had been whole (see
store/segment.py), so it is taken for torn, and what is left is the state before it.

FLIPS=1 flips a bit in every byte; without it, in as many as a second or two allow.
"""

from __future__ import annotations

import os
import random

import pytest

from leveret.errors import Damaged, StoreError
from leveret.message import ACCEPTED, Terms
from tests.store.machine import Four, Hand, Machine, Sizes, contents_and_terms
from tests.store.simdisk import SimDisk

SIZES = Sizes(segment_bytes=4_096)
ALL = "FLIPS" in os.environ
SAMPLE = 700  # bytes of each store

Waiting = dict[str, list[tuple[bytes, bool, Four | None]]]


def lived(clean: bool) -> tuple[SimDisk, Waiting]:
    """A store with topology, pages, settled and moved messages, terms, and recycled segments; and what waits without
    the last block."""
    disk = SimDisk(5)
    machine = Machine(disk, SIZES)
    machine.start()
    queue = machine.queue("q")
    other = machine.queue("r")
    for name in ("q", "r"):
        machine.vhost.bind_queue(name, "amq.topic", "a.#", {"x": name}, None)
    hand = Hand(machine, queue, 6, False, "hand")
    moved = 0
    for n in range(60):
        terms = Terms(n + 1, -1, 0, n) if n % 3 == 0 else None
        machine.publish("amq.topic", "a.b", b"%d" % n * (20 + n % 40), True, terms)
        if n % 5 == 0 and machine.next_of(queue) is not None:
            machine.move(queue, other)
            moved += 1
        if n % 4 == 0:
            machine.settle_down()
            machine.prepare()
        while len(hand.got) > 4:
            assert hand.session.settle(hand.got.popleft()[0], False, ACCEPTED)
    assert moved > 5
    machine.broker.shed()
    machine.settle_down()
    for n in range(12):  # these wait in the log, in more than one segment
        machine.publish("", "r", b"%d" % n * 150, True, Terms(n + 1, -1, 0, n))
        machine.settle_down()
    before = what_waits(machine)
    if clean:
        hand.leave()
        machine.stop()
    else:
        machine.publish("", "r", b"the last one")
        machine.settle_down()
    disk.kill()
    return disk, before


def what_waits(machine: Machine) -> Waiting:
    found: Waiting = {}
    for name in list(machine.vhost.topology.queues):
        found[name] = contents_and_terms(machine, machine.vhost.queue(name, None).lane)
    return found


def opened(disk: SimDisk) -> Waiting:
    """What a broker that starts finds, on a copy of the disk."""
    machine = Machine(disk.copied(), SIZES)
    found = what_waits(machine)
    assert all(
        len(machine.vhost.topology.bindings_to(q)) == 1 for q in machine.vhost.topology.queues.values()
    )
    return found


def bodies(waiting: Waiting) -> dict[str, list[bytes]]:
    return {name: [body for body, _, _ in messages] for name, messages in waiting.items()}


@pytest.mark.parametrize("clean", [True, False], ids=["after a clean stop", "after a crash"])
def test_a_flipped_bit_is_named_or_harmless(clean: bool) -> None:
    disk, before = lived(clean)
    want = opened(disk)
    assert len(want["q"]) + len(want["r"]) > 80
    names = [name for name in disk.files() if not name.endswith(".spare")]
    assert len([name for name in names if name.endswith(".page")]) > 5
    assert len([name for name in names if name.endswith(".seg")]) > 1
    places = [(name, byte) for name in names for byte in range(len(disk.file(name).cache))]
    rng = random.Random(1)
    named = 0
    dropped = 0
    for name, byte in places if ALL else rng.sample(places, SAMPLE):
        bit = byte * 8 + rng.randrange(8)
        disk.flip(name, bit)
        try:
            got = opened(disk)
            if got != want:
                assert not clean, f"{name} byte {byte}: something else is there"
                assert bodies(got) == bodies(before), f"{name} byte {byte}: something else is there"
                dropped += 1
        except StoreError as error:
            other = name == "store.json" and "belongs to another store" in error.text
            assert error.path == name or other, f"{name} byte {byte}: {error.text}"
            named += 1
        disk.flip(name, bit)
    assert named > SAMPLE // 4
    assert dropped < len(places) // 40
    assert opened(disk) == want


def test_a_page_that_is_gone_stops_the_start() -> None:
    disk, _ = lived(True)
    pages = [name for name in disk.files() if name.endswith(".page")]
    for name in pages:
        spoilt = disk.copied()
        spoilt.remove(name)
        with pytest.raises(Damaged, match="1 pages that the log needs are gone") as caught:
            Machine(spoilt, SIZES)
        assert caught.value.path == name


def test_a_page_whose_messages_are_all_settled_may_be_gone() -> None:
    disk = SimDisk()
    machine = Machine(disk)
    machine.start()
    queue = machine.queue("q")
    for n in range(64):
        machine.publish("", "q", b"%d" % n * 100)
    machine.settle_down()
    machine.broker.shed()
    machine.settle_down()
    page = sorted(name for name in disk.files() if name.endswith(".page"))[-1]
    queue.purge()
    machine.settle_down()
    assert page not in disk.files()
    disk.crash()
    assert what_waits(Machine(disk)) == {"q": []}
