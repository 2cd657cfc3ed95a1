"""Retry policies: their forms, what is wrong with others, and how long they say to wait."""

from __future__ import annotations

from decimal import Decimal

import pytest

from leveret.core.retry import RetryPolicy, policy_of, read_policy


def policy(value: object) -> RetryPolicy:
    reading = read_policy(value)
    assert reading.wrong == ""
    return reading.policy


def delays(value: object, n: int = 5, chance: float = 0.5) -> list[int]:
    return [int(policy(value).delay_before(retry, chance)) for retry in range(1, n + 1)]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("fixed;delay=1s", [1_000] * 5),
        ("fixed; delay = 250", [250] * 5),
        ("linear;delay=2s;max-delay=5s", [2_000, 4_000, 5_000, 5_000, 5_000]),
        ("exponential;delay=1s;max-delay=1m", [1_000, 2_000, 4_000, 8_000, 16_000]),
        ("exponential;delay=1s;multiplier=10;max-delay=1m", [1_000, 10_000, 60_000, 60_000, 60_000]),
        ("delay=1.5s;multiplier=1", [1_500] * 5),
        ("fixed;delay=1h30m;max-delay=1d", [5_400_000] * 5),
        ("", None),
        ({"type": "linear", "delay": 10}, [10, 20, 30, 40, 50]),
        (
            {"type": "exponential", "delay": "1m", "max-delay": 90_000},
            [60_000, 90_000, 90_000, 90_000, 90_000],
        ),
        ({"delay": 100, "multiplier": 1.5, "max-delay": 200}, [100, 150, 200, 200, 200]),
        ({"delay": 100, "multiplier": Decimal("1.5")}, [100, 150, 225, 337, 506]),
        ({"delay": 0}, [0] * 5),
        ({}, [1_000, 2_000, 4_000, 8_000, 16_000]),
        ({"delay": 7_200_000}, [7_200_000] * 5),  # longer than the longest, if nothing is said of that
    ],
)
def test_delays(value: object, wanted: list[int] | None) -> None:
    if wanted is None:
        assert read_policy(value).wrong
    else:
        assert delays(value) == wanted


def test_how_many() -> None:
    assert policy("max=3").tries == 3
    assert policy({"max": 0}).tries == 0
    assert policy({}).tries == 10


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 0.999])
def test_jitter(chance: float) -> None:
    (delay,) = delays("fixed;delay=1s;max-delay=1h;jitter=0.2", 1, chance)
    assert delay == 800 + int(400 * chance + 1e-6)
    assert delays("fixed;delay=1s;max-delay=1s;jitter=1", 1, chance)[0] <= 1_000


def test_many_retries_do_not_overflow() -> None:
    assert policy({"multiplier": 1_000, "max-delay": "365d"}).delay_before(1_000, 0.5) == 365 * 86_400_000


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (5, "expected a table, or a text"),
        (None, "expected a table, or a text"),
        (["fixed"], "expected a table, or a text"),
        ("sometimes", "type: expected fixed, linear, exponential, got 'sometimes'"),
        ({"type": 1}, "type: expected"),
        ("fixed;dleay=1s", "unknown key 'dleay'"),
        ("fixed;delay=soon", "delay: expected milliseconds or a text such as 1s, up to 10 years, got 'soon'"),
        ("fixed;delay=1s;delay=2s", "delay: said twice"),
        ("exponential;delay", "delay: its value is missing, as in delay="),
        ("fixed;linear", "type: said twice"),
        ("delay=-1", "delay: expected"),
        ({"delay": -1}, "delay: expected"),
        ({"delay": True}, "delay: expected"),
        ({"delay": float("nan")}, "delay: expected"),
        ({"delay": "4000d"}, "delay: expected"),
        ({"max-delay": "x"}, "max-delay: expected"),
        ({"delay": 10, "max-delay": 5}, "max-delay: less than delay"),
        ({"multiplier": 0.5}, "multiplier: expected 1 to 1000, got 0.5"),
        ({"jitter": 1.1}, "jitter: expected 0 to 1, got 1.1"),
        ({"max": 1.5}, "max: expected a whole number up to 1000, got 1.5"),
        ({"max": -1}, "max: expected"),
        ({"max": "many"}, "max: expected"),
        ({"max": None}, "max: expected"),
        ({"max": 10**30}, "max: expected"),
    ],
)
def test_errors_name_the_key(value: object, wrong: str) -> None:
    assert read_policy(value).wrong.startswith(wrong)
    assert policy_of(value) is None
