"""Delivery limits: what is counted and told, over crashes too, and what RabbitMQ lets wait."""

from __future__ import annotations

import pytest

from leveret.core.queue import Queue
from leveret.message import ACCEPTED, DISCARDED, MODIFIED, REJECTED, RELEASED
from leveret.wire.properties import Properties
from tests.core.failing import DLX, dead, fail_once, last
from tests.rig import Hand, Rig


def quorum(rig: Rig, **arguments: object) -> Queue:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return rig.queue("q", arguments={"x-queue-type": "quorum", **named})


# ---- counts, as RabbitMQ 4.3's quorum queues


def test_what_counts() -> None:
    rig = Rig()
    hand = Hand(rig, quorum(rig), 1)
    rig.send("q", b"m")
    rig.settle_down()
    assert last(hand)[2] == {}
    for outcome, acquired, failed in ((RELEASED, 1, 0), (MODIFIED, 2, 1), (RELEASED, 3, 1), (MODIFIED, 4, 2)):
        fail_once(rig, hand, outcome)
        wanted = {"x-acquired-count": acquired}
        if failed:
            wanted["x-delivery-count"] = failed
        assert last(hand)[2] == wanted
        assert hand.got[-1][2]
    hand.session.release_all(True)  # basic.recover
    rig.settle_down()
    assert last(hand)[2] == {"x-acquired-count": 5, "x-delivery-count": 2}
    hand.leave()
    hand = Hand(rig, rig.vhost.queue("q", None), 1)
    rig.settle_down()
    assert last(hand)[2] == {"x-acquired-count": 6, "x-delivery-count": 3}


def test_what_was_not_settled_in_time_is_no_failed_delivery() -> None:
    rig = Rig()
    queue = quorum(rig)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    hand.session.runs.clear()
    hand.session.out = 0
    hand.consumer.out = 0
    queue.timed_out(queue.lane, 0, 0)
    queue.wake()
    rig.settle_down()
    assert last(hand)[2] == {"x-acquired-count": 1}


def test_a_classic_queue_does_not_count() -> None:
    rig = Rig()
    hand = Hand(rig, rig.queue("q"), 1)
    rig.send("q", b"m")
    rig.settle_down()
    for _ in range(30):
        fail_once(rig, hand, MODIFIED)
    assert last(hand)[2] == {}
    assert hand.got[-1][2]


@pytest.mark.parametrize(
    ("limit", "deliveries"), [(0, 1), (2, 3), (None, 21), ("no number", 21), (-1, 40), (-7, 40)]
)
def test_the_limit(limit: object, deliveries: int) -> None:
    rig = Rig()
    rig.queue("dead")
    arguments = dict(DLX) if limit is None else {**DLX, "x-delivery-limit": limit}
    hand = Hand(rig, quorum(rig, **arguments), 1)
    rig.send("q", b"poison", Properties(headers={"a": 1}))
    rig.settle_down()
    while len(hand.got) < 40:
        before = len(hand.got)
        fail_once(rig, hand, MODIFIED)
        if len(hand.got) == before:
            break
    assert len(hand.got) == deliveries
    found = dead(rig)
    assert len(found) == (1 if deliveries < 40 else 0)
    assert [headers["x-last-death-reason"] for _, headers in found] == ["delivery_limit"] * len(found)


def test_beyond_the_limit_without_an_exchange_it_is_dropped() -> None:
    rig = Rig()
    queue = quorum(rig, x_delivery_limit=1)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"poison")
    rig.settle_down()
    fail_once(rig, hand, MODIFIED)
    fail_once(rig, hand, MODIFIED)
    assert len(hand.got) == 2
    assert queue.sleeping_count() == 0
    assert queue.lane.out == 0
    rig = rig.crash()
    assert rig.vhost.queue("q", None).ready_count() == 0


def test_counts_outlive_a_crash() -> None:
    rig = Rig()
    hand = Hand(rig, quorum(rig, x_delivery_limit=2, **DLX), 1)
    rig.queue("dead")
    rig.send("q", b"poison")
    rig.settle_down()
    for count in (1, 2):
        fail_once(rig, hand, MODIFIED)
        rig = rig.crash()
        hand = Hand(rig, rig.vhost.queue("q", None), 1)
        rig.settle_down()
        assert last(hand)[2] == {"x-acquired-count": count, "x-delivery-count": count}
        assert hand.got[-1][2]
    fail_once(rig, hand, MODIFIED)
    assert [body for body, _ in dead(rig)] == [b"poison"]


def test_counts_outlive_checkpoints() -> None:
    rig = Rig(segment_bytes=2_048)
    queue = quorum(rig)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand, MODIFIED)
    hand.consumer.prefetch = 0
    for n in range(300):  # the log goes on, and begins anew
        rig.send("q", b"%d" % n)
        rig.settle_down()
        hand.settle(hand.got[-1][0], ACCEPTED)
    rig.settle_down()
    rig = rig.crash()
    hand = Hand(rig, rig.vhost.queue("q", None), 1)
    rig.settle_down()
    assert last(hand)[1:] == (b"m", {"x-acquired-count": 1, "x-delivery-count": 1})


def test_a_message_that_was_beyond_the_limit_is_buried_after_a_crash() -> None:
    rig = Rig()
    queue = quorum(rig, x_delivery_limit=0, **DLX)
    rig.queue("dead")
    hand = Hand(rig, queue, 1)
    rig.send("q", b"poison")
    rig.settle_down()
    hand.settle(1, MODIFIED)
    rig.sync()  # the note, but no burial
    rig = rig.crash()
    hand = Hand(rig, rig.vhost.queue("q", None), 1)
    rig.settle_down()
    assert hand.got == []
    assert len(dead(rig)) == 1
    assert rig.vhost.queue("q", None).lane.out == 0


@pytest.mark.parametrize(("outcome", "count"), [(REJECTED, 1), (DISCARDED, 0)])
def test_a_dead_letter_goes_on_counting_in_a_queue_that_counts(outcome: int, count: int) -> None:
    rig = Rig()
    rig.queue("dead", arguments={"x-queue-type": "quorum"})
    hand = Hand(rig, quorum(rig, **DLX), 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand, outcome)
    rig = rig.crash()
    hand = Hand(rig, rig.vhost.queue("dead", None), 1)
    rig.settle_down()
    headers = last(hand)[2]
    assert headers.get("x-delivery-count", 0) == count
    assert headers.get("x-acquired-count", 0) == count
    assert hand.got[-1][2] == (count > 0)
    fail_once(rig, hand, MODIFIED)
    assert last(hand)[2]["x-delivery-count"] == count + 1
    assert last(hand)[2]["x-acquired-count"] == 1  # the count alone is inherited


# ---- RabbitMQ's delayed retries


@pytest.mark.parametrize(
    ("kind", "outcome", "waits"),
    [
        ("all", RELEASED, True),
        ("all", MODIFIED, True),
        ("failed", RELEASED, False),
        ("failed", MODIFIED, True),
        ("returned", RELEASED, True),
        ("returned", MODIFIED, False),
        ("disabled", MODIFIED, False),
        ("nonsense", MODIFIED, False),
    ],
)
def test_returned_messages_wait(kind: str, outcome: int, waits: bool) -> None:
    rig = Rig()
    rig.at(1_000)
    queue = quorum(rig, x_delayed_retry_type=kind, x_delayed_retry_min=500, x_delayed_retry_max=900)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand, outcome)
    assert len(hand.got) == (1 if waits else 2)
    assert queue.sleeping_count() == (1 if waits else 0)
    rig.pass_time(1_500)
    assert len(hand.got) == 2
    if waits and outcome == MODIFIED:
        fail_once(rig, hand, outcome)
        rig.pass_time(2_300)
        assert len(hand.got) == 2
        rig.pass_time(2_400)  # twice the least, but no more than the most
        assert len(hand.got) == 3
