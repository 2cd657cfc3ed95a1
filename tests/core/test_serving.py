"""Consumers' priorities, the single active consumer of a queue, and exclusive consumers."""

from __future__ import annotations

import pytest

from leveret.core.queue import Queue
from leveret.core.serving import Tier, check_may_get, enter, leave
from leveret.errors import AccessRefused, ResourceLocked
from leveret.message import ACCEPTED, Message
from tests.rig import Hand, Rig, body_of

SINGLE: dict[str, object] = {"x-single-active-consumer": True}
QUORUM: dict[str, object] = {"x-queue-type": "quorum"}


def numbers(hand: Hand) -> list[int]:
    return [int(body_of(data)) for _, data, _ in hand.got]


def ranked(rig: Rig, queue: Queue, priority: int, prefetch: int = 1, name: str = "") -> Hand:
    return Hand(rig, queue, prefetch, name=name or f"p{priority}", arguments={"x-priority": priority})


def publish(rig: Rig, first: int, last: int) -> None:
    for n in range(first, last + 1):
        rig.send("q", b"%d" % n)
    rig.settle_down()


def test_the_higher_priority_is_served_while_it_has_credit() -> None:
    rig = Rig()
    queue = rig.queue()
    low, plain, high = ranked(rig, queue, -3), ranked(rig, queue, 0), ranked(rig, queue, 7, 3)
    publish(rig, 0, 3)
    assert (numbers(high), numbers(plain), numbers(low)) == ([0, 1, 2], [3], [])
    publish(rig, 4, 5)
    assert (numbers(plain), numbers(low)) == ([3], [4])
    high.settle(0, ACCEPTED, True)
    rig.settle_down()
    assert numbers(high) == [0, 1, 2, 5]


def test_equal_priorities_take_turns_a_message_each() -> None:
    rig = Rig()
    queue = rig.queue()
    ranked(rig, queue, 1)  # takes one, then has no credit
    one, two = ranked(rig, queue, 0, 5, "one"), ranked(rig, queue, 0, 5, "two")
    publish(rig, 0, 4)
    assert (numbers(one), numbers(two)) == ([1, 3], [2, 4])


def test_without_a_limit_the_highest_gets_everything() -> None:
    rig = Rig()
    queue = rig.queue()
    low, high = ranked(rig, queue, 1, 0), ranked(rig, queue, 2, 0)
    publish(rig, 0, 999)
    assert (len(high.got), len(low.got)) == (1000, 0)
    high.leave()
    rig.settle_down()
    assert len(low.got) == 1000


def test_a_consumer_of_high_priority_that_comes_later_is_served_first() -> None:
    rig = Rig()
    queue = rig.queue()
    low = ranked(rig, queue, 0, 1)
    publish(rig, 0, 2)
    high = ranked(rig, queue, 5, 1)
    low.settle(1, ACCEPTED)
    rig.settle_down()
    assert (numbers(low), numbers(high)) == ([0, 2], [1])


def test_who_comes_last_is_served_last() -> None:
    rig = Rig()
    queue = rig.queue()
    hands = [ranked(rig, queue, 0, 0, name) for name in "ab"]
    publish(rig, 0, 0)  # a; then it is b's turn
    hands.append(ranked(rig, queue, 0, 0, "c"))
    publish(rig, 1, 3)
    assert [numbers(hand) for hand in hands] == [[0, 2], [1], [3]]


def test_tiers_keep_their_order() -> None:
    rig = Rig()
    queue = rig.queue()
    hands = [ranked(rig, queue, 0, name=f"h{n}") for n in range(6)]
    tiers: list[Tier] = []
    for hand, priority in zip(hands, (0, 5, -1, 5, 2**40, 0), strict=True):
        hand.consumer.priority = priority
        enter(tiers, hand.consumer)
    assert [(tier.priority, len(tier.consumers)) for tier in tiers] == [(2**40, 1), (5, 2), (0, 2), (-1, 1)]
    for hand in hands:
        leave(tiers, hand.consumer)
    assert tiers == []


@pytest.mark.parametrize("kind", [{}, QUORUM], ids=["classic", "quorum"])
def test_one_consumer_is_active_and_the_next_takes_over(kind: dict[str, object]) -> None:
    rig = Rig()
    queue = rig.queue(arguments=SINGLE | kind)
    one, two, three = (ranked(rig, queue, 0, 2, name) for name in ("one", "two", "three"))
    publish(rig, 0, 4)
    assert (numbers(one), numbers(two), numbers(three)) == ([0, 1], [], [])
    one.leave()  # what it had is back in its place before anybody takes over
    rig.settle_down()
    assert (numbers(two), [again for _, _, again in two.got]) == ([0, 1], [True, True])
    rig.vhost.cancel(two.consumer)  # keeps what it has
    rig.settle_down()
    assert numbers(three) == [2, 3]
    two.settle(0, ACCEPTED, True)
    rig.settle_down()
    assert numbers(three) == [2, 3]


def test_the_last_consumer_leaves_and_another_comes() -> None:
    rig = Rig()
    queue = rig.queue(arguments=SINGLE)
    one = ranked(rig, queue, 0, 1, "one")
    one.leave()
    publish(rig, 0, 0)
    two = ranked(rig, queue, 0, 1, "two")
    rig.settle_down()
    assert (numbers(one), numbers(two)) == ([], [0])
    assert queue.single is not None and queue.single.active is two.consumer


def test_classic_the_active_one_stays_and_the_highest_is_next() -> None:
    rig = Rig()
    queue = rig.queue(arguments=SINGLE)
    one = ranked(rig, queue, 0, 1)
    low, high, higher = (
        ranked(rig, queue, 1),
        ranked(rig, queue, 9, 1, "high"),
        ranked(rig, queue, 9, 1, "other"),
    )
    publish(rig, 0, 3)
    one.settle(1, ACCEPTED)
    rig.settle_down()
    assert (numbers(one), numbers(high)) == ([0, 1], [])
    one.leave()
    rig.settle_down()
    assert (numbers(high), numbers(higher), numbers(low)) == ([1], [], [])


def test_quorum_a_higher_priority_takes_over_once_all_is_settled() -> None:
    rig = Rig()
    queue = rig.queue(arguments=SINGLE | QUORUM)
    one = ranked(rig, queue, 0, 2)
    publish(rig, 0, 4)
    high = ranked(rig, queue, 1, 1)
    one.settle(1, ACCEPTED)
    rig.settle_down()
    assert (numbers(one), numbers(high)) == ([0, 1], [])  # it gets no more, and what it has is settled first
    one.settle(2, ACCEPTED)
    rig.settle_down()
    assert (numbers(one), numbers(high)) == ([0, 1], [2])
    assert queue.single is not None and queue.single.active is high.consumer
    high.leave()
    rig.settle_down()
    assert numbers(one) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [{}, QUORUM], ids=["classic", "quorum"])
def test_exclusive_consumers_and_a_single_active_one_exclude_each_other(kind: dict[str, object]) -> None:
    rig = Rig()
    queue = rig.queue(arguments=SINGLE | kind)
    hand = ranked(rig, queue, 0)
    hand.leave()
    hand.consumer.active = hand.consumer.exclusive = True
    with pytest.raises(AccessRefused, match="queue 'q' in vhost '/' in exclusive use"):
        rig.vhost.consume(queue, hand.consumer)


def test_an_exclusive_consumer_is_alone() -> None:
    rig = Rig()
    queue = rig.queue()
    one, two = ranked(rig, queue, 0, 1, "one"), ranked(rig, queue, 0, 1, "two")
    two.leave()
    two.consumer.active = two.consumer.exclusive = True
    with pytest.raises(AccessRefused, match="queue 'q' in vhost '/' in exclusive use"):
        rig.vhost.consume(queue, two.consumer)
    one.leave()
    rig.vhost.consume(queue, two.consumer)
    with pytest.raises(AccessRefused, match="in exclusive use"):
        ranked(rig, queue, 0, 1, "three")
    two.leave()
    ranked(rig, queue, 0, 1, "four")


def test_gets_of_a_single_active_queue() -> None:
    rig = Rig()
    check_may_get(rig.queue("classic", arguments=SINGLE))
    check_may_get(rig.queue("quorum", arguments=QUORUM))
    with pytest.raises(ResourceLocked, match='<<"quorum">> queues with single active consumer'):
        check_may_get(rig.queue("both", arguments=SINGLE | QUORUM))


def test_what_one_queue_raises_holds_up_no_other() -> None:
    rig = Rig()

    class Broken(Exception):
        """A bug."""

    class Breaking(Hand):
        def _take(self, tag: int, m: Message, redelivered: bool) -> None:
            raise Broken

    hands = []
    for number, name in enumerate(["q0", "q1", "q2", "q3", "q4"]):
        hands.append((Breaking if number == 1 else Hand)(rig, rig.queue(name)))
        rig.send(name, name.encode())
    turn = rig.broker.turn
    with pytest.raises(Broken):
        turn.pump()
    assert [bool(hand.got) for hand in hands] == [True, False, False, False, False]
    turn.pump()  # the next turn
    assert [bool(hand.got) for hand in hands] == [True, False, True, True, True]
    assert not turn.dirty
    rig.send("q1", b"more")
    assert turn.dirty, "its queue is looked at again"
