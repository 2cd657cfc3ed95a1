"""What came of a run: rates, times, a series by the second; as JSON, as lines for people, and beside another broker's."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, Final

from leveret.benchmark.histogram import Times
from leveret.benchmark.plan import Plan

RATES: Final = {
    "published_per_s": "published",
    "confirmed_per_s": "confirmed",
    "delivered_per_s": "delivered",
    "filled_per_s": "filled",
    "drained_per_s": "drained",
    "answered_per_s": "answered",
}
OPTIONS: Final = (
    "connections", "consumers", "queues", "processes", "size_bytes", "persistent", "window", "prefetch",
    "ack_every", "rate", "messages", "duration_s", "warmup_s",
)  # fmt: skip


@dataclasses.dataclass
class Result:
    """Rates are messages a second in the window; `series` has one entry a second, from its beginning."""

    plan: Plan
    where: str  # the URL without a password
    product: str
    version: str
    seconds: float
    rates: dict[str, float]
    refused: int
    latencies: Times  # from when a message was due to its delivery
    confirms: Times  # to its confirm
    series: list[dict[str, float]]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def broker(self) -> str:
        return f"{self.product} {self.version}".strip() or "a broker that does not say its name"

    def as_json(self) -> dict[str, Any]:
        plan = dataclasses.asdict(self.plan)
        return {
            "scenario": self.plan.scenario,
            "broker": {"product": self.product, "version": self.version, "url": self.where},
            "options": {name: plan[name] for name in OPTIONS},
            "seconds": round(self.seconds, 3),
            "refused": self.refused,
            **{name: round(value, 1) for name, value in self.rates.items()},
            "latency_ms": self.latencies.summary(),
            "confirm_ms": self.confirms.summary(),
            "series": self.series,
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """A few, for people."""
        per_s = ", ".join(f"{RATES[name]} {shown(value)}/s" for name, value in self.rates.items())
        size = self.plan.size_bytes
        top = max(self.rates.values(), default=0.0)
        found = [f"{self.broker}: {per_s} ({shown(top * size / 1e6)} MB/s of bodies)"]
        for name, times in (("latency", self.latencies), ("confirm", self.confirms)):
            if summary := times.summary():
                text = ", ".join(f"{key} {shown(value)}" for key, value in summary.items())
                found.append(f"  {name} in ms: {text}")
        if self.refused:
            found.append(f"  {self.refused:,} messages were refused (basic.nack)")
        return found + [f"  note: {note}" for note in self.notes]


def shown(value: float) -> str:
    """Three digits that matter."""
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def medians(results: Sequence[Result]) -> dict[str, float]:
    """Of all rates and times of several runs."""
    seen: dict[str, list[float]] = {}
    for result in results:
        told = result.as_json()
        values = {name: told[name] for name in RATES if name in told}
        for kind in ("latency_ms", "confirm_ms"):
            values |= {f"{kind} {name}": value for name, value in told[kind].items()}
        for name, value in values.items():
            seen.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in seen.items()}


def compared(first: Sequence[Result], second: Sequence[Result]) -> dict[str, dict[str, float]]:
    """By what was measured: the medians of both, and the first by the second (of times the second by the first, so that
    more is always better for the first)."""
    ours, theirs = medians(first), medians(second)
    found: dict[str, dict[str, float]] = {}
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        above, below = (one, other) if name in RATES else (other, one)
        found[name] = {"first": one, "second": other, "ratio": round(above / below, 3) if below else 0.0}
    return dict(sorted(found.items()))
