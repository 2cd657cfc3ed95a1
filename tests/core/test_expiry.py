"""Messages and queues that go when their time is up, by a clock that is moved by hand."""

from __future__ import annotations

import pytest

from leveret.core.queue import Queue
from leveret.message import ACCEPTED, RELEASED
from tests.rig import Hand, Rig


def timed(rig: Rig, **arguments: int) -> Queue:
    named = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    return rig.vhost.declare_queue("q", True, False, False, dict(named), False, None)


def at(rig: Rig, ms: int) -> None:
    for now in range(int(rig.broker.expiry.now_ms) + 100, ms + 1, 100):
        rig.broker.expiry.tick(now)
    rig.settle_down()


def test_messages_leave_when_their_queue_says_so() -> None:
    rig = Rig()
    queue = timed(rig, message_ttl=1_000)
    rig.publish("q", b"one")
    at(rig, 500)
    rig.publish("q", b"two")
    at(rig, 1_000)
    assert queue.ready_count() == 2
    at(rig, 1_100)
    assert queue.ready_count() == 1
    at(rig, 1_600)
    assert (queue.ready_count(), queue.expired) == (0, 2)
    assert rig.crash().vhost.queue("q", None).ready_count() == 0


def test_what_is_out_is_not_expired_until_it_is_back() -> None:
    rig = Rig()
    queue = timed(rig, message_ttl=1_000)
    hand = Hand(rig, queue, 1)
    rig.publish("q", b"held")
    rig.settle_down()
    at(rig, 5_000)
    assert queue.unsettled_count() == 1
    hand.leave()
    assert queue.ready_count() == 1
    at(rig, 5_200)
    assert queue.ready_count() == 0


def test_a_paged_backlog_expires_without_being_read() -> None:
    rig = Rig(memory_bytes=2_000)
    queue = timed(rig, message_ttl=1_000)
    for n in range(500):
        rig.publish("q", b"%d" % n)
    at(rig, 900)
    assert len(rig.disk.pages.list()) > 10
    at(rig, 1_100)
    assert queue.ready_count() == 0
    assert rig.disk.pages.list() == []


@pytest.mark.parametrize("outcome", [ACCEPTED, RELEASED])
def test_messages_with_an_expiration_of_their_own(outcome: int) -> None:
    rig = Rig()
    queue = rig.queue()
    hand = Hand(rig, queue, 1)
    for n, after_ms in enumerate((300, 200, 100_000, 100)):
        rig.publish("q", b"%d" % n, ttl_ms=after_ms)
    rig.settle_down()
    at(rig, 400)
    assert queue.ready_count() == 1  # the first is out, the last was due behind one that is not
    hand.settle(1, outcome)
    rig.settle_down()
    assert [body for _, body, _ in hand.got][-1] == (b"2" if outcome == ACCEPTED else b"0")


def test_an_unused_queue_goes() -> None:
    rig = Rig()
    queue = timed(rig, expires=1_000)
    at(rig, 900)
    rig.vhost.queue("q", None)  # somebody asks for it
    at(rig, 1_500)
    hand = Hand(rig, queue)
    at(rig, 9_000)
    hand.leave()
    at(rig, 9_900)
    assert not queue.gone
    at(rig, 10_200)
    assert queue.gone
    assert rig.broker.expiry.timed == {}
    assert "q" not in rig.crash().vhost.topology.queues


def test_time_is_counted_anew_after_a_restart() -> None:
    rig = Rig()
    timed(rig, message_ttl=1_000, expires=3_000)
    rig.publish("q", b"one")
    at(rig, 900)
    rig = rig.crash()
    queue = rig.vhost.topology.queues["q"]
    at(rig, 900)
    assert queue.ready_count() == 1
    at(rig, 1_200)
    assert queue.ready_count() == 0
    at(rig, 3_300)
    assert "q" not in rig.vhost.topology.queues
