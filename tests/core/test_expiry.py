"""Messages and queues that go when their time is up, by a clock that is moved by hand."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.core.queue import Queue
from leveret.message import ACCEPTED, RELEASED
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig

DAY_MS = 86_400_000
START_MS = 1_790_000_000_000


def started(memory_bytes: int = 24_576) -> Rig:
    rig = Rig(memory_bytes=memory_bytes)
    rig.at(START_MS)
    return rig


def again(rig: Rig, at_ms: int) -> Rig:
    """After a crash, at a time after the start."""
    rig = rig.crash()
    rig.at(START_MS + at_ms)
    return rig


def at(rig: Rig, ms: int) -> None:
    rig.pass_time(START_MS + ms)


def timed(rig: Rig, name: str = "q", **arguments: object) -> Queue:
    named = {"x-" + argument.replace("_", "-"): value for argument, value in arguments.items()}
    return rig.queue(name, arguments=dict(named))


def bodies(rig: Rig, queue: str = "q") -> list[bytes]:
    hand = Hand(rig, rig.vhost.queue(queue, None))
    rig.settle_down()
    found = [body for _, body, _ in hand.got]
    hand.leave()
    return found


# ---- the queue's word


def test_messages_leave_when_their_queue_says_so() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    rig.publish("q", b"one")
    at(rig, 500)
    rig.publish("q", b"two")
    at(rig, 999)
    assert queue.ready_count() == 2
    at(rig, 1_000)
    assert queue.ready_count() == 1
    at(rig, 1_500)
    assert (queue.ready_count(), int(queue.expired)) == (0, 2)
    assert rig.crash().vhost.queue("q", None).ready_count() == 0


def test_what_is_out_is_not_expired_until_it_is_back() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    hand = Hand(rig, queue, 1)
    rig.publish("q", b"held")
    rig.settle_down()
    at(rig, 5_000)
    assert queue.unsettled_count() == 1
    hand.leave()
    assert queue.ready_count() == 1
    at(rig, 5_100)
    assert queue.ready_count() == 0


def test_what_came_back_young_has_the_rest_of_its_time() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    hand = Hand(rig, queue, 1)
    rig.publish("q", b"held")
    rig.publish("q", b"waiting")
    rig.settle_down()
    at(rig, 400)
    hand.leave()
    at(rig, 900)
    assert queue.ready_count() == 2
    at(rig, 1_000)
    assert queue.ready_count() == 0


def test_one_that_comes_back_before_the_front_is_not_forgotten() -> None:
    """Its time was up while it was out, and the one before which it belongs is not due for long."""
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    first = Hand(rig, queue, 1)
    rig.publish("q", b"old")
    rig.settle_down()
    at(rig, 900)
    rig.publish("q", b"young")
    at(rig, 1_700)
    first.leave()
    assert queue.ready_count() == 2
    at(rig, 1_800)
    assert queue.ready_count() == 1
    at(rig, 1_900)
    assert queue.ready_count() == 0


def test_a_paged_backlog_expires_without_being_read() -> None:
    rig = started(2_000)
    queue = timed(rig, message_ttl=1_000)
    for n in range(500):
        rig.publish("q", b"%d" % n)
    at(rig, 900)
    rig.publish("q", b"young")
    assert len(rig.disk.pages.list()) > 10
    for lane, base in rig.disk.pages.list():
        rig.disk.pages.delete(lane, base)  # who reads one fails
    at(rig, 1_000)
    assert (queue.ready_count(), queue.failure) == (1, "")


def test_pages_are_read_where_time_runs_through_them() -> None:
    rig = started(2_000)
    queue = timed(rig, message_ttl=10_000)
    for n in range(100):
        rig.publish("q", b"%d" % n)
        at(rig, 100 * (n + 1))
    for n in range(100):
        at(rig, 10_000 + 100 * n)
        assert queue.ready_count() == 99 - n


@pytest.mark.parametrize("memory_bytes", [24_576, 2_000])
def test_time_goes_on_while_the_broker_does_not_run(memory_bytes: int) -> None:
    rig = started(memory_bytes)
    timed(rig, message_ttl=1_000)
    for n in range(40):
        rig.publish("q", b"%d" % n)
    at(rig, 500)
    for n in range(40, 80):
        rig.publish("q", b"%d" % n)
    rig.settle_down()
    rig = again(rig, 1_200)
    queue = rig.vhost.topology.queues["q"]
    rig.settle_down()
    assert queue.ready_count() == 40
    at(rig, 1_499)
    assert queue.ready_count() == 40
    rig = again(rig, 1_500)
    rig.settle_down()
    assert rig.vhost.topology.queues["q"].ready_count() == 0


def test_transient_messages_expire_too() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    rig.publish("q", b"one", persistent=False)
    rig.publish("q", b"two", persistent=False, ttl_ms=500)
    at(rig, 500)
    assert queue.ready_count() == 1
    at(rig, 1_000)
    assert queue.ready_count() == 0


def test_every_priority_has_its_front() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000, max_priority=5)
    for priority in (0, 5, 3):
        rig.send("q", b"x", Properties(priority=priority))
    at(rig, 999)
    assert queue.ready_count() == 3
    at(rig, 1_000)
    assert queue.ready_count() == 0


# ---- the message's word


@pytest.mark.parametrize("outcome", [ACCEPTED, RELEASED])
def test_messages_with_an_expiration_of_their_own(outcome: int) -> None:
    rig = started()
    queue = rig.queue()
    hand = Hand(rig, queue, 1)
    for n, after_ms in enumerate((300, 200, 100_000, 100)):
        rig.publish("q", b"%d" % n, ttl_ms=after_ms)
    rig.settle_down()
    at(rig, 400)
    assert queue.ready_count() == 1  # the first is out, the last was due behind one that is not
    hand.settle(1, outcome)
    rig.settle_down()
    assert [body for _, body, _ in hand.got] == [b"0", b"2"]  # also what is released is not delivered again


def test_what_nobody_takes_when_it_is_back_too_late_goes() -> None:
    rig = started()
    queue = rig.queue()
    hand = Hand(rig, queue, 3)
    for n in range(3):
        rig.publish("q", b"%d" % n, ttl_ms=300)
    rig.settle_down()
    at(rig, 1_000)
    hand.settle(2, ACCEPTED)
    hand.leave()
    assert queue.ready_count() == 2
    at(rig, 1_100)
    assert (queue.ready_count(), queue.unsettled_count(), int(queue.expired)) == (0, 0, 2)


def test_the_shorter_time_counts() -> None:
    rig = started()
    queue = timed(rig, message_ttl=1_000)
    rig.publish("q", b"0", ttl_ms=5_000)
    rig.publish("q", b"1", ttl_ms=500)
    rig.publish("q", b"2", ttl_ms=1_000)
    at(rig, 500)
    assert queue.ready_count() == 2
    at(rig, 1_000)
    assert queue.ready_count() == 0


times = st.lists(
    st.tuples(
        st.one_of(
            st.integers(1, 20_000), st.integers(1, 10 * DAY_MS), st.sampled_from([8_000, 8_001, 32_000])
        ),
        st.integers(0, 3_000),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(times, st.booleans(), st.integers(0, 3))
def test_distinct_times_are_kept_to(played: list[tuple[int, int]], paged: bool, crashes: int) -> None:
    """Each leaves when its time is up and no sooner, wherever it is, and over crashes."""
    rig = started(2_000 if paged else 1 << 20)
    rig.queue()
    deadlines: list[int] = []
    for ttl_ms, pause_ms in played:
        rig.publish("q", b"x" * 50, ttl_ms=ttl_ms)
        heapq.heappush(deadlines, int(rig.broker.turn.now_ms) + ttl_ms)
        jump(rig, int(rig.broker.turn.now_ms) + pause_ms)
    while deadlines and deadlines[0] <= int(rig.broker.turn.now_ms):
        heapq.heappop(deadlines)
    rig.settle_down()
    assert rig.vhost.topology.queues["q"].ready_count() == len(deadlines)
    while deadlines:
        if crashes:
            crashes -= 1
            now = int(rig.broker.turn.now_ms)
            rig = rig.crash()
            rig.at(now)
        jump(rig, deadlines[0] - 1)
        assert rig.vhost.topology.queues["q"].ready_count() == len(deadlines)
        jump(rig, deadlines[0])
        while deadlines and deadlines[0] <= int(rig.broker.turn.now_ms):
            heapq.heappop(deadlines)
        assert rig.vhost.topology.queues["q"].ready_count() == len(deadlines)


def jump(rig: Rig, now_ms: int) -> None:
    """To a time, by way of every time at which something is to be looked at."""
    while True:
        soon = int(rig.broker.expiry.timetable.next_ms())
        if soon < 0 or soon > now_ms:
            break
        rig.at(max(soon, int(rig.broker.turn.now_ms)))
        rig.broker.tick(rig.broker.turn.now_ms)
        rig.settle_down()
    rig.at(max(now_ms, int(rig.broker.turn.now_ms)))
    rig.broker.tick(rig.broker.turn.now_ms)
    rig.settle_down()


def test_what_was_delivered_long_before_its_time_leaves_nothing_behind() -> None:
    """A broker must not remember for a day each of the messages that it handed out within a second."""
    rig = started(1 << 20)
    queue = rig.queue()
    hand = Hand(rig, queue)
    for n in range(2_000):
        rig.publish("q", b"x", ttl_ms=DAY_MS - n)
        if n % 50 == 0:
            at(rig, n * 2)
            hand.session.settle(0, True, ACCEPTED)
    assert int(rig.broker.expiry.timetable.wheel.count) < 600  # pages of 8 messages


def test_few_looks_at_a_page_of_mixed_times() -> None:
    rig = Rig(memory_bytes=1 << 24, page_slots=4_096, page_bytes=1 << 22)
    rig.at(START_MS)
    queue = rig.queue()
    for n in range(1_000):
        rig.publish("q", b"x", ttl_ms=10_000 + n * n * 1_000)
    looks = 0
    while queue.ready_count():
        soon = int(rig.broker.expiry.timetable.next_ms())
        assert soon >= 0
        jump(rig, soon)
        looks += 1
    assert looks < 6_000  # at each of a thousand times, and a few times a level of the wheel


# ---- no time at all


@pytest.mark.parametrize("by_queue", [True, False])
@pytest.mark.parametrize("persistent", [True, False])
def test_no_time_at_all_is_enough_for_a_consumer_that_has_credit(by_queue: bool, persistent: bool) -> None:
    rig = started()
    queue = timed(rig, message_ttl=0) if by_queue else rig.queue()
    ttl_ms = -1 if by_queue else 0
    rig.publish("q", b"for nobody", persistent, ttl_ms=ttl_ms)
    assert rig.vhost.queue("q", None).ready_count() == 0
    hand = Hand(rig, queue, 2)
    for n in range(3):
        rig.publish("q", b"%d" % n, persistent, ttl_ms=ttl_ms)
    rig.settle_down()
    at(rig, 100)  # a delivery may have to wait for the disk
    assert [body for _, body, _ in hand.got] == [b"0", b"1"]
    assert (queue.ready_count(), int(queue.expired)) == (0, 2)


# ---- dead letters


@pytest.mark.parametrize("memory_bytes", [24_576, 2_000])
@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_expired_messages_go_where_dead_letters_go(memory_bytes: int, crash: bool, own: bool) -> None:
    rig = started(memory_bytes)
    if own:
        timed(rig, dead_letter_exchange="", dead_letter_routing_key="dead")
    else:
        timed(rig, dead_letter_exchange="", dead_letter_routing_key="dead", message_ttl=1_000)
    rig.queue("dead")
    properties = Properties(expiration="1000") if own else Properties()
    for n in range(60):
        rig.send("q", b"%d" % n, Properties(expiration=properties.expiration))
    at(rig, 900)
    if crash:
        rig = again(rig, 900)
    at(rig, 2_000)
    queue = rig.vhost.topology.queues["q"]
    assert isinstance(queue, Queue)
    assert (queue.ready_count(), queue.unsettled_count(), int(queue.expired)) == (0, 0, 60)
    assert rig.vhost.queue("dead", None).ready_count() == 60
    rig.settle_down()
    assert rig.crash().vhost.queue("dead", None).ready_count() == 60


def test_more_dead_letters_than_are_buried_at_once() -> None:
    rig = Rig(memory_bytes=1 << 26, page_slots=4_096, page_bytes=1 << 22)
    rig.at(START_MS)
    timed(rig, message_ttl=1_000, dead_letter_exchange="", dead_letter_routing_key="dead")
    rig.queue("dead")
    for n in range(10_000):
        rig.send("q", b"%d" % n)
    at(rig, 1_000)
    assert rig.vhost.queue("q", None).ready_count() == 0
    at(rig, 1_500)
    assert rig.vhost.queue("dead", None).ready_count() == 10_000


# ---- queues


def test_an_unused_queue_goes() -> None:
    rig = started()
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
    assert (rig.broker.expiry.leased, rig.broker.expiry.leases) == ({}, [])
    assert "q" not in rig.crash().vhost.topology.queues


def test_a_queue_s_lease_is_counted_anew_after_a_restart() -> None:
    rig = started()
    timed(rig, expires=3_000)
    at(rig, 2_900)
    rig = again(rig, 2_900)
    at(rig, 5_900)
    assert "q" in rig.vhost.topology.queues
    at(rig, 6_200)
    assert "q" not in rig.vhost.topology.queues


def test_a_queue_that_is_gone_takes_its_times_along() -> None:
    rig = started()
    timed(rig, message_ttl=1_000)
    rig.publish("q", b"x", ttl_ms=500)
    rig.vhost.delete_queue("q", False, False, None)
    queue = timed(rig, message_ttl=100_000)
    rig.publish("q", b"x")
    at(rig, 2_000)
    assert queue.ready_count() == 1
    timetable = rig.broker.expiry.timetable
    assert sum(client is not None for client in timetable.clients) == 1


def test_queues_that_only_wait_cost_nothing() -> None:
    rig = started()
    for n in range(50):
        timed(rig, f"q{n}", message_ttl=DAY_MS, expires=DAY_MS)
        rig.publish(f"q{n}", b"x")
    at(rig, 1_000)
    expiry = rig.broker.expiry
    assert (expiry.watched, expiry.burying) == ([], [])
    assert int(expiry.timetable.next_ms()) > START_MS + 10_000 and expiry.leases[0][0] > DAY_MS
