"""Deliveries as runs: what is settled when tags are settled one by one, in heaps, in any order or not at all."""

from __future__ import annotations

import random

import pytest

from leveret.message import ACCEPTED, REJECTED, RELEASED
from tests.rig import Hand, Rig


def received(count: int, prefetch: int = 0) -> tuple[Rig, Hand]:
    rig = Rig(page_slots=4)
    queue = rig.queue()
    hand = Hand(rig, queue, prefetch)
    for n in range(count):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    return rig, hand


def test_consecutive_deliveries_are_one_run() -> None:
    _, hand = received(100)
    assert len(hand.got) == 100
    assert [(r.tag, r.count) for r in hand.session.unsettled()] == [(1, 100)]


@pytest.mark.parametrize(
    ("tag", "multiple", "left"),
    [
        (1, False, [(2, 9)]),
        (10, False, [(1, 9)]),
        (4, False, [(1, 3), (5, 6)]),
        (4, True, [(5, 6)]),
        (10, True, []),
        (0, True, []),
    ],
)
def test_settling(tag: int, multiple: bool, left: list[tuple[int, int]]) -> None:
    rig, hand = received(10)
    assert hand.settle(tag, ACCEPTED, multiple)
    assert [(r.tag, r.count) for r in hand.session.unsettled()] == left
    assert hand.session.out == hand.consumer.out == sum(n for _, n in left)
    assert rig.vhost.queue("q", None).unsettled_count() == hand.session.out


@pytest.mark.parametrize(("tag", "multiple"), [(0, False), (11, False), (11, True), (3, False), (3, True)])
def test_unknown_tags(tag: int, multiple: bool) -> None:
    _, hand = received(10)
    assert hand.settle(3, ACCEPTED)
    assert not hand.settle(tag, ACCEPTED, multiple)
    assert hand.session.out == 9


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed: int) -> None:
    """Every delivery settled once, in random order: nothing is left, and what was released is there again in order."""
    rng = random.Random(seed)
    rig, hand = received(200)
    rig.vhost.cancel(hand.consumer)
    tags = [tag for tag, _, _ in hand.got]
    rng.shuffle(tags)
    released = []
    for tag in tags:
        outcome = rng.choice((ACCEPTED, REJECTED, RELEASED))
        if outcome == RELEASED:
            released.append(tag - 1)
        assert hand.settle(tag, outcome)
        assert not hand.settle(tag, outcome)
    assert hand.session.unsettled() == []
    again = Hand(rig, rig.vhost.queue("q", None), name="again")
    rig.settle_down()
    assert [(int(body), flag) for _, body, flag in again.got] == [(n, True) for n in sorted(released)]


def test_taking_and_putting_back() -> None:
    _, hand = received(10)
    taken = hand.session.take(3, True)
    middle = hand.session.take(7, False)
    assert taken is not None and middle is not None
    assert [(r.tag, r.count) for r in hand.session.unsettled()] == [(4, 3), (8, 3)]
    assert hand.session.take(7, False) is None
    hand.session.put_back(taken + middle)
    assert sum(r.count for r in hand.session.unsettled()) == 10
    assert [r.tag for r in hand.session.unsettled()] == sorted(r.tag for r in hand.session.unsettled())
    assert hand.settle(0, ACCEPTED, multiple=True)
    assert hand.session.out == 0


def test_a_limit_over_the_session() -> None:
    """RabbitMQ's global prefetch: one limit for all consumers of a channel."""
    rig = Rig()
    one, two = rig.queue("one"), rig.queue("two")
    hand = Hand(rig, one, name="a")
    hand.session.prefetch = 3
    other = Hand(rig, two, name="b")
    other.session = hand.session
    other.consumer.session = hand.session
    hand.session.consumers["b"] = other.consumer
    for n in range(5):
        rig.publish("one", b"%d" % n)
        rig.publish("two", b"%d" % n)
    rig.settle_down()
    assert len(hand.got) + len(other.got) == 3
    assert hand.settle(1, ACCEPTED)
    rig.settle_down()
    assert len(hand.got) + len(other.got) == 4
