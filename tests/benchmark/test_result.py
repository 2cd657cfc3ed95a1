"""Results told as lines and JSON, and compared."""

from __future__ import annotations

import pytest

pytest.importorskip("hdrh")

from leveret.benchmark.histogram import Times
from leveret.benchmark.plan import Plan
from leveret.benchmark.result import Result, compared, shown


def result(rate: float, *latencies_ms: float) -> Result:
    times = Times()
    for ms in latencies_ms:
        times.record(int(ms * 1e6))
    rates = {"published_per_s": rate, "delivered_per_s": rate}
    return Result(Plan(), "amqp://x", "Leveret", "1", 2.0, rates, 0, times, Times(), [])


def test_ratios_are_of_medians_and_more_is_better() -> None:
    first = [result(300.0, 1.0), result(100.0, 1.0), result(200.0, 1.0)]
    found = compared(first, [result(50.0, 4.0)])
    assert found["delivered_per_s"] == {"first": 200.0, "second": 50.0, "ratio": 4.0}
    assert found["latency_ms p50"]["ratio"] == pytest.approx(4.0, rel=0.01)


def test_what_was_not_timed_is_not_told() -> None:
    told = result(100.0).as_json()
    assert told["latency_ms"] == {}
    assert not [line for line in result(100.0).lines() if "latency" in line]


def test_times_of_several_processes_are_added() -> None:
    first, second = Times(), Times()
    for ms in (1, 2, 3):
        first.record(ms * 1_000_000)
    second.record(100 * 1_000_000, 97)
    first.add(second.encode())
    assert first.count == 100
    assert first.ms(3) == pytest.approx(3, rel=0.01)
    assert first.ms(50) == pytest.approx(100, rel=0.01)


def test_times_out_of_range_are_counted_at_its_ends() -> None:
    times = Times()
    times.record(-5)
    times.record(10**18)
    assert times.count == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_numbers_have_three_digits_that_matter(value: float, text: str) -> None:
    assert shown(value) == text
