"""The operations of the matrix, and which frames they are made of.

An operation is a generator with two stops: it prepares, and stops for the fault to be planned; it does its work, which
must be done in spite of the fault, and stops until consuming was proven to have resumed; then it looks at what the
broker has. What it may be told on the way is an error that says so (`Case.insist`); it may not hang, nor lie.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final

from .harness import Case
from .link import Side as LinkSide
from .proxy import Point, When

Steps = AsyncGenerator[None, None]
WHENS: Final[tuple[When, ...]] = ("before", "middle", "after")
WINDOW: Final = 60  # messages in flight, where there are many


@dataclass(frozen=True)
class Operation:
    """`points` are the frames that faults come at. `standing`: the standing consumer is there before it begins."""

    name: str
    steps: Callable[[Case], Steps]
    points: tuple[Point, ...]
    standing: bool = True
    closes: bool = False  # the client is closed by it


OPERATIONS: Final[list[Operation]] = []
Make = Callable[[Case], Steps]


def at(side: LinkSide, name: str, nth: int = 1, whens: tuple[When, ...] = WHENS) -> list[Point]:
    return [Point(side, name, when, nth) for when in whens]


def sent(name: str, nth: int = 1) -> list[Point]:
    """Before the client's frame is sent, in its middle, and when the broker has it and has not answered."""
    return at("client", name, nth)


def answered(name: str, nth: int = 1) -> list[Point]:
    """Before the broker's answer comes, in its middle, and after it."""
    return at("server", name, nth)


def operation(*points: list[Point], **options: Any) -> Callable[[Make], Make]:
    def add(steps: Make) -> Make:
        every = tuple(point for some in points for point in some)
        OPERATIONS.append(Operation(steps.__name__, steps, every, **options))
        return steps

    return add
