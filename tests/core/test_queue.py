"""Who gets which message: turns, credit, no-ack, gets, and what goes when consumers and queues go."""

from __future__ import annotations

import pytest

from leveret.core.asking import OneMessage
from leveret.core.session import Session
from leveret.errors import AccessRefused
from leveret.message import ACCEPTED, RELEASED, Message
from tests.rig import Hand, Rig


def bodies(hand: Hand) -> list[bytes]:
    return [body for _, body, _ in hand.got]


@pytest.mark.parametrize("consumers", [2, 3, 5])
def test_idle_consumers_are_served_in_turn(consumers: int) -> None:
    rig = Rig()
    queue = rig.queue()
    hands = [Hand(rig, queue, 1, name=f"h{n}") for n in range(consumers)]
    for n in range(consumers):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert sorted(bodies(h) for h in hands) == [[b"%d" % n] for n in range(consumers)]


def test_turns_are_a_message_each() -> None:
    rig = Rig()
    queue = rig.queue()
    one, two = Hand(rig, queue, name="one"), Hand(rig, queue, name="two")
    for n in range(100):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert len(one.got) == len(two.got) == 50


def test_credit_comes_back_with_settling() -> None:
    rig = Rig()
    hand = Hand(rig, rig.queue(), 2)
    for n in range(5):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert bodies(hand) == [b"0", b"1"]
    hand.settle(1, ACCEPTED)
    rig.settle_down()
    assert bodies(hand) == [b"0", b"1", b"2"]
    hand.settle(0, ACCEPTED, multiple=True)
    rig.settle_down()
    assert bodies(hand)[-2:] == [b"3", b"4"]


def test_requeued_messages_come_in_their_old_place_and_flagged() -> None:
    rig = Rig()
    hand = Hand(rig, rig.queue(), 2)
    for n in range(4):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    hand.settle(1, RELEASED)
    rig.settle_down()
    assert hand.got[-1][1:] == (b"0", True)
    hand.settle(2, ACCEPTED)
    rig.settle_down()
    assert hand.got[-1][1:] == (b"2", False)


def test_no_ack_settles_at_once() -> None:
    rig = Rig()
    queue = rig.queue()
    hand = Hand(rig, queue, 1, no_ack=True)
    for n in range(300):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert len(hand.got) == 300
    assert (queue.ready_count(), queue.unsettled_count()) == (0, 0)
    assert rig.crash().vhost.queue("q", None).ready_count() == 0


def test_gets() -> None:
    rig = Rig()
    queue = rig.queue()
    session = Session()
    answers: list[bytes | None] = []

    def take(m: Message | None, redelivered: bool) -> None:
        answers.append(None if m is None else m.data)

    rig.vhost.get(queue, OneMessage(session, queue, take))
    assert answers == [None]
    rig.publish("q", b"one")
    rig.vhost.get(queue, OneMessage(session, queue, take))
    rig.vhost.get(queue, OneMessage(session, queue, take))
    rig.settle_down()
    assert answers == [None, b"one", None]


def test_exclusive_consumers() -> None:
    rig = Rig()
    queue = rig.queue()
    hand = Hand(rig, queue)
    hand.consumer.exclusive = True
    with pytest.raises(AccessRefused, match="queue 'q' in vhost '/' in exclusive use"):
        rig.vhost.consume(queue, hand.consumer)


def test_an_auto_delete_queue_goes_with_its_last_consumer() -> None:
    rig = Rig()
    queue = rig.vhost.declare_queue("auto", True, False, True, {}, False, None)
    one, two = Hand(rig, queue, name="one"), Hand(rig, queue, name="two")
    one.leave()
    assert "auto" in rig.vhost.topology.queues
    two.leave()
    assert "auto" not in rig.vhost.topology.queues
    rig.sync()
    assert "auto" not in rig.crash().vhost.topology.queues


def test_consumers_of_a_deleted_queue_are_told() -> None:
    rig = Rig()
    hand = Hand(rig, rig.queue())
    rig.publish("q", b"held")
    rig.settle_down()
    assert rig.vhost.delete_queue("q", False, False, None) == 0
    assert hand.session.consumers == {}
    assert hand.settle(1, ACCEPTED)  # its delivery can still be settled, to no effect


@pytest.mark.parametrize("backlog", [1, 9, 500])
def test_purge_drops_what_waits_and_leaves_what_is_out(backlog: int) -> None:
    rig = Rig()
    queue = rig.queue()
    hand = Hand(rig, queue, 3)
    for n in range(backlog + 3):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert queue.purge() == backlog
    assert (queue.ready_count(), queue.unsettled_count()) == (0, 3)
    rig.sync()
    after = rig.crash()
    assert after.vhost.queue("q", None).ready_count() == 3
    assert hand.session.out == 3


def test_a_backlog_leaves_memory_and_comes_back_in_order() -> None:
    rig = Rig(memory_bytes=4_000)
    queue = rig.queue()
    for n in range(1_000):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    assert rig.pager.resident_bytes < 60_000
    assert len(rig.disk.pages.list()) > 50
    hand = Hand(rig, queue, 7)
    while queue.ready_count() > 0 or hand.session.out > 0:
        rig.settle_down()
        hand.settle(0, ACCEPTED, multiple=True)
    rig.settle_down()
    assert [int(b) for b in bodies(hand)] == list(range(1_000))
    assert rig.disk.pages.list() == []


def test_transient_messages_do_not_come_back() -> None:
    rig = Rig(memory_bytes=2_000)
    rig.queue()
    for n in range(200):
        rig.publish("q", b"%d" % n, persistent=n % 3 == 0)
    rig.settle_down()
    after = rig.crash()
    hand = Hand(after, after.vhost.queue("q", None))
    after.settle_down()
    assert [int(b) for b in bodies(hand)] == list(range(0, 200, 3))
    assert not any(flag for _, _, flag in hand.got)


def test_redelivered_only_where_a_delivery_may_have_been() -> None:
    rig = Rig()
    queue = rig.queue()
    for n in range(50):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    hand = Hand(rig, queue, 5)
    rig.settle_down()
    assert len(hand.got) == 5
    after = rig.crash()
    again = Hand(after, after.vhost.queue("q", None))
    after.settle_down()
    assert [flag for _, _, flag in again.got] == [True] * 5 + [False] * 45


def test_the_flag_stays_exact_while_deliveries_are_few() -> None:
    """A worker that takes one message at a time: after a crash only what it had carries the flag."""
    rig = Rig()
    queue = rig.queue()
    for n in range(50):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    hand = Hand(rig, queue, 1)
    for _ in range(20):
        rig.settle_down()
        rig.journal.tick += 1
        hand.settle(0, ACCEPTED, multiple=True)
    rig.settle_down()
    after = rig.crash()
    again = Hand(after, after.vhost.queue("q", None))
    after.settle_down()
    assert [(int(body), flag) for _, body, flag in again.got] == [(n, n == 20) for n in range(20, 50)]
