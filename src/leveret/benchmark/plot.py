"""Rates over time and times by percentile as one picture, by matplotlib; its format is what the file's name ends with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from leveret.benchmark.plan import Senseless
from leveret.benchmark.result import Result
from leveret.errors import Unsupported

MISSING: Final = "--plot draws with matplotlib, which is not installed: pip install 'leveret[bench]'"
FORMATS: Final = (".svg", ".png", ".pdf")
COLOURS: Final = ("#2f6f9f", "#d9822b", "#3a8f5c", "#7a5ea8")


def check(path: Path) -> None:
    """Before anything is measured: raises Senseless for a file that cannot be, Unsupported without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise Senseless(f"--plot {path}: the name of the picture ends with {', '.join(FORMATS)}")
    if not os.access(path.parent, os.W_OK):
        raise Senseless(f"--plot {path}: there is no directory {path.parent} that can be written to")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise Unsupported(MISSING) from None


def draw(results: Sequence[Result], path: Path) -> None:
    """One colour for each broker. Raises OSError when the file cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(f"leveret bench {results[0].plan.scenario}")
    over_time, by_percentile = figure.subplots(1, 2)
    brokers = list(dict.fromkeys(result.broker for result in results))
    told: set[str] = set()
    for result in results:
        colour = COLOURS[brokers.index(result.broker) % len(COLOURS)]
        label = None if result.broker in told else result.broker
        told.add(result.broker)
        _rates(over_time, result, colour, label)
        _times(by_percentile, result, colour, label)
    over_time.set(xlabel="seconds", ylabel="messages a second", ylim=(0, None))
    by_percentile.set(xlabel="percentile", ylabel="latency, ms", yscale="log")
    for axes in (over_time, by_percentile):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    over_time.legend(frameon=False)
    figure.savefig(path)


def _rates(axes: Any, result: Result, colour: str, label: str | None) -> None:
    seconds = [entry["second"] for entry in result.series]
    counted = "delivered_per_s" if result.plan.consumers else "confirmed_per_s"
    axes.plot(seconds, [entry[counted] for entry in result.series], color=colour, label=label, marker=".")


def _times(axes: Any, result: Result, colour: str, label: str | None) -> None:
    curve = (result.latencies if result.latencies.count else result.confirms).curve()
    axes.plot(range(len(curve)), [ms for _, ms in curve], color=colour, label=label, marker=".")
    axes.set_xticks(range(len(curve)), [f"{percentile:g}" for percentile, _ in curve], rotation=45)
