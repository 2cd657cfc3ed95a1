"""The example of order: what counts as overtaken, what is judged, what is drawn; and a small run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from examples.order.trial import Step, Trial, judge, shuffled
from tests.examples.running import assert_held, run_example

pytest.importorskip("matplotlib", reason="examples/order/requirements.txt is not installed")

from examples.order import drawing


def trial(name: str, *steps: tuple[int, int, int, float, float]) -> Trial:
    """Each step as key, number, worker, start, end."""
    return Trial(name, "", [Step(*step) for step in steps])


def test_messages_are_sent_in_order_of_their_key() -> None:
    sent = shuffled(keys=4, per_key=7, run=3)
    assert sorted(sent) == [(key, number) for key in range(4) for number in range(7)]
    for key in range(4):
        assert [number for k, number in sent if k == key] == list(range(7))
    assert sent == shuffled(keys=4, per_key=7, run=3)
    assert sent != sorted(sent)


def test_what_ends_after_a_later_one_was_overtaken() -> None:
    done = trial("", (0, 1, 0, 0.0, 0.1), (0, 0, 1, 0.0, 0.2), (1, 0, 0, 0.1, 0.3), (0, 2, 1, 0.2, 0.4))
    assert [(step.key, step.number) for step in done.overtaken()] == [(0, 0)]


def test_messages_of_one_key_at_the_same_time_are_counted() -> None:
    side_by_side = trial("", (0, 0, 0, 0.0, 0.2), (0, 1, 1, 0.1, 0.3), (1, 0, 2, 0.0, 0.2))
    assert side_by_side.at_the_same_time() == 1
    one_by_one = trial("", (0, 0, 0, 0.0, 0.2), (0, 1, 1, 0.2, 0.3), (1, 0, 2, 0.0, 0.2))
    assert one_by_one.at_the_same_time() == 0


def good_trials() -> dict[str, Trial]:
    return {
        "competing": trial(
            "competing", (0, 1, 0, 0.0, 0.1), (0, 0, 1, 0.0, 0.2), (1, 0, 0, 0.1, 0.2), (1, 1, 1, 0.2, 0.3)
        ),
        "single": trial(
            "single", (0, 0, 0, 0.0, 0.2), (0, 1, 0, 0.2, 0.4), (1, 0, 0, 0.4, 0.6), (1, 1, 0, 0.6, 0.8)
        ),
        "groups": trial(
            "groups", (0, 0, 0, 0.0, 0.2), (1, 0, 1, 0.0, 0.2), (0, 1, 0, 0.2, 0.4), (1, 1, 1, 0.2, 0.4)
        ),
    }


def failed(trials: dict[str, Trial]) -> list[str]:
    return [e.text for e in judge(**trials, messages=4, workers=2) if not e.met]


def test_a_good_story_meets_all_expectations() -> None:
    assert failed(good_trials()) == []


@pytest.mark.parametrize(
    ("name", "damage", "expectation"),
    [
        ("groups", lambda t: t.steps.pop(), "every message was handled"),
        ("competing", lambda t: t.steps.sort(key=lambda step: step.number), "competing consumers lose"),
        ("single", lambda t: t.steps.reverse(), "a single active consumer keeps"),
        ("single", lambda t: t.steps.append(replace(t.steps[0], worker=1)), "and does all the work alone"),
        ("groups", lambda t: t.steps.reverse(), "groups keep it"),
        ("groups", lambda t: t.steps.append(Step(0, 1, 0, 0.1, 0.3)), "and hand out one message of a key"),
        ("groups", lambda t: t.steps.__setitem__(slice(None), [replace(s, worker=0) for s in t.steps]), "while all"),
        ("groups", lambda t: t.steps.append(Step(2, 0, 0, 0.4, 0.9)), "which is faster"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(name: str, damage: object, expectation: str) -> None:
    trials = good_trials()
    damage(trials[name])  # type: ignore[operator]
    assert any(text.startswith(expectation) for text in failed(trials)), failed(trials)


def test_the_three_are_side_by_side_in_the_terminal() -> None:
    trials = good_trials()
    lines = drawing.in_text(list(trials.values()), workers=2, width=20).splitlines()
    assert lines[0].split() == ["competing", "single", "groups"]
    by_name = {line[:10].strip(): line[10:].split("   ") for line in lines if line.strip()}
    assert [cell.strip() for cell in by_name["key A"] if cell.strip()] == ["·×", "··", "··"]
    assert "(stands by)" in lines[-1]


def test_a_small_run_shows_all_of_it(tmp_path: Path) -> None:
    ended = run_example("order", tmp_path, "--per-key", "12", "--work-ms", "6")
    assert_held(ended, "order")
    assert "plot: " in ended.output


@pytest.mark.parametrize("arguments", [["--workers", "1"], ["--keys", "2"], ["--per-key", "1"]])
def test_what_cannot_lose_order_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    ended = run_example("order", tmp_path, *arguments)
    assert ended.code == 2
    assert "it takes 2 workers" in ended.errors
