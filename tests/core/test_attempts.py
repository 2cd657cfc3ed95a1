"""Delivery limits, and retries: what is counted, what waits, what is told, over crashes too."""

from __future__ import annotations

import pytest

from leveret.core.queue import Queue
from leveret.errors import PreconditionFailed
from leveret.message import ACCEPTED, DISCARDED, MODIFIED, REJECTED, RELEASED
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig, body_of, headers_of

DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
POLICY = "exponential;delay=1s;max=3"


def quorum(rig: Rig, **arguments: object) -> Queue:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return rig.queue("q", arguments={"x-queue-type": "quorum", **named})


def retrying(rig: Rig, policy: object = POLICY, **arguments: object) -> Queue:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return rig.queue("q", arguments={"x-retry": policy, **named})


def last(hand: Hand) -> tuple[int, bytes, dict[str, object]]:
    """The last delivery: tag, body, headers."""
    tag, data, _ = hand.got[-1]
    return tag, body_of(data), headers_of(data)


def bodies(hand: Hand) -> list[bytes]:
    return [body_of(data) for _, data, _ in hand.got]


def fail_once(rig: Rig, hand: Hand, outcome: int = REJECTED) -> None:
    hand.settle(hand.got[-1][0], outcome)
    rig.settle_down()


def dead(rig: Rig) -> list[tuple[bytes, dict[str, object]]]:
    hand = Hand(rig, rig.queue("dead"), name="undertaker")
    rig.settle_down()
    found = [(body_of(data), headers_of(data)) for _, data, _ in hand.got]
    hand.settle(0, ACCEPTED, True)
    hand.leave()
    rig.settle_down()
    return found


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


# ---- retry policies


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
    with pytest.raises(PreconditionFailed, match=r"invalid arg 'x-retry' for queue 'q' .*unknown key 'often'"):
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
