"""Message groups: one key, one consumer at a time, in order."""

from __future__ import annotations

import random

import pytest

from leveret.core.queue import Queue
from leveret.errors import PreconditionFailed
from leveret.message import ACCEPTED, RELEASED
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig, body_of, headers_of


def grouped(rig: Rig, **more: object) -> Queue:
    return rig.queue("q", arguments={"x-group-header": True, **more})


def send(rig: Rig, *bodies: str) -> None:
    """The first letter of a body is its key; '-' is none."""
    for body in bodies:
        headers: dict[str, object] = {} if body[0] == "-" else {"x-group-id": body[0]}
        rig.send("q", body.encode(), Properties(headers=headers))


def got(hand: Hand) -> list[str]:
    return [body_of(data).decode() for _, data, _ in hand.got]


def test_keys_go_to_one_consumer_each() -> None:
    rig = Rig()
    queue = grouped(rig)
    one, two = Hand(rig, queue, 2, name="one"), Hand(rig, queue, 2, name="two")
    send(rig, "a1", "a2", "a3", "b1", "b2")
    rig.settle_down()
    assert got(one) == ["a1", "a2"]
    assert got(two) == ["b1", "b2"]
    one.settle(1, ACCEPTED)
    rig.settle_down()
    assert got(one) == ["a1", "a2", "a3"]


def test_a_key_is_not_shared_while_its_consumer_has_something_of_it() -> None:
    rig = Rig()
    queue = grouped(rig)
    one, two = Hand(rig, queue, 1, name="one"), Hand(rig, queue, 1, name="two")
    send(rig, "a1", "a2", "b1", "c1")
    rig.settle_down()
    assert (got(one), got(two)) == (["a1"], ["b1"])
    two.settle(1, ACCEPTED)
    rig.settle_down()
    assert (got(one), got(two)) == (["a1"], ["b1", "c1"])
    two.settle(2, ACCEPTED)
    rig.settle_down()
    assert got(two) == ["b1", "c1"]  # a2 waits for a1
    one.settle(1, ACCEPTED)
    rig.settle_down()
    assert sorted(got(one) + got(two)) == ["a1", "a2", "b1", "c1"]


def test_a_consumer_that_goes_gives_its_keys_up_in_order() -> None:
    rig = Rig()
    queue = grouped(rig)
    one = Hand(rig, queue, 3, name="one")
    send(rig, "a1", "a2", "a3", "a4")
    rig.settle_down()
    two = Hand(rig, queue, 9, name="two")
    rig.settle_down()
    assert got(two) == []
    one.leave()
    rig.settle_down()
    assert got(two) == ["a1", "a2", "a3", "a4"]
    assert [again for _, _, again in two.got] == [True, True, True, False]


def test_a_released_message_comes_before_the_rest_of_its_key() -> None:
    rig = Rig()
    queue = grouped(rig)
    one = Hand(rig, queue, 1)
    send(rig, "a1", "a2")
    rig.settle_down()
    one.settle(1, RELEASED)
    rig.settle_down()
    assert got(one) == ["a1", "a1"]


def test_messages_without_a_key_are_free() -> None:
    rig = Rig()
    queue = grouped(rig)
    hands = [Hand(rig, queue, 1, name=str(i)) for i in range(3)]
    send(rig, "-1", "-2", "-3")
    rig.settle_down()
    assert [got(hand) for hand in hands] == [["-1"], ["-2"], ["-3"]]


def test_keys_are_shared_out_when_a_consumer_comes() -> None:
    rig = Rig()
    queue = grouped(rig)
    one = Hand(rig, queue, 8, name="one")
    send(rig, *[f"{key}{i}" for i in range(10) for key in "abcd"])
    rig.settle_down()
    two = Hand(rig, queue, 8, name="two")
    for tag in range(1, 9):
        one.settle(tag, ACCEPTED)
        rig.settle_down()
    assert len(got(two)) > 0
    for tag in range(9, 41):
        one.settle(tag, ACCEPTED)
        rig.settle_down()
        two.settle(tag - 8, ACCEPTED)
        rig.settle_down()
    assert len(got(one)) + len(got(two)) == 40
    assert {body[0] for body in got(two)[:8]}.isdisjoint({"a", "b"}) or len({b[0] for b in got(two)[:8]}) <= 3


def test_first_and_last() -> None:
    rig = Rig()
    queue = grouped(rig)
    one = Hand(rig, queue, 9)
    send(rig, "a1", "a2", "a3", "b1")
    rig.settle_down()
    told = {body_of(data): headers_of(data) for _, data, _ in one.got}
    assert told[b"a1"] == {"x-group-id": "a", "x-group-first": True}
    assert told[b"a2"] == {"x-group-id": "a"}
    assert told[b"a3"] == {"x-group-id": "a", "x-group-last": True}
    assert told[b"b1"] == {"x-group-id": "b", "x-group-first": True, "x-group-last": True}


def test_nothing_is_kept_of_keys_that_are_done() -> None:
    rig = Rig()
    queue = grouped(rig)
    hand = Hand(rig, queue, 50)
    for i in range(2_000):
        rig.send("q", b"x", Properties(headers={"x-group-id": f"key {i}"}))
        if i % 50 == 49:
            rig.settle_down()
            hand.settle(0, ACCEPTED, True)
    rig.settle_down()
    groups = queue.groups
    assert groups is not None
    assert (len(groups.keys), len(groups.waiting), len(groups.out)) == (0, 0, 0)
    assert queue.ready_count() == 0


def test_order_whatever_happens() -> None:
    """Random consumers, settlements, losses and crashes: of each key nobody sees a message before an older one is
    settled, but for the consumer that has that."""
    for seed in range(30):
        rng = random.Random(seed)
        rig = Rig()
        grouped(rig)
        done: dict[str, int] = {}
        sent = 0
        for _ in range(4):
            queue = rig.vhost.topology.queues["q"]
            assert isinstance(queue, Queue)
            hands: list[Hand] = []
            open_tags: dict[int, list[tuple[int, str]]] = {}
            seen: dict[int, int] = {}
            for step in range(120):
                what = rng.random()
                if what < 0.4:
                    send(rig, f"{rng.choice('abcdef')}{sent}")
                    sent += 1
                elif what < 0.5 and len(hands) < 4:
                    hands.append(Hand(rig, queue, rng.randint(1, 5), name=f"h{seed}-{step}"))
                elif what < 0.55 and hands:
                    gone = hands.pop(rng.randrange(len(hands)))
                    gone.leave()
                    open_tags.pop(id(gone), None)
                    seen.pop(id(gone), None)  # another may get its id
                elif hands:
                    hand = rng.choice(hands)
                    here = open_tags.get(id(hand), [])
                    if here:
                        tag, body = here[0]
                        alone = all(other[0] != body[0] for _, other in here[1:])
                        outcome = RELEASED if alone and rng.random() < 0.3 else ACCEPTED
                        hand.settle(tag, outcome)
                        if outcome == ACCEPTED:
                            assert done.get(body[0], -1) < int(body[1:])
                            done[body[0]] = int(body[1:])
                        here.pop(0)
                rig.settle_down()
                owners: dict[str, int] = {}
                for hand in hands:
                    here = open_tags.setdefault(id(hand), [])
                    for tag, data, _ in hand.got[seen.get(id(hand), 0) :]:
                        here.append((tag, body_of(data).decode()))
                    seen[id(hand)] = len(hand.got)
                    for _, body in here:
                        assert owners.setdefault(body[0], id(hand)) == id(hand), "two consumers have one key"
            rig = rig.crash()


def test_groups_on_pages() -> None:
    rig = Rig()
    grouped(rig)
    for i in range(500):
        send(rig, f"{'abc'[i % 3]}{i}")
    rig.settle_down()
    rig = rig.crash()
    queue = rig.vhost.queue("q", None)
    hand = Hand(rig, queue, 4)
    for tag in range(1, 501):
        rig.settle_down()
        hand.settle(tag, ACCEPTED)
    rig.settle_down()
    bodies = got(hand)
    assert len(bodies) == 500
    for key in "abc":
        numbers = [int(body[1:]) for body in bodies if body[0] == key]
        assert numbers == sorted(numbers)
    assert rig.disk.pages.list() == []


@pytest.mark.parametrize("memory_bytes", [2_000, 10_000_000])
def test_a_key_that_waits_for_the_disk_keeps_its_turn(memory_bytes: int) -> None:
    rig = Rig(memory_bytes=memory_bytes, page_slots=8)
    queue = grouped(rig)
    bodies = [f"{chr(0x4E00 + n)}{n}" for n in range(200)]
    send(rig, *bodies)
    rig.settle_down()
    rig = rig.crash()
    queue = rig.vhost.queue("q", None)
    hand = Hand(rig, queue, 3)
    for n in range(200):
        rig.settle_down()
        hand.settle(n + 1, ACCEPTED)
    assert got(hand) == bodies


@pytest.mark.parametrize(("value", "more"), [("", {}), (3, {}), (False, {}), ("key", {"x-max-priority": 3})])
def test_what_is_no_group(value: object, more: dict[str, object]) -> None:
    rig = Rig()
    with pytest.raises(PreconditionFailed, match="x-group-header"):
        rig.queue("q", arguments={"x-group-header": value, **more})
