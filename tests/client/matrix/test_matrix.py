"""Operations x faults x points: after each, the client goes on, and nothing was lost, nor is left.

`pytest tests/client/matrix -k "publish and reset"` runs a part. An id reads: operation, fault, point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from ...compat.broker import Address
from .brokers import Side
from .catalogue import OPERATIONS, Operation
from .disasters import DISASTERS, HALF_OPEN, Disaster
from .harness import nothing_left, run
from .play import Verdicts, name_of, play
from .proxy import Point


def _cases(disasters: list[Disaster]) -> Iterator[tuple[Operation, Disaster, Point]]:
    for operation in OPERATIONS:
        for disaster in disasters:
            for point in operation.points:
                if disaster.fits(point) and not (operation.closes and disaster.loses == "nothing"):
                    yield operation, disaster, point


def _name(case: tuple[Operation, Disaster, Point]) -> str:
    operation, disaster, point = case
    return name_of(operation, disaster.name, point)


CASES: Final = list(_cases(DISASTERS))
TOGETHER: Final = 60
HALF_OPEN_CASES: Final = list(_cases([HALF_OPEN]))


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_matrix(address: Address, side: Side, case: tuple[Operation, Disaster, Point]) -> None:
    async def main() -> None:
        async with nothing_left():
            await play(address, side, *case)

    run(main())


@pytest.fixture(scope="session")
def half_open(address: Address, side: Side) -> Verdicts:
    """What became of each case with a silent line. They are played together, since each waits for heartbeats."""

    async def main() -> Verdicts:
        some = asyncio.Semaphore(TOGETHER)

        async def one(case: tuple[Operation, Disaster, Point]) -> None:
            async with some:
                await play(address, side, *case)

        names = [_name(case) for case in HALF_OPEN_CASES]
        async with nothing_left():
            verdicts = await asyncio.gather(*map(one, HALF_OPEN_CASES), return_exceptions=True)
        return dict(zip(names, verdicts, strict=True))

    return run(main())


@pytest.mark.parametrize("name", [_name(case) for case in HALF_OPEN_CASES])
def test_half_open(half_open: Verdicts, name: str) -> None:
    error = half_open[name]
    if error is not None:
        raise error
