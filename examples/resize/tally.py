"""What so many clones did, and whether it is what was to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from examples.common.report import Expectation
from examples.resize.jobs import Done


@dataclass
class Turn:
    """What so many clones did."""

    clones: int
    pictures_s: float = 0.0
    film_s: float = 0.0  # with cutting and joining
    done: list[Done] = field(default_factory=list)  # the segments
    frames: int = 0
    complete: int = 0  # pictures
    segments: int = 0
    codes: dict[str, int] = field(default_factory=dict)  # exit codes of the clones


def judge(
    turns: Sequence[Turn], photos: int, frames: int, cores: int, least_gain: float
) -> list[Expectation]:
    found = [
        Expectation(
            "every picture was made small by every number of clones",
            all(turn.complete == photos for turn in turns),
            str({turn.clones: f"{turn.complete} of {photos}" for turn in turns}),
        ),
        Expectation(
            "the joined film has every frame of the original",
            all(turn.frames == frames for turn in turns),
            str({turn.clones: f"{turn.frames} of {frames}" for turn in turns}),
        ),
        Expectation(
            "when there was more than one clone, several worked at one film",
            all(len({done.clone for done in turn.done}) > 1 for turn in turns if turn.clones > 1),
            str({turn.clones: len({done.clone for done in turn.done}) for turn in turns}),
        ),
    ]
    bad = {name: code for turn in turns for name, code in turn.codes.items() if code != 0}
    left = all(len(turn.codes) == turn.clones for turn in turns)
    found.append(
        Expectation(
            "every clone left in good order when asked to", left and not bad, str(bad or "not all did")
        )
    )
    alone = next((turn for turn in turns if turn.clones == 1), None)
    more = [turn for turn in turns if turn.clones > 1]
    if alone and more and cores > 1 and least_gain:
        gain = max(alone.pictures_s / turn.pictures_s for turn in more)
        found.append(
            Expectation(
                f"more clones did at least {least_gain} x as much", gain >= least_gain, f"{gain:.2f} x"
            )
        )
    return found
