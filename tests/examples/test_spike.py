"""The example of a spike: who comes when, what is counted, what is judged; and a small run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from examples.spike.load import Load, Sample, Seen, judge
from tests.examples.running import assert_held, run_example

pytest.importorskip("matplotlib", reason="examples/spike/requirements.txt is not installed")

from examples.spike import drawing


def test_ten_times_as_many_come_in_the_spike_and_no_others() -> None:
    arrivals = list(Load(normal=10, times=10, before_s=2, spike_s=3, after_s=4).arrivals())
    assert arrivals == sorted(arrivals)
    assert len([at for at in arrivals if at < 2]) == pytest.approx(20, abs=1)
    assert len([at for at in arrivals if 2 <= at < 5]) == pytest.approx(300, abs=1)
    assert len([at for at in arrivals if at >= 5]) == pytest.approx(40, abs=1)
    assert arrivals[-1] < 9


def test_the_spike_begins_on_time_though_nobody_comes_before() -> None:
    assert list(Load(normal=0.1, times=100, before_s=1, spike_s=0.2, after_s=0).arrivals()) == [0.0, 1.0, 1.1]


def test_a_caller_that_gives_up_is_counted_and_its_wait_too() -> None:
    async def story() -> Seen:
        seen = Seen("")
        seen.begin()

        async def gives_up() -> bool:
            return False

        await seen.offer(Load(1000, 1, 0.0, 0.0, 0.01), gives_up)
        return seen

    seen = asyncio.run(story())
    assert (seen.sent, seen.failed, len(seen.waits_ms)) == (10, 10, 10)


def queued() -> Seen:
    samples = [Sample(0.2, 10, 5, 0, 3.0, 5), Sample(0.4, 0, 5, 0, 0.0, 0)]
    return Seen("with a queue", sent=10, handled=10, waits_ms=[2.0] * 10, samples=samples)


def direct() -> Seen:
    samples = [Sample(0.2, 10, 5, 2, 900.0, 5)]
    return Seen("without a queue", sent=10, handled=10, failed=2, waits_ms=[900.0] * 10, samples=samples)


def failed(with_queue: Seen, without: Seen) -> list[str]:
    return [e.text for e in judge(with_queue, without) if not e.met]


def test_a_good_story_meets_all_expectations() -> None:
    assert failed(queued(), direct()) == []


def test_what_does_not_hold_is_named() -> None:
    bad = Seen("", sent=10, handled=9, failed=1, waits_ms=[990.0])
    assert failed(bad, Seen("", waits_ms=[900.0])) == [e.text for e in judge(bad, Seen(""))]


def test_the_terminal_shows_numbers_and_lines() -> None:
    lines = drawing.live(queued())
    assert lines[0] == "with a queue: 0 requests/s, 25 handled/s, 0 wait, callers wait 0 ms, 0 gave up"
    assert lines[1].split() == ["requests", "█"]
    assert lines[2].split() == ["handled", "▄▄"]
    assert "with a queue" in drawing.summary([queued(), direct()])


def test_a_small_run_shows_all_of_it(tmp_path: Path) -> None:
    options = ["--before-s", "0.4", "--spike-s", "0.6", "--normal", "40", "--slots", "8", "--work-ms", "50"]
    ended = run_example("spike", tmp_path, *options, "--patience-s", "0.3")
    assert_held(ended, "spike")


def test_a_load_that_never_ends_is_refused(tmp_path: Path) -> None:
    ended = run_example("spike", tmp_path, "--normal", "500")
    assert ended.code == 2
    assert "never be empty" in ended.errors
