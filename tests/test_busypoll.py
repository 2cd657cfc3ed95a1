"""Staying awake for what usually comes soon, with a loop and a clock that the test turns."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from leveret import busypoll
from leveret.busypoll import LONG, BusyPoll

LIMIT_S = 0.0001
SOON_S = 0.00002


class Loop:
    """Runs what is called soon, one at a time, each `step_s` later than the one before."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self, step_s: float = 0.000_002) -> bool:
        """One round. False when the loop would sleep."""
        self.now_s += step_s
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()
        return bool(self.soon)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(busypoll, "perf_counter", lambda: loop.now_s)
    monkeypatch.setattr(busypoll, "is_possible", lambda: True)
    monkeypatch.setattr(os, "sched_yield", lambda: None, raising=False)
    return loop


def answer(poll: BusyPoll, loop: Loop, after_s: float) -> int:
    """Wait for something that comes so much later. How many rounds the loop stayed awake meanwhile."""
    poll.begin()
    ends_s = loop.now_s + after_s
    rounds = 0
    while loop.now_s < ends_s and loop.soon:
        loop.turn()
        rounds += 1
    loop.now_s = max(loop.now_s, ends_s)
    poll.over()
    while loop.soon:
        loop.turn(0.0)
    return rounds


def test_it_stays_awake_until_something_comes(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    poll.begin()
    assert all(loop.turn() for _ in range(10))
    poll.over()
    assert not loop.turn()


def test_it_sleeps_when_nothing_comes_in_time(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    poll.begin()
    rounds = 0
    while loop.turn():
        rounds += 1
    assert rounds * 0.000_002 == pytest.approx(LIMIT_S, abs=0.000_004)


def test_where_it_usually_takes_longer_it_sleeps_at_once_and_learns_when_that_changes(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    for _ in range(20):
        answer(poll, loop, 10 * LIMIT_S)
    assert answer(poll, loop, 10 * LIMIT_S) == 0
    waited = 0
    while answer(poll, loop, SOON_S) == 0:
        waited += 1
        assert waited < 20
    assert poll.usual_s < LIMIT_S


def test_one_long_wait_among_short_ones_counts_little(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    for _ in range(50):
        assert answer(poll, loop, SOON_S) > 0
    answer(poll, loop, 3600.0)
    assert poll.usual_s <= LIMIT_S * LONG / 8 + SOON_S
    assert answer(poll, loop, SOON_S) > 0


def test_several_that_wait_make_one_poll(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    for _ in range(100):
        poll.begin()
    assert len(loop.soon) == 1
    loop.turn()
    poll.begin()
    assert len(loop.soon) == 1


def test_a_wait_that_begins_while_the_last_look_is_still_to_come_goes_on_with_it(loop: Loop) -> None:
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    poll.begin()
    poll.over()
    poll.begin()
    assert len(loop.soon) == 1
    assert loop.turn()


@pytest.mark.parametrize("limit_s", [0, -1.0])
def test_none_is_asked_for(loop: Loop, limit_s: float) -> None:
    poll = BusyPoll(loop.call_soon, limit_s)
    poll.begin()
    assert not loop.soon
    poll.allow(LIMIT_S)
    poll.begin()
    assert loop.soon


def test_one_processor_is_left_to_the_peer(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    poll = BusyPoll(loop.call_soon, LIMIT_S)
    poll.begin()
    assert not loop.soon
