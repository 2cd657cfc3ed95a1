"""The plot: what was confirmed and handled over time, and what was broken when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.patches import Patch

from examples.common import plot

TICK_S = 0.25
COLOURS = {"worker": plot.ORANGE, "broker": plot.RED, "network": "#7a5ea8"}


@dataclass(frozen=True)
class Fault:
    """Something was broken at `at_s`, and a message was handled again `healed_s` after; both in seconds."""

    what: str
    at_s: float  # since the epoch
    down_s: float
    healed_s: float  # since `at_s`


def rates(times: Sequence[float], start_s: float, ticks: int) -> list[float]:
    """How many a second, for each tick."""
    counts = Counter(int((at_s - start_s) / TICK_S) for at_s in times)
    return [counts[tick] / TICK_S for tick in range(ticks)]


def draw(
    confirmed: Sequence[float], handled: Sequence[float], faults: Sequence[Fault], folder: Path
) -> list[Path]:
    """Times are seconds since the epoch. Returns the files: PNG and SVG."""
    start_s = min([*confirmed[:1], *handled[:1]])
    ticks = int((max(confirmed[-1], handled[-1]) - start_s) / TICK_S) + 1
    times = [tick * TICK_S for tick in range(ticks)]
    made, ((above,), (below,)) = plot.figure(
        "Workers, broker and network are killed in turn", rows=2, size=(12, 6.5), sharex=True
    )
    for axes, what, name, colour in (
        (above, confirmed, "confirmed by the broker", plot.BLUE),
        (below, handled, "handled by workers", plot.GREEN),
    ):
        axes.fill_between(times, rates(what, start_s, ticks), step="post", color=colour, alpha=0.6)
        axes.set_ylabel(f"messages a second\n{name}")
        for fault in faults:
            axes.axvspan(
                fault.at_s - start_s, fault.at_s - start_s + max(fault.down_s, 0.08),
                color=COLOURS[fault.what], alpha=0.35, lw=0,
            )  # fmt: skip
    marks = [Patch(color=colour, alpha=0.35, label=f"{what} is down") for what, colour in COLOURS.items()]
    above.legend(handles=marks, frameon=False, ncols=len(marks), loc="lower right", bbox_to_anchor=(1, 1))
    below.set_xlabel("seconds")
    return plot.save(made, folder, "selfheal")
