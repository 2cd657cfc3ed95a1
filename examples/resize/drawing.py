"""The plot: throughput against the number of clones, and which clone had which segment of the film when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.common import plot
from examples.resize.tally import Turn


def draw(turns: Sequence[Turn], photos: int, cores: int, folder: Path) -> list[Path]:
    """Returns the files: PNG and SVG."""
    made, ((left, right),) = plot.figure(
        "The same work, and more clones at one queue", columns=2, size=(12, 4.6)
    )
    _throughput(left, turns, photos, cores)
    _who_did_what(right, max(turns, key=lambda turn: turn.clones))
    return plot.save(made, folder, "resize")


def _throughput(axes: Any, turns: Sequence[Turn], photos: int, cores: int) -> None:
    turns = sorted(turns, key=lambda turn: turn.clones)
    clones = [turn.clones for turn in turns]
    pictures = [photos / turn.pictures_s for turn in turns]
    segments = [turn.segments / turn.film_s for turn in turns]
    ideal = [pictures[0] / clones[0] * min(number, cores) for number in clones]
    axes.plot(clones, ideal, "--", color=plot.GREY, label=f"pictures, if {cores} cores are all there is")
    axes.plot(clones, pictures, "o-", color=plot.BLUE, label="pictures")
    axes.plot(clones, segments, "s-", color=plot.ORANGE, label="segments of the film")
    axes.set(title="Throughput", xlabel="clones", ylabel="done per second", xticks=clones, ylim=(0, None))
    axes.legend(frameon=False)


def _who_did_what(axes: Any, turn: Turn) -> None:
    start_s = min(done.started_s for done in turn.done)
    clones = sorted({done.clone for done in turn.done})
    for number, done in enumerate(turn.done, 1):
        row = clones.index(done.clone)
        long_s = done.ended_s - done.started_s
        axes.barh(
            row,
            long_s,
            left=done.started_s - start_s,
            color=plot.PALETTE[row % len(plot.PALETTE)],
            edgecolor="white",
        )
        axes.text(
            done.started_s - start_s + long_s / 2, row, str(number), ha="center", va="center", color="white"
        )
    axes.set(
        title=f"One film, cut into {len(turn.done)} segments",
        xlabel="seconds",
        yticks=range(len(clones)),
        yticklabels=[f"clone {number + 1}" for number in range(len(clones))],
    )
    axes.invert_yaxis()
    axes.grid(False)
