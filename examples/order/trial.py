"""What was handled when, by whom; and which messages were overtaken by later ones of their own key."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice

from examples.common.report import Expectation

LEAST_GAIN = 1.5  # of groups over a single consumer; it comes near to the number of workers


@dataclass(frozen=True)
class Event:
    """A message: something happened to what `key` names; `number` counts what happened to it, from 0."""

    key: int
    number: int


@dataclass(frozen=True)
class Step:
    """One message, handled."""

    key: int
    number: int
    worker: int
    started_s: float  # since the trial began
    ended_s: float


def shuffled(keys: int, per_key: int, run: int) -> list[tuple[int, int]]:
    """Key and number of each message as they are sent: some of one key in a row, then some of another.

    The same every time. An order is placed, paid and packed within moments; then it is another one's turn.
    """
    turns = [key for key in range(keys) for _ in range(0, per_key, run)]
    random.Random(keys * per_key).shuffle(turns)
    left = {key: iter(range(per_key)) for key in range(keys)}
    return [(key, number) for key in turns for number in islice(left[key], run)]


@dataclass
class Trial:
    """One way to set up a queue, and what came of it."""

    name: str
    explanation: str
    steps: list[Step] = field(default_factory=list)  # as they ended

    @property
    def rate(self) -> float:
        """Messages a second."""
        if not self.steps:
            return 0.0
        return len(self.steps) / (max(s.ended_s for s in self.steps) - min(s.started_s for s in self.steps))

    @property
    def workers(self) -> set[int]:
        return {step.worker for step in self.steps}

    def by_key(self) -> dict[int, list[Step]]:
        found: dict[int, list[Step]] = defaultdict(list)
        for step in self.steps:
            found[step.key].append(step)
        return dict(sorted(found.items()))

    def overtaken(self) -> list[Step]:
        """Those that ended when a later one of their key had ended already: "paid" after "shipped"."""
        found: list[Step] = []
        for steps in self.by_key().values():
            latest = -1
            for step in steps:
                if step.number < latest:
                    found.append(step)
                latest = max(latest, step.number)
        return found

    def at_the_same_time(self) -> int:
        """How many began while another of their key was being handled."""
        count = 0
        for steps in self.by_key().values():
            until_s = 0.0
            for step in sorted(steps, key=lambda step: step.started_s):
                count += step.started_s < until_s
                until_s = max(until_s, step.ended_s)
        return count


def judge(competing: Trial, single: Trial, groups: Trial, messages: int, workers: int) -> list[Expectation]:
    trials = (competing, single, groups)
    handled = {trial.name: len({(step.key, step.number) for step in trial.steps}) for trial in trials}
    lost, kept = len(competing.overtaken()), [len(t.overtaken()) for t in (single, groups)]
    gain = groups.rate / single.rate if single.rate else 0.0
    return [
        Expectation("every message was handled, each way", set(handled.values()) == {messages}, str(handled)),
        Expectation("competing consumers lose the order", lost > 0, "nothing was overtaken"),
        Expectation("a single active consumer keeps it", kept[0] == 0, f"{kept[0]} overtaken"),
        Expectation("and does all the work alone", len(single.workers) == 1, f"workers {single.workers}"),
        Expectation("groups keep it for each key", kept[1] == 0, f"{kept[1]} overtaken"),
        Expectation(
            "and hand out one message of a key at a time",
            groups.at_the_same_time() == 0,
            f"{groups.at_the_same_time()} at the same time",
        ),
        Expectation(
            "while all workers work", len(groups.workers) == workers, f"{len(groups.workers)} of {workers}"
        ),
        Expectation("which is faster than one alone", gain >= LEAST_GAIN, f"{gain:.1f} x"),
    ]
