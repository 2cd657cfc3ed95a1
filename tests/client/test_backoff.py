"""Delays between tries, as tables: with random numbers that are given, they are exact."""

from __future__ import annotations

import pytest

from leveret.client.backoff import Backoff, Jitter


@pytest.mark.parametrize(
    "jitter, drawn, expected",
    [
        ("none", 0.5, [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]),
        ("full", 0.5, [0.1, 0.2, 0.4, 0.8, 1.5, 1.5]),
        ("full", 0.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("equal", 0.0, [0.1, 0.2, 0.4, 0.8, 1.5, 1.5]),
        ("equal", 0.5, [0.15, 0.3, 0.6, 1.2, 2.25, 2.25]),
    ],
)
def test_delays(jitter: Jitter, drawn: float, expected: list[float]) -> None:
    backoff = Backoff(0.2, 3.0, 2.0, jitter, random=lambda: drawn)
    assert [backoff.next_s() for _ in expected] == pytest.approx(expected)
    assert backoff.tries == len(expected)


def test_reset_begins_again() -> None:
    backoff = Backoff(1, 100, 10, "none")
    assert [backoff.next_s() for _ in range(4)] == [1, 10, 100, 100]
    backoff.reset()
    assert (backoff.tries, backoff.next_s()) == (0, 1)


def test_fresh_shares_settings_and_not_state() -> None:
    settings = Backoff(1, 8, 2, "none")
    settings.next_s()
    mine = settings.fresh()
    assert [mine.next_s(), mine.next_s()] == [1, 2]
    assert settings.next_s() == 2
    assert repr(mine) == "Backoff(1, 8, 2, 'none')"


def test_jitter_stays_within_its_bounds() -> None:
    backoff = Backoff(0.2, 30)
    for bound in (0.2, 0.4, 0.8, 1.6):
        assert 0 <= backoff.next_s() < bound


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"first_s": 0}, "first_s"),
        ({"first_s": 31}, "max_s"),
        ({"first_s": float("nan")}, "first_s"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"jitter": "some"}, "full, equal or none"),
    ],
)
def test_settings_that_mean_nothing(arguments: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Backoff(**arguments)  # type: ignore[arg-type]
