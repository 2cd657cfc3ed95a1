"""Messages that are not due: held, moved in order of time, over crashes and when they are not in memory."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leveret.core.delays import LANES, first_lane, lane_of
from leveret.core.holder import FIRST_DELAYED
from leveret.core.queue import Queue
from leveret.core.when import FARTHEST_MS
from leveret.message import AMQP091, Message, Terms
from leveret.wire.properties import Properties
from tests.rig import Hand, Rig, body_of

DAY_MS = 86_400_000
START_MS = 1_790_000_000_000


def started(memory_bytes: int = 24_576, page_slots: int = 8) -> Rig:
    rig = Rig(memory_bytes=memory_bytes, page_slots=page_slots)
    rig.at(START_MS)
    return rig


def again(rig: Rig) -> Rig:
    now = int(rig.broker.turn.now_ms)
    rig = rig.crash()
    rig.at(now)
    return rig


def later(rig: Rig, key: str, body: bytes, wait_ms: int, persistent: bool = True, ttl_ms: int = -1) -> None:
    """Publish something that is due so much later."""
    route = rig.vhost.resolve(b"\0" + bytes([len(key)]) + key.encode() + b"\0")
    m = Message(body, route.raw, len(body), persistent, AMQP091)
    now = int(rig.broker.turn.now_ms)
    m.terms = Terms(now, ttl_ms, now + wait_ms, 0)
    rig.vhost.take(route, route.queues, m)


def jump(rig: Rig, now_ms: int) -> None:
    """To a time at once, and whatever is to be done then."""
    rig.at(now_ms)
    rig.broker.tick(now_ms)
    rig.settle_down()


def ready(rig: Rig, name: str = "q") -> int:
    return rig.vhost.topology.queues[name].ready_count()


def got(rig: Rig, name: str = "q") -> list[bytes]:
    """Take what is ready out of a queue."""
    hand = Hand(rig, rig.vhost.queue(name, None), no_ack=True)
    rig.settle_down()
    hand.leave()
    return [body for _, body, _ in hand.got]


# ---- which lane


@given(st.integers(1, FARTHEST_MS), st.integers(0, 1 << 48))
def test_lanes_are_few_and_those_of_a_level_its_own(wait_ms: int, due: int) -> None:
    first = int(first_lane(wait_ms))
    assert FIRST_DELAYED <= first < FIRST_DELAYED + 23 * (LANES + 1) < 1 << 20
    assert first < int(lane_of(first, due)) <= first + LANES


@given(st.integers(1 << 18, FARTHEST_MS), st.integers(START_MS, START_MS + DAY_MS))
def test_a_lane_s_span_is_a_fraction_of_the_wait(wait_ms: int, now: int) -> None:
    due = now + wait_ms
    first = first_lane(wait_ms)
    assert lane_of(first, due + wait_ms // 8) != lane_of(first, due)
    assert (int(lane_of(first, due + wait_ms // 64)) - int(lane_of(first, due))) % LANES <= 1


# ---- coming due


def test_it_is_there_when_it_is_due_and_no_sooner() -> None:
    rig = started()
    rig.queue()
    later(rig, "q", b"later", 1_000)
    rig.publish("q", b"now")
    rig.pass_time(START_MS + 999)
    assert got(rig) == [b"now"]
    rig.pass_time(START_MS + 1_000)
    assert got(rig) == [b"later"]
    rig.settle_down()
    assert ready(rig.crash()) == 0


def test_what_is_held_is_not_ready_nor_counted_as_such() -> None:
    rig = started()
    queue = rig.queue()
    later(rig, "q", b"later", 1_000)
    assert (queue.ready_count(), rig.vhost.purge_queue("q", None)) == (0, 0)
    jump(rig, START_MS + 1_000)
    assert queue.ready_count() == 1


def test_of_one_time_the_first_is_the_first() -> None:
    rig = started(2_000)
    rig.queue()
    for n in range(100):
        later(rig, "q", b"%d" % n, 60_000)
    jump(rig, START_MS + 60_000)
    assert got(rig) == [b"%d" % n for n in range(100)]


def test_its_own_time_to_live_begins_when_it_is_due() -> None:
    rig = started()
    rig.queue()
    later(rig, "q", b"later", 10_000, ttl_ms=500)
    rig.pass_time(START_MS + 10_000)
    assert ready(rig) == 1
    rig.pass_time(START_MS + 10_499)
    assert ready(rig) == 1
    rig.pass_time(START_MS + 10_500)
    assert ready(rig) == 0


@pytest.mark.parametrize("header", ["x-deliver-at", "x-deliver-after"])
def test_a_header_asks_for_it(header: str) -> None:
    rig = started()
    rig.queue()
    value: object = "5s" if header == "x-deliver-after" else START_MS + 5_000
    rig.send("q", b"hello", Properties(headers={header: value}))
    rig.settle_down()
    rig = again(rig)
    rig.pass_time(START_MS + 4_999)
    assert ready(rig) == 0
    rig.pass_time(START_MS + 5_000)
    assert [body_of(data) for data in got(rig)] == [b"hello"]


def test_transient_ones_are_held_in_memory_only() -> None:
    rig = started()
    rig.queue()
    later(rig, "q", b"kept", 1_000)
    later(rig, "q", b"lost", 1_000, persistent=False)
    rig.settle_down()
    rig = again(rig)
    jump(rig, START_MS + 1_000)
    assert got(rig) == [b"kept"]
    later(rig, "q", b"not lost", 1_000, persistent=False)
    jump(rig, START_MS + 2_000)
    assert got(rig) == [b"not lost"]


def test_a_queue_that_is_gone_takes_them_along() -> None:
    rig = started(2_000)
    rig.queue()
    for n in range(100):
        later(rig, "q", b"x", 1_000 + n * 10_000)
    rig.settle_down()
    rig.vhost.delete_queue("q", False, False, None)
    rig.queue()
    rig.pass_time(START_MS + 3_000)
    assert ready(rig) == 0
    jump(rig, START_MS + DAY_MS)
    assert ready(rig) == 0
    timetable = rig.broker.delays.timetable
    assert (int(timetable.wheel.count), [each for each in timetable.clients if each]) == (0, [])
    assert rig.broker.delays.lanes == {}
    rig.settle_down()
    assert rig.disk.pages.list() == []


def test_a_full_queue_takes_what_was_delayed() -> None:
    """Its publisher was told long ago that it is safe."""
    rig = started()
    rig.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    rig.send("q", b"early", Properties(headers={"x-deliver-after": 1_000}))
    rig.send("q", b"now")
    rig.send("q", b"takes no room yet", Properties(headers={"x-deliver-after": 2_000}))
    assert not rig.vhost.refused
    rig.send("q", b"one too many")
    assert rig.vhost.refused
    rig.settle_down()
    rig = again(rig)
    jump(rig, START_MS + 2_000)
    assert [body_of(data) for data in got(rig)] == [b"now", b"early", b"takes no room yet"]


def test_what_is_due_at_a_full_queue_is_a_dead_letter_where_that_is_asked_for() -> None:
    rig = started()
    rig.queue("dead")
    rig.queue(
        arguments={
            "x-max-length": 1,
            "x-overflow": "reject-publish-dlx",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        }
    )
    rig.send("q", b"now")
    rig.send("q", b"later", Properties(headers={"x-deliver-after": 1_000}))
    rig.settle_down()
    rig = again(rig)
    jump(rig, START_MS + 1_000)
    assert [body_of(data) for name in ("q", "dead") for data in got(rig, name)] == [b"now", b"later"]


# ---- out of memory


def test_pages_that_are_not_due_soon_leave_memory_and_come_back_in_time() -> None:
    rig = started(16_000)
    queue = rig.queue()
    for n in range(200):
        later(rig, "q", b"%03d" % n, 3_600_000 + (n * 37) % 200)
        rig.settle_down()
        rig.broker.tick(START_MS)
    assert int(rig.pager.resident_bytes) < 16_000 // 2
    assert queue.ready_count() == 0
    jump(rig, START_MS + 3_600_000 - 4_000)
    rig.pass_time(START_MS + 3_600_300)
    expected = sorted(range(200), key=lambda n: ((n * 37) % 200, n))
    assert got(rig) == [b"%03d" % n for n in expected]
    rig.settle_down()
    assert ready(rig.crash()) == 0


def test_what_cannot_be_read_does_not_hold_up_the_others() -> None:
    rig = started(2_000)
    rig.queue("bad")
    rig.queue("good")
    for n in range(40):
        later(rig, "bad", b"x", 60_000 + n)
        later(rig, "good", b"x", 60_000 + n)
        rig.broker.tick(START_MS)
    rig.settle_down()
    bad = int(rig.vhost.topology.queues["bad"].qid)
    for lane, base in rig.disk.pages.list():
        if lane & (1 << 40) - 1 == bad:
            rig.disk.pages.delete(lane, base)
    jump(rig, START_MS + 70_000)
    assert ready(rig, "good") == 40
    failed = rig.vhost.topology.queues["bad"]
    assert isinstance(failed, Queue) and failed.failure


@pytest.mark.parametrize("memory_bytes", [2_000, 1 << 20])
def test_overdue_after_a_restart_they_come_at_once_and_in_order(memory_bytes: int) -> None:
    rig = started(memory_bytes)
    rig.queue()
    waits = [1 + (n * 7919) % 40_000 for n in range(300)]
    for n, wait_ms in enumerate(waits):
        later(rig, "q", b"%d" % n, wait_ms)
    rig.settle_down()
    rig = rig.crash()
    jump(rig, START_MS + 50_000)
    expected = sorted(range(300), key=lambda n: (waits[n], n))
    assert got(rig) == [b"%d" % n for n in expected]


waits = st.one_of(
    st.integers(1, 300),
    st.integers(1, 100_000),
    st.integers(1, 30 * DAY_MS),
    st.sampled_from([1_000, 60_000, 1 << 18]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), waits),
        st.tuples(st.just("hold many"), waits),
        st.tuples(st.just("go"), waits),
        st.tuples(st.just("tick"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(steps, st.sampled_from([2_000, 8_000, 1 << 20]))
@example([("hold many", 29_809), ("hold", 29_809), ("tick", 0), ("crash", 0)], 2_000)
@example(
    [("hold many", 1), ("go", 148), ("crash", 0), *[("hold", 1)] * 5, ("hold many", 1), ("hold", 1)], 2_000
)
def test_each_comes_once_and_in_order_whatever_happens(
    played: list[tuple[str, int]], memory_bytes: int
) -> None:
    rig = started(memory_bytes)
    rig.queue()
    held: list[tuple[int, int, int]] = []  # (when, published when, number)
    number = 0
    for what, n in played:
        now = int(rig.broker.turn.now_ms)
        if what.startswith("hold"):
            for i in range(20 if what == "hold many" else 1):
                wait_ms = n + i * i * 3
                later(rig, "q", b"%d" % number, wait_ms)
                held.append((now + wait_ms, now, number))
                number += 1
        elif what == "go":
            jump(rig, now + n)
        elif what == "tick":
            rig.broker.tick(now)
            rig.settle_down()
        else:
            rig.settle_down()
            rig = again(rig)
            rig.settle_down()
        now = int(rig.broker.turn.now_ms)
        due = sorted(each for each in held if each[0] <= now)
        held = [each for each in held if each[0] > now]
        check([int(body) for body in got(rig)], due)
    jump(rig, START_MS + 400 * DAY_MS)
    check([int(body) for body in got(rig)], held)


def check(found: list[int], due: list[tuple[int, int, int]]) -> None:
    """In order of time; of one time, those that were published together as they were."""
    by_number = {each[2]: each for each in due}
    assert sorted(found) == sorted(by_number)
    came = [by_number[number] for number in found]
    assert [each[0] for each in came] == sorted(each[0] for each in came)
    for each in {each[:2] for each in came}:
        together = [other[2] for other in came if other[:2] == each]
        assert together == sorted(together)


# ---- a broker that moves many


def test_so_many_at_once_are_moved_in_bounded_steps() -> None:
    rig = started(1 << 26, page_slots=4_096)
    queue = rig.queue()
    for n in range(5_000):
        later(rig, "q", b"%d" % n, 1_000)
    rig.sync()
    rig.at(START_MS + 1_000)
    assert rig.broker.work()
    assert 0 < queue.ready_count() <= 2_048
    rig.settle_down()
    assert queue.ready_count() == 5_000
