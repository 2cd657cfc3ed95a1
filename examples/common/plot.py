"""Plots by matplotlib: nothing is shown, each is written as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2f6f9f", "#d9822b", "#3a8f5c", "#c23b3b", "#8a8f98"
PALETTE = (
    BLUE,
    ORANGE,
    GREEN,
    "#7a5ea8",
    "#8c6d46",
    "#4aa3a2",
    "#c76fa5",
    "#5b6470",
)  # no red: that is for faults


def figure(
    title: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = (10, 5), **options: Any
) -> Any:
    """A figure and its axes as a grid of `rows` lists. `options` are those of `Figure.subplots`."""
    made = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(title, fontsize=13)
    axes = made.subplots(rows, columns, squeeze=False, **options)
    for line in axes:
        for one in line:
            one.spines[["top", "right"]].set_visible(False)
            one.grid(alpha=0.25)
    return made, axes


def save(made: Figure, folder: Path, name: str) -> list[Path]:
    """Returns the files it was written to."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        made.savefig(path, dpi=110)
    return paths
