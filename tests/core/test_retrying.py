"""Retries: what failed sleeps in its place, comes back when it is due, and is dead in the end, over crashes too."""

from __future__ import annotations

import pytest

from leveret.core.queue import Queue
from leveret.errors import PreconditionFailed
from leveret.message import ACCEPTED, DISCARDED, REJECTED, RELEASED
from leveret.wire.properties import Properties
from tests.core.failing import DLX, dead, fail_once, last
from tests.rig import Hand, Rig, body_of

POLICY = "exponential;delay=1s;max=3"


def retrying(rig: Rig, policy: object = POLICY, **arguments: object) -> Queue:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return rig.queue("q", arguments={"x-retry": policy, **named})


def bodies(hand: Hand) -> list[bytes]:
    return [body_of(data) for _, data, _ in hand.got]


def test_it_comes_back_to_its_place_after_its_delay_and_is_dead_in_the_end() -> None:
    rig = Rig()
    rig.at(1_000_000)
    queue = retrying(rig, **DLX)
    rig.queue("dead")
    hand = Hand(rig, queue, 1)
    for body in (b"a", b"b", b"c"):
        rig.send("q", body)
    rig.settle_down()
    now = 1_000_000
    for retry, delay in ((1, 1_000), (2, 2_000), (3, 4_000)):
        fail_once(rig, hand, (REJECTED, DISCARDED)[retry % 2])
        assert last(hand)[1] == b"b"  # a sleeps, and takes nobody's slot
        assert queue.sleeping_count() == 1
        rig.pass_time(now + delay - 1)
        assert queue.ready_count() == 1
        now += delay
        rig.pass_time(now)
        hand.settle(hand.got[-1][0], RELEASED)  # b goes back, at once and uncounted
        rig.settle_down()
        assert last(hand)[1:] == (b"a", {"x-retry-count": retry, "x-retry-reason": "rejected"})
    fail_once(rig, hand)
    assert last(hand)[1] == b"b"
    assert "x-retry-count" not in last(hand)[2]
    ((body, headers),) = dead(rig)
    assert body == b"a"
    assert headers["x-last-death-reason"] == "rejected"
    history = headers["x-retry-history"]
    assert isinstance(history, list)
    assert [(each["time"].seconds, each["reason"], each["attempt"]) for each in history] == [
        (1_000, "rejected", 1),
        (1_001, "rejected", 2),
        (1_003, "rejected", 3),
        (1_007, "rejected", 4),
    ]
    assert queue.sleeping_count() == 0
    assert queue.graves is not None


def test_without_an_exchange_for_the_dead_the_last_failure_drops_it() -> None:
    rig = Rig()
    queue = retrying(rig, "fixed;delay=0;max=1")
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand)
    rig.pass_time(200)
    fail_once(rig, hand)
    rig.pass_time(400)
    assert len(hand.got) == 2
    assert queue.lane.ready + queue.lane.out == 0
    assert rig.crash().vhost.queue("q", None).ready_count() == 0


def test_a_lost_consumer_and_one_too_late_are_failures() -> None:
    rig = Rig()
    rig.at(1_000)
    queue = retrying(rig)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    hand.leave()
    assert queue.ready_count() == 0
    hand = Hand(rig, queue, 1)
    rig.pass_time(2_000)
    assert last(hand)[2] == {"x-retry-count": 1, "x-retry-reason": "consumer-lost"}
    queue.timed_out(queue.lane, 0, 0)
    hand.session.runs.clear()
    hand.session.out = 0
    hand.consumer.out = 0
    rig.pass_time(3_900)
    assert len(hand.got) == 1
    rig.pass_time(4_000)
    assert last(hand)[2] == {"x-retry-count": 2, "x-retry-reason": "timed-out"}


def test_losses_end_as_delivery_limit() -> None:
    rig = Rig()
    queue = retrying(rig, "fixed;delay=0;max=0", **DLX)
    rig.queue("dead")
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    hand.leave()
    rig.settle_down()
    ((_, headers),) = dead(rig)
    assert headers["x-last-death-reason"] == "delivery_limit"


def test_a_broker_that_stops_blames_nobody() -> None:
    rig = Rig()
    queue = retrying(rig)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    rig.broker.stopping = True
    hand.leave()
    assert (queue.ready_count(), queue.sleeping_count()) == (1, 0)


@pytest.mark.parametrize("restarts", ["crash", "crash twice"])
def test_a_restart_goes_on_waiting(restarts: str) -> None:
    rig = Rig()
    rig.at(10_000)
    hand = Hand(rig, retrying(rig, "fixed;delay=5s"), 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand)
    rig = rig.crash()
    if restarts == "crash twice":
        rig.at(12_000)
        rig.settle_down()
        rig = rig.crash()
    rig.at(14_900)
    queue = rig.vhost.queue("q", None)
    hand = Hand(rig, queue, 1)
    rig.settle_down()
    assert (hand.got, queue.sleeping_count(), queue.ready_count()) == ([], 1, 0)
    rig.pass_time(14_999)
    assert hand.got == []
    rig.pass_time(15_000)
    assert last(hand)[1:] == (b"m", {"x-retry-count": 1, "x-retry-reason": "rejected"})


def test_a_restart_after_the_time_is_over() -> None:
    rig = Rig()
    rig.at(10_000)
    hand = Hand(rig, retrying(rig, "fixed;delay=5s"), 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand)
    rig = rig.crash()
    rig.at(99_000)
    hand = Hand(rig, rig.vhost.queue("q", None), 1)
    rig.settle_down()
    assert last(hand)[1] == b"m"


def test_a_crash_in_every_state_loses_and_doubles_nothing() -> None:
    """After each block that is written: one message, with as many failures as are on disk, or one dead letter."""
    for blocks in range(16):
        rig = Rig()
        rig.at(1_000)
        rig.queue("dead")
        hand = Hand(rig, retrying(rig, "fixed;delay=1s;max=1", **DLX), 1)
        rig.settle_down()
        rig.send("q", b"m")
        left = blocks
        for step in range(14):
            if left > 0:
                rig.sync(1)
                left -= 1
            rig.turn()
            if hand.got and step % 3 == 2:
                hand.settle(hand.got[-1][0], REJECTED)
                rig.at(int(rig.broker.turn.now_ms) + 1_000)
        rig = rig.crash()
        rig.at(100_000)
        hand = Hand(rig, rig.vhost.queue("q", None), 1)
        rig.settle_down()
        found = [body for body, _ in dead(rig)] + bodies(hand)
        assert len(found) <= 1
        if blocks > 0:
            assert found == [b"m"]
        for _ in range(3):
            if hand.got:
                hand.settle(hand.got[-1][0], REJECTED)
            rig.pass_time(int(rig.broker.turn.now_ms) + 2_000)
        queue = rig.vhost.queue("q", None)
        assert queue.lane.ready + queue.lane.out == 0


def test_the_message_s_own_policy_wins() -> None:
    rig = Rig()
    rig.at(1_000)
    queue = retrying(rig, "fixed;delay=1h")
    hand = Hand(rig, queue)
    rig.send("q", b"own", Properties(headers={"x-retry": {"type": "fixed", "delay": 100, "max": 1}}))
    rig.send("q", b"never", Properties(headers={"x-retry": "max=0"}))
    rig.send("q", b"queue's")
    rig.send("q", b"odd", Properties(headers={"x-retry": "odd"}))  # nobody checked
    rig.settle_down()
    hand.settle(0, REJECTED, True)
    rig.pass_time(1_100)
    assert bodies(hand)[4:] == [b"own"]
    assert queue.sleeping_count() == 2


def test_a_header_alone_does_nothing() -> None:
    rig = Rig()
    queue = rig.queue("q")
    hand = Hand(rig, queue)
    rig.send("q", b"m", Properties(headers={"x-retry": "fixed"}))
    rig.settle_down()
    fail_once(rig, hand)
    assert queue.lane.ready + queue.lane.out == 0


def test_a_wrong_argument_is_refused() -> None:
    rig = Rig()
    with pytest.raises(
        PreconditionFailed, match=r"invalid arg 'x-retry' for queue 'q' .*unknown key 'often'"
    ):
        retrying(rig, {"often": True})


@pytest.mark.parametrize("arguments", [{}, {"x-queue-type": "quorum", "x-delivery-limit": 1}])
def test_retries_and_a_limit(arguments: dict[str, object]) -> None:
    """Whichever is used up first."""
    rig = Rig()
    rig.queue("dead")
    queue = rig.queue("q", arguments={"x-retry": "fixed;delay=0;max=3", **DLX, **arguments})
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    for _ in range(6):
        if bool(queue.unsettled_count()):
            fail_once(rig, hand)
        rig.pass_time(int(rig.broker.turn.now_ms) + 100)
    assert len(hand.got) == (2 if arguments else 4)
    if arguments:
        assert last(hand)[2] == {
            "x-acquired-count": 1, "x-delivery-count": 1, "x-retry-count": 1, "x-retry-reason": "rejected",
        }  # fmt: skip
    ((_, headers),) = dead(rig)
    assert len(headers["x-retry-history"]) == (2 if arguments else 4)  # type: ignore[arg-type]


def test_history_is_bounded() -> None:
    rig = Rig()
    rig.queue("dead")
    queue = retrying(rig, "fixed;delay=0;max=50", **DLX)
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m")
    rig.settle_down()
    for _ in range(51):
        fail_once(rig, hand)
        rig.pass_time(int(rig.broker.turn.now_ms) + 100)
    ((_, headers),) = dead(rig)
    history = headers["x-retry-history"]
    assert isinstance(history, list)
    assert [each["attempt"] for each in history] == list(range(20, 52))


def test_cold_pages() -> None:
    """What sleeps need not be in memory, and what failed may have left it."""
    rig = Rig(memory_bytes=2_000)
    rig.at(1_000)
    queue = retrying(rig, "fixed;delay=1s")
    hand = Hand(rig, queue)
    rig.send("q", b"own", Properties(headers={"x-retry": "fixed;delay=5s"}))
    for n in range(60):
        rig.send("q", b"%d" % n)
    rig.settle_down()
    rig.broker.shed()
    rig.settle_down()
    hand.settle(0, REJECTED, True)
    rig.broker.shed()
    rig.settle_down()
    assert queue.attempts is not None
    assert queue.attempts.sleeping() == 61
    hand.got.clear()
    rig.pass_time(2_100)
    assert bodies(hand) == [b"%d" % n for n in range(60)]
    rig.pass_time(6_000)
    assert bodies(hand)[60:] == [b"own"]


def test_transient_messages_and_priorities() -> None:
    rig = Rig()
    rig.at(1_000)
    queue = retrying(rig, "fixed;delay=1s", x_max_priority=5)
    hand = Hand(rig, queue)
    rig.send("q", b"low", Properties(delivery_mode=1, priority=0))
    rig.send("q", b"high", Properties(delivery_mode=1, priority=5))
    rig.settle_down()
    hand.settle(0, REJECTED, True)
    hand.got.clear()
    rig.pass_time(2_000)
    assert bodies(hand) == [b"high", b"low"]
    hand.settle(0, REJECTED, True)
    rig.settle_down()
    rig = rig.crash()
    rig.at(9_000)
    assert rig.vhost.queue("q", None).sleeping_count() == 0


def test_a_queue_that_is_bounded_in_bytes() -> None:
    rig = Rig(memory_bytes=2_000)
    rig.at(1_000)
    queue = retrying(rig, "fixed;delay=1s", x_max_length_bytes=100_000)
    hand = Hand(rig, queue, 20)
    for _ in range(60):
        rig.send("q", b"12345")
    rig.settle_down()
    hand.settle(hand.got[9][0], REJECTED, True)
    hand.leave()
    rig.settle_down()
    rig = rig.crash()
    rig.at(1_500)
    rig.settle_down()
    queue = rig.vhost.queue("q", None)
    assert int(queue.ready_bytes()) == 5 * queue.ready_count()
    assert 0 < queue.sleeping_count() < 60
    rig.pass_time(2_100)
    assert (queue.ready_count(), int(queue.ready_bytes())) == (60, 300)


def test_a_purge_drops_what_sleeps() -> None:
    rig = Rig()
    queue = retrying(rig)
    hand = Hand(rig, queue, 1)
    for n in range(4):
        rig.send("q", b"%d" % n)
    rig.settle_down()
    fail_once(rig, hand)
    fail_once(rig, hand)
    assert queue.purge() == 3  # two sleep, one is ready, one is out
    assert (queue.sleeping_count(), queue.unsettled_count()) == (0, 1)
    rig.settle_down()
    rig.pass_time(5_000)
    assert rig.crash().vhost.queue("q", None).ready_count() == 1


def test_a_deleted_queue_is_forgotten() -> None:
    rig = Rig()
    hand = Hand(rig, retrying(rig), 1)
    rig.send("q", b"m")
    rig.settle_down()
    fail_once(rig, hand)
    rig.vhost.delete_queue("q", False, False, None)
    rig.queue("q")
    rig.send("q", b"other")
    rig.pass_time(5_000)
    assert rig.vhost.queue("q", None).ready_count() == 1
    assert rig.broker.retries.timetable.next_ms() == -1


@pytest.mark.parametrize("arguments", [{}, {"x-message-ttl": 500}])
def test_what_expires_while_it_sleeps_goes_when_it_wakes(arguments: dict[str, object]) -> None:
    rig = Rig()
    rig.at(1_000)
    queue = rig.queue("q", arguments={"x-retry": "fixed;delay=1s", **arguments})
    hand = Hand(rig, queue, 1)
    rig.send("q", b"m", None if arguments else Properties(expiration="500"))
    rig.settle_down()
    fail_once(rig, hand)
    rig.pass_time(1_900)
    assert queue.sleeping_count() == 1
    rig.pass_time(2_200)
    assert (queue.sleeping_count(), queue.ready_count(), len(hand.got)) == (0, 0, 1)
    assert queue.expired == 1


def test_groups_wait_for_their_failed_message() -> None:
    rig = Rig()
    rig.at(1_000)
    queue = retrying(rig, "fixed;delay=1s", x_group_header=True)
    hand = Hand(rig, queue, 1)
    for group, body in (("a", b"a1"), ("a", b"a2"), ("b", b"b1")):
        rig.send("q", body, Properties(headers={"x-group-id": group}))
    rig.settle_down()
    fail_once(rig, hand)
    assert last(hand)[1] == b"b1"
    hand.settle(hand.got[-1][0], ACCEPTED)
    rig.settle_down()
    assert len(hand.got) == 2
    rig.pass_time(2_000)
    assert last(hand)[1] == b"a1"
    assert last(hand)[2]["x-retry-count"] == 1
