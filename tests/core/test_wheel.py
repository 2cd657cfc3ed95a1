"""The timing wheel against a heap."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.core.wheel import LAST_MS, Wheel

YEAR_MS = 365 * 86_400_000
START_MS = 1_790_000_000_000


def everything(wheel: Wheel, now_ms: int, limit: int = 1_000) -> list[tuple[int, int]]:
    """All that is due: as often as there is more to do."""
    found: list[tuple[int, int]] = []
    while 0 <= int(wheel.next_ms()) <= now_ms:
        found += wheel.pop_due(now_ms, limit)
    return found


times = st.one_of(
    st.integers(0, 5),
    st.integers(0, 300),
    st.integers(0, 100_000),
    st.integers(0, 10 * YEAR_MS),
    st.sampled_from([255, 256, 257, 65_535, 65_536, 1 << 24, 1 << 32]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), times),
        st.tuples(st.just("add again"), st.integers(0, 50)),
        st.tuples(st.just("late"), times),
        st.tuples(st.just("go"), times),
        st.tuples(st.just("pop"), st.integers(1, 4)),
    ),
    max_size=200,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 1, START_MS]), steps)
def test_it_gives_back_what_a_heap_does(now: int, played: list[tuple[str, int]]) -> None:
    wheel = Wheel()
    heap: list[tuple[int, int]] = []
    added: list[int] = []
    number = 0
    for what, n in played:
        if what in ("add", "late", "add again"):
            due = now + n if what == "add" else max(now - n, 0)
            if what == "add again" and added:
                due = added[-1 - n % len(added)]
            number += 1
            wheel.add(due, number)
            heapq.heappush(heap, (due, number))
            added.append(due)
        elif what == "go":
            now += n
            found = everything(wheel, now, 7)
            assert found == popped(heap, now, len(heap))
            assert not heap or int(wheel.next_ms()) > now
        else:
            found = wheel.pop_due(now, n)
            assert len(found) <= n
            assert found == popped(heap, now, len(found))
        soonest = int(wheel.next_ms())
        assert (soonest >= 0) == bool(heap)
        assert not heap or soonest <= heap[0][0]
        assert int(wheel.count) == len(heap)
    assert everything(wheel, LAST_MS) == popped(heap, LAST_MS, len(heap))


def popped(heap: list[tuple[int, int]], now: int, limit: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while heap and heap[0][0] <= now and len(found) < limit:
        found.append(heapq.heappop(heap))
    return found


def test_ties_keep_their_order_through_every_level_and_in_many_chunks() -> None:
    wheel = Wheel()
    due = START_MS + 70_000
    for n in range(5_000):
        wheel.add(due, n)
    assert everything(wheel, START_MS) == []
    for n in range(5_000, 6_000):
        wheel.add(due, n)
    assert everything(wheel, due - 1) == []
    assert [value for _, value in everything(wheel, due, 333)] == list(range(6_000))
    assert (int(wheel.next_ms()), int(wheel.count)) == (-1, 0)


def test_a_great_slot_is_spilled_in_bounded_steps() -> None:
    """The entries wait for each other, and what is added meanwhile keeps its place behind them."""
    wheel = Wheel()
    due = START_MS + 3
    n = 300_000
    for i in range(n):
        wheel.add(due, i)
    assert wheel.pop_due(due, 1) == []
    assert int(wheel.next_ms()) <= due
    wheel.add(due, n)
    wheel.add(due - 2, n + 1)
    found = everything(wheel, due)
    assert found[0] == (due - 2, n + 1)
    assert [value for _, value in found[1:]] == list(range(n + 1))


def test_what_is_added_too_late_comes_first() -> None:
    wheel = Wheel()
    for due in (100, 200, 300):
        wheel.add(due, due)
    assert wheel.pop_due(250, 10) == [(100, 100), (200, 200)]
    wheel.add(150, 2)
    wheel.add(50, 1)
    assert int(wheel.next_ms()) == 50
    assert wheel.pop_due(1_000, 10) == [(50, 1), (150, 2), (300, 300)]


def test_times_beyond_all_measure() -> None:
    wheel = Wheel()
    wheel.add(1 << 62, 1)
    wheel.add(-5, 2)
    assert everything(wheel, START_MS) == [(0, 2)]
    assert everything(wheel, LAST_MS) == [(LAST_MS, 1)]


def test_it_looks_no_more_often_than_there_are_levels() -> None:
    """An idle broker must not come back for one far entry all the time."""
    wheel = Wheel()
    wheel.add(START_MS, 0)
    assert everything(wheel, START_MS) == [(START_MS, 0)]
    wheel.add(START_MS + YEAR_MS, 1)
    looks = 0
    while int(wheel.next_ms()) >= 0:
        assert int(wheel.next_ms()) > START_MS or looks == 0
        wheel.pop_due(int(wheel.next_ms()), 10)
        looks += 1
    assert looks <= 7
