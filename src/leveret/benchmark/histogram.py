"""Times as a histogram with three digits that matter, by the library hdrhistogram; without it, an error that says so."""

from __future__ import annotations

from typing import Any, Final

from leveret.errors import Unsupported

LOWEST_NS: Final = 1_000
HIGHEST_NS: Final = 3_600_000_000_000
DIGITS: Final = 3
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
MISSING: Final = (
    "percentiles are counted by hdrhistogram, which is not installed: pip install 'leveret[bench]'"
)


class Times:
    """Nanoseconds, any number of them in little memory. Times beyond an hour count as an hour."""

    def __init__(self) -> None:
        """Raises Unsupported where the library is not installed."""
        try:
            from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
        except ImportError:
            raise Unsupported(MISSING) from None
        self._histogram: Any = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)

    def record(self, ns: int, count: int = 1) -> None:
        self._histogram.record_value(min(max(ns, LOWEST_NS), HIGHEST_NS), count)

    def reset(self) -> None:
        self._histogram.reset()

    def encode(self) -> str:
        """As a text, to be added by another process."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode("ascii")

    def add(self, encoded: str) -> None:
        self._histogram.decode_and_add(encoded.encode("ascii"))

    @property
    def count(self) -> int:
        found: int = self._histogram.get_total_count()
        return found

    def ms(self, percentile: float) -> float:
        value: int = self._histogram.get_value_at_percentile(percentile)
        return value / 1e6

    def summary(self) -> dict[str, float]:
        """p50, p90, p99, p99.9 and max in milliseconds; empty where nothing was timed."""
        if self.count == 0:
            return {}
        found = {f"p{each:g}": round(self.ms(each), 4) for each in PERCENTILES}
        return found | {"max": round(self._histogram.get_max_value() / 1e6, 4)}

    def curve(self) -> list[tuple[float, float]]:
        """Percentile and milliseconds, denser towards the end, for a plot."""
        points = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99]
        return [(each, self.ms(each)) for each in points] if self.count else []
