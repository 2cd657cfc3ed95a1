"""Two traces against each other: the first difference that nobody knows, in words one can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .known import Known
from .scenario import Op, Scenario
from .trace import Trace


@dataclass(frozen=True)
class Difference:
    """What one stream of one step has on the left and on the right (None: the stream is not there)."""

    step: int
    op: Op
    stream: str
    left: list[Any] | None
    right: list[Any] | None
    ops: tuple[Op, ...] = ()
    left_streams: dict[str, list[Any]] = field(default_factory=dict)
    right_streams: dict[str, list[Any]] = field(default_factory=dict)

    def quorum_queues(self) -> set[str]:
        """The names of the queues that any operation so far declares as of that type."""
        wanted = {"x-queue-type": "quorum"}.items()
        return {str(op.args["queue"]) for op in self.ops if wanted <= op.args.get("arguments", {}).items()}


@dataclass
class Verdict:
    """`difference` is the first that is not known; `known` names the known ones that were met before it."""

    difference: Difference | None = None
    known: list[str] = field(default_factory=list)
    steps_compared: int = 0


def differences(step: int, left: Trace, right: Trace) -> list[Difference]:
    ours, theirs = left.steps[step], right.steps[step]
    found = []
    ops = tuple(each.op for each in left.steps[: step + 1])
    for stream in sorted({*ours.streams, *theirs.streams}):
        if ours.streams.get(stream) != theirs.streams.get(stream):
            found.append(
                Difference(
                    step,
                    ours.op,
                    stream,
                    ours.streams.get(stream),
                    theirs.streams.get(stream),
                    ops,
                    ours.streams,
                    theirs.streams,
                )
            )
    return found


def compare(left: Trace, right: Trace, known: Sequence[Known] = ()) -> Verdict:
    """Step by step up to the first unknown difference, or to a known one after which states are not the same."""
    verdict = Verdict()
    for step in range(min(len(left.steps), len(right.steps))):
        for difference in differences(step, left, right):
            entry = next((each for each in known if each.matches(difference)), None)
            if entry is None:
                verdict.difference = difference
                return verdict
            verdict.known.append(entry.id)
            if entry.ends:
                return verdict
        verdict.steps_compared = step + 1
    if len(left.steps) != len(right.steps):
        step = min(len(left.steps), len(right.steps)) - 1
        verdict.difference = Difference(
            step, left.steps[step].op, "length", [len(left.steps)], [len(right.steps)]
        )
    return verdict


def report(scenario: Scenario, difference: Difference, left_name: str, right_name: str) -> str:
    """The operations up to the difference, and the difference event by event."""
    lines = [f"{scenario.name}: they differ in step {difference.step + 1}, {difference.stream}"]
    lines += [f"  {number + 1:3d}  {op}" for number, op in enumerate(scenario.ops[: difference.step + 1])]
    left, right = difference.left or [], difference.right or []
    for index in range(max(len(left), len(right))):
        ours = left[index] if index < len(left) else None
        theirs = right[index] if index < len(right) else None
        if ours == theirs:
            lines.append(f"    both       {_line(ours)}")
            continue
        lines.append(f"    {left_name:10s} {_line(ours)}")
        lines.append(f"    {right_name:10s} {_line(theirs)}")
        lines += [f"      {each}" for each in _inner(ours, theirs, "")]
    return "\n".join(lines)


def _line(event: Any) -> str:
    return "nothing" if event is None else json.dumps(event, sort_keys=True, ensure_ascii=False)


def _inner(left: Any, right: Any, path: str) -> list[str]:
    """Where within two events the difference is."""
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                found += _inner(left.get(key), right.get(key), f"{path}.{key}")
        return found
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [line for at, (a, b) in pairs if a != b for line in _inner(a, b, f"{path}[{at}]")]
    if left is None or right is None or not path:
        return [f"{path}: {_line(left)} | {_line(right)}"] if path else []
    return [f"{path}: {_line(left)} | {_line(right)}"]
