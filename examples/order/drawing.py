"""The three trials side by side: as a plot, and as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.common import plot
from examples.order.trial import Trial

IN_ORDER, OVERTAKEN = "·", "×"
GAP = "   "


def letter(key: int) -> str:
    return chr(ord("A") + key % 26)


def in_text(trials: Sequence[Trial], workers: int, width: int) -> str:
    """For each key a row of marks, one for each message as they ended; below, who worked at which keys.

    A column for each trial, `width` characters wide; what is longer is cut.
    """
    columns = [_column(trial, workers) for trial in trials]
    labels = [label for label, _ in columns[0]]
    lines = []
    for row, label in enumerate(labels):
        cells = [column[row][1][:width].ljust(width) for column in columns]
        lines.append(f"{label:<10}" + GAP.join(cells).rstrip())
    return "\n".join(line.rstrip() for line in lines)


def _column(trial: Trial, workers: int) -> list[tuple[str, str]]:
    overtaken = {(step.key, step.number) for step in trial.overtaken()}
    rows = [("", trial.name), ("", f"{trial.rate:.0f} messages/s, {len(overtaken)} overtaken"), ("", "")]
    for key, steps in trial.by_key().items():
        marks = [OVERTAKEN if (key, step.number) in overtaken else IN_ORDER for step in steps]
        rows.append((f"key {letter(key)}", "".join(marks)))
    rows.append(("", ""))
    for worker in range(workers):
        keys = "".join(letter(step.key) for step in trial.steps if step.worker == worker)
        rows.append((f"worker {worker + 1}", keys or "(stands by)"))
    return rows


def draw(trials: Sequence[Trial], workers: int, folder: Path) -> list[Path]:
    """Above: each key climbs step by step, if order is kept. Below: what each worker had in hand. Returns the files."""
    made, axes = plot.figure(
        "Messages of one key: in which order are they done?",
        rows=2, columns=len(trials), size=(14, 7),
        sharex=True, height_ratios=(3, 1.4),
    )  # fmt: skip
    for column, trial in enumerate(trials):
        _order(axes[0][column], trial, first=column == 0)
        _workers(axes[1][column], trial, workers, first=column == 0)
    return plot.save(made, folder, "order")


def _order(axes: Any, trial: Trial, first: bool) -> None:
    overtaken = trial.overtaken()
    for key, steps in trial.by_key().items():
        highest = max(step.number for step in steps) + 1
        colour = plot.PALETTE[key % len(plot.PALETTE)]
        times = [step.ended_s for step in steps]
        axes.plot(
            times, [key + 0.85 * step.number / highest for step in steps], "-", color=colour, lw=1, zorder=1
        )
    size = max(len(steps) for steps in trial.by_key().values())
    axes.plot(
        [step.ended_s for step in overtaken],
        [step.key + 0.85 * step.number / size for step in overtaken],
        "o", color=plot.RED, ms=4, zorder=2,
    )  # fmt: skip
    verdict = f"{len(overtaken)} overtaken" if overtaken else "order kept"
    axes.set_xlim(left=0)
    axes.set_title(f"{trial.name}\n{trial.rate:.0f} messages/s, {verdict}", fontsize=11)
    keys = list(trial.by_key())
    axes.set_yticks([key + 0.4 for key in keys], [letter(key) for key in keys])
    if first:
        axes.set_ylabel("key, and its messages as they end")


def _workers(axes: Any, trial: Trial, workers: int, first: bool) -> None:
    for step in trial.steps:
        colour = plot.PALETTE[step.key % len(plot.PALETTE)]
        axes.barh(step.worker, step.ended_s - step.started_s, left=step.started_s, color=colour)
    axes.set_yticks(range(workers), [str(worker + 1) for worker in range(workers)])
    axes.set_ylim(workers - 0.5, -0.5)
    axes.set_xlabel("seconds")
    axes.grid(False)
    if first:
        axes.set_ylabel("worker")
