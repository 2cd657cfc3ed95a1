"""Deliveries that are not settled in time go back to their places, once, and the session goes on."""

from __future__ import annotations

import pytest

from leveret.core.asking import OneMessage
from leveret.core.session import Session
from leveret.limits import LATE_RUNS
from leveret.message import ACCEPTED, REJECTED, RELEASED, Message
from tests.rig import Hand, Rig

LIMIT_MS = 1_600  # visited each 100 ms


class Clock:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.now_ms = 50_000
        self.go(0)

    def go(self, ms: int) -> None:
        """Let so much time pass, in ticks of a tenth of a second."""
        end = self.now_ms + ms
        while True:
            self.rig.broker.tick(self.now_ms)
            self.rig.settle_down()
            if self.now_ms >= end:
                return
            self.now_ms = min(self.now_ms + 100, end)


def made(default_ms: int = LIMIT_MS) -> tuple[Rig, Clock]:
    rig = Rig()
    rig.broker.overdue.default_ms = default_ms
    return rig, Clock(rig)


def publish(rig: Rig, count: int) -> None:
    for n in range(count):
        rig.publish("q", b"%d" % n)
    rig.settle_down()


def test_what_takes_too_long_goes_to_somebody_else_in_its_place() -> None:
    rig, clock = made()
    queue = rig.queue()
    slow = Hand(rig, queue, 2, name="slow")
    publish(rig, 4)
    clock.go(LIMIT_MS)
    assert len(slow.got) == 2
    other = Hand(rig, queue, 10, name="other")
    clock.go(200)
    assert [(body, again) for _, body, again in other.got][:2] == [(b"2", False), (b"3", False)]
    assert sorted(other.got[2:], key=lambda each: each[1]) == [(3, b"0", True), (4, b"1", True)]
    assert len(slow.got) == 2  # it has two in hand still
    assert (queue.timeouts, queue.unsettled_count()) == (2, 4)
    assert slow.settle(1, ACCEPTED) and slow.settle(2, REJECTED)  # nobody's business any more
    assert queue.unsettled_count() == 4
    publish(rig, 1)
    assert len(slow.got) + len(other.got) == 7


def test_never_early_and_a_sixteenth_late_at_most() -> None:
    rig, clock = made(32_000)
    queue = rig.queue()
    Hand(rig, queue, 1)
    clock.go(700)
    publish(rig, 1)
    clock.go(31_900)
    assert queue.timeouts == 0
    clock.go(2_200)
    assert queue.timeouts == 1


def test_what_is_settled_in_time_stays_settled() -> None:
    rig, clock = made()
    queue = rig.queue()
    hand = Hand(rig, queue, 3)
    publish(rig, 9)
    for _ in range(9):
        clock.go(LIMIT_MS // 3)
        hand.settle(hand.got[-1][0] if len(hand.got) < 9 else 0, ACCEPTED, True)
        rig.settle_down()
    clock.go(2 * LIMIT_MS)
    assert (queue.timeouts, queue.ready_count(), len(hand.got)) == (0, 0, 9)


@pytest.mark.parametrize(
    ("arguments", "own", "limit"),
    [
        ({}, {}, LIMIT_MS),
        ({"x-queue-type": "quorum", "x-consumer-timeout": 400}, {}, 400),
        ({"x-queue-type": "quorum", "x-consumer-timeout": 400}, {"x-consumer-timeout": 700}, 700),
        ({"x-queue-type": "quorum", "x-consumer-timeout": 0}, {}, 0),
        ({"x-queue-type": "quorum"}, {"x-consumer-timeout": 0}, 0),
    ],
    ids=["default", "queue", "consumer", "queue-none", "consumer-none"],
)
def test_whose_word_counts(arguments: dict[str, object], own: dict[str, object], limit: int) -> None:
    rig, clock = made()
    queue = rig.queue(arguments=arguments)
    hand = Hand(rig, queue, 1, arguments=own)
    publish(rig, 1)
    assert int(hand.consumer.timeout_ms) == limit
    clock.go(limit)
    assert queue.timeouts == 0
    clock.go(200)
    assert queue.timeouts == (1 if limit else 0)


def test_consumers_of_one_session_have_their_own_limits() -> None:
    rig, clock = made(0)
    first, second = rig.queue("a", arguments={"x-queue-type": "quorum"}), rig.queue("b")
    hand = Hand(rig, first, 2, arguments={"x-consumer-timeout": 500})
    patient = Hand(rig, second, 5, name="patient")
    patient.session = hand.session
    patient.consumer.session = hand.session
    for n in range(4):
        rig.publish("ab"[n % 2], b"%d" % n)
        rig.settle_down()
    clock.go(1_000)
    assert (first.timeouts, second.timeouts) == (2, 0)
    assert patient.settle(2, ACCEPTED) and patient.settle(4, ACCEPTED)
    assert hand.settle(3, ACCEPTED, True)  # both that were late
    assert int(hand.session.out) == 0
    assert not hand.settle(1, ACCEPTED)


def test_without_a_limit_of_messages_the_same_one_comes_again() -> None:
    rig, clock = made()
    hand = Hand(rig, rig.queue(), 0)
    publish(rig, 1)
    clock.go(2 * LIMIT_MS + 500)
    assert [(tag, again) for tag, _, again in hand.got] == [(1, False), (2, True), (3, True)]
    assert hand.settle(2, RELEASED)
    assert hand.settle(3, ACCEPTED)
    assert hand.settle(1, ACCEPTED)
    assert not hand.settle(1, ACCEPTED)


def test_gets_have_a_limit_too() -> None:
    rig, clock = made()
    queue = rig.queue()
    publish(rig, 1)
    session = Session()
    got: list[Message | None] = []
    rig.vhost.get(queue, OneMessage(session, queue, lambda message, again: got.append(message)))
    rig.settle_down()
    assert queue.ready_count() == 0
    clock.go(LIMIT_MS + 200)
    assert (queue.ready_count(), queue.timeouts) == (1, 1)
    assert session.settle(1, False, ACCEPTED)
    assert queue.ready_count() == 1


def test_a_cancelled_consumer_still_has_to_settle() -> None:
    rig, clock = made()
    queue = rig.queue()
    hand = Hand(rig, queue, 1)
    publish(rig, 1)
    hand.session.consumers.clear()
    rig.vhost.cancel(hand.consumer)
    clock.go(LIMIT_MS + 200)
    assert (queue.ready_count(), queue.timeouts) == (1, 1)


def test_nothing_is_watched_that_has_nothing_to_settle() -> None:
    rig, clock = made()
    queue = rig.queue()
    hand = Hand(rig, queue, 5)
    Hand(rig, queue, 5, no_ack=True, name="free").leave()
    assert len(rig.broker.overdue.watches) == 1
    hand.leave()
    clock.go(300)
    assert (rig.broker.overdue.watches, rig.broker.overdue.visits) == ({}, [])


def test_the_end_of_a_session_gives_back_the_rest_only() -> None:
    rig, clock = made()
    queue = rig.queue()
    hand = Hand(rig, queue, 2)
    publish(rig, 3)
    clock.go(LIMIT_MS + 200)
    hand.leave()
    assert (queue.ready_count(), queue.unsettled_count(), int(hand.session.out)) == (3, 0, 0)
    assert int(hand.consumer.out) == 0
    clock.go(5_000)


def test_a_single_active_consumer_that_is_late_is_followed_by_another() -> None:
    rig, clock = made()
    queue = rig.queue(arguments={"x-single-active-consumer": True})
    slow, other = Hand(rig, queue, 1, name="slow"), Hand(rig, queue, 2, name="other")
    publish(rig, 3)
    clock.go(LIMIT_MS + 200)
    assert [body for _, body, _ in other.got] == [b"0", b"1"]
    slow.settle(0, ACCEPTED, True)
    other.settle(0, ACCEPTED, True)
    rig.settle_down()
    assert [body for _, body, _ in other.got] == [b"0", b"1", b"2"]


def test_what_may_still_be_settled_is_bounded_and_forgotten_quietly() -> None:
    rig, clock = made()
    queue = rig.queue(durable=False)
    hand = Hand(rig, queue, 0)
    session = hand.session
    for n in range(LATE_RUNS + 10):  # a run each
        rig.publish("q", b"%d" % n)
        session.next_tag += 1
        rig.turn()
    rig.settle_down()
    first, last = hand.got[0][0], hand.got[LATE_RUNS + 9][0]
    clock.go(LIMIT_MS + 200)
    assert session.late is not None and len(session.late) == LATE_RUNS
    assert hand.settle(first, ACCEPTED)
    assert hand.settle(first, ACCEPTED)
    assert hand.settle(last, ACCEPTED)
    assert not hand.settle(last, ACCEPTED)
    assert int(session.out) == int(queue.unsettled_count()) + LATE_RUNS - 1


def test_a_transaction_keeps_what_it_took() -> None:
    rig, clock = made()
    queue = rig.queue()
    hand = Hand(rig, queue, 2)
    publish(rig, 2)
    taken = hand.session.take(1, False)
    clock.go(LIMIT_MS + 200)
    assert queue.timeouts == 1  # the other one
    assert taken is not None
    hand.session.put_back(taken)
    clock.go(LIMIT_MS)
    assert queue.timeouts == 2
    assert hand.session.take(2, True) == []
    assert hand.session.take(7, False) is None
