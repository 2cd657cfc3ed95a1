"""The two runs, live in the terminal and as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.common import plot
from examples.common.report import sparkline, table
from examples.spike.load import TICK_S, Load, Seen

WIDTH = 80  # of the lines in the terminal


def live(seen: Seen) -> list[str]:
    """Lines for the terminal: numbers, and how they came about."""
    last = seen.samples[-1]
    head = (
        f"{seen.name}: {last.sent / TICK_S:.0f} requests/s, {last.handled / TICK_S:.0f} handled/s,"
        f" {last.waiting} wait, callers wait {last.slowest_ms:.0f} ms, {seen.failed} gave up"
    )
    top = max(max(s.sent, s.handled) for s in seen.samples)
    return [
        head,
        "  requests  " + sparkline([s.sent for s in seen.samples], WIDTH, top),
        "  handled   " + sparkline([s.handled for s in seen.samples], WIDTH, top),
        "  waiting   " + sparkline([s.waiting for s in seen.samples], WIDTH),
        "  caller ms " + sparkline([s.slowest_ms for s in seen.samples], WIDTH),
    ]


def summary(runs: Sequence[Seen]) -> str:
    header = ("", "requests", "handled", "gave up", "caller p50 ms", "p99 ms", "most waiting", "seconds")
    rows = [
        [
            seen.name, str(seen.sent), str(seen.handled), str(seen.failed),
            f"{seen.p(50):.1f}", f"{seen.p(99):.1f}", str(seen.peak), f"{seen.samples[-1].at_s:.1f}",
        ]
        for seen in runs
    ]  # fmt: skip
    return table(header, rows)


def draw(runs: Sequence[Seen], load: Load, folder: Path) -> list[Path]:
    """A column for each run: rates, what waits, what callers wait. Returns the files: PNG and SVG."""
    made, axes = plot.figure(
        f"{load.times:g} times the normal load for {load.spike_s:g} seconds",
        rows=3, columns=len(runs), size=(12, 8), sharex=True, sharey="row",
    )  # fmt: skip
    for column, seen in enumerate(runs):
        _rates(axes[0][column], seen)
        _waiting(axes[1][column], seen)
        _callers(axes[2][column], seen)
        for row in range(3):
            axes[row][column].axvspan(
                load.before_s, load.before_s + load.spike_s, color=plot.ORANGE, alpha=0.1
            )
    for row, label in enumerate(("requests a second", "requests that wait", "slowest caller, ms")):
        axes[row][0].set_ylabel(label)
    return plot.save(made, folder, "spike")


def _rates(axes: Any, seen: Seen) -> None:
    times = [s.at_s for s in seen.samples]
    axes.step(times, [s.sent / TICK_S for s in seen.samples], color=plot.ORANGE, label="come")
    axes.step(times, [s.handled / TICK_S for s in seen.samples], color=plot.GREEN, label="are handled")
    axes.step(times, [s.failed / TICK_S for s in seen.samples], color=plot.RED, label="are given up")
    axes.set_title(f"{seen.name}: {seen.failed} of {seen.sent} callers gave up", fontsize=11)
    axes.legend(frameon=False)


def _waiting(axes: Any, seen: Seen) -> None:
    times = [s.at_s for s in seen.samples]
    axes.fill_between(times, [s.waiting for s in seen.samples], color=plot.BLUE, alpha=0.5)


def _callers(axes: Any, seen: Seen) -> None:
    times = [s.at_s for s in seen.samples]
    axes.plot(times, [s.slowest_ms or math.nan for s in seen.samples], color=plot.BLUE)
    axes.set(yscale="log", xlabel="seconds")
