"""Makes a scenario that shows a difference as short as it will go: drops operations while the difference persists."""

from __future__ import annotations

from collections.abc import Callable

from .scenario import Op, Scenario


def shrink(scenario: Scenario, differs: Callable[[Scenario], bool], tries: int = 120) -> Scenario:
    """Halves first, then smaller pieces, then single operations; at most `tries` runs."""
    ops = scenario.ops
    size = max(len(ops) // 2, 1)
    while tries > 0:
        at, dropped = 0, False
        while at < len(ops) and tries > 0:
            shorter: tuple[Op, ...] = ops[:at] + ops[at + size :]
            tries -= 1
            if shorter and differs(scenario.with_ops(shorter)):
                ops, dropped = shorter, True
            else:
                at += size
        if size == 1 and not dropped:
            break
        size = max(size // 2, 1)
    return scenario.with_ops(ops)
