"""Operations x faults x points: after each, the client goes on, and nothing was lost, nor is left.

`pytest tests/client/matrix -k "publish and reset"` runs a part. An id reads: operation, fault, point. The cases of an
operation are played together, as most of their time is waiting, and those of half-open lines all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, cast

import pytest

from ...compat.broker import Address
from .brokers import Side
from .catalogue import OPERATIONS, Operation
from .disasters import DISASTERS, HALF_OPEN, Disaster
from .harness import nothing_left, run
from .play import Verdicts, name_of, play
from .proxy import Point

Matter = tuple[Operation, Disaster, Point]
TOGETHER: Final = 12
HALF_OPEN_TOGETHER: Final = 60


def _cases(disasters: list[Disaster]) -> Iterator[Matter]:
    for operation in OPERATIONS:
        for disaster in disasters:
            for point in operation.points:
                if disaster.fits(point) and not (operation.closes and disaster.loses == "nothing"):
                    yield operation, disaster, point


def _name(case: Matter) -> str:
    operation, disaster, point = case
    return name_of(operation, disaster.name, point)


CASES: Final = list(_cases(DISASTERS))
HALF_OPEN_CASES: Final = list(_cases([HALF_OPEN]))


async def _play_all(address: Address, side: Side, cases: list[Matter], together: int) -> Verdicts:
    """Nothing may be left when all of them have ended."""
    some = asyncio.Semaphore(together)

    async def one(case: Matter) -> None:
        async with some:
            await play(address, side, *case)

    async with nothing_left():
        verdicts = await asyncio.gather(*map(one, cases), return_exceptions=True)
    return dict(zip(map(_name, cases), verdicts, strict=True))


@pytest.fixture(scope="session")
def verdict_of(
    address: Address, side: Side, request: pytest.FixtureRequest
) -> Callable[[Matter], BaseException | None]:
    """What became of a case, which is played with those beside it that this run has selected."""
    selected: dict[str, list[Matter]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.function in (test_matrix, test_half_open):
            case = cast("Matter", item.callspec.params["case"])
            beside = selected.setdefault(_company(case), [])
            if case not in beside:  # once for each broker
                beside.append(case)
    found: Verdicts = {}

    def look(case: Matter) -> BaseException | None:
        if _name(case) not in found:
            cases = selected[_company(case)]
            together = HALF_OPEN_TOGETHER if case[1] is HALF_OPEN else TOGETHER
            try:
                found.update(run(_play_all(address, side, cases, together)))
            except AssertionError as error:
                found.update(dict.fromkeys(map(_name, cases), error))
        return found[_name(case)]

    return look


def _company(case: Matter) -> str:
    return HALF_OPEN.name if case[1] is HALF_OPEN else case[0].name


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_matrix(verdict_of: Callable[[Matter], BaseException | None], case: Matter) -> None:
    error = verdict_of(case)
    if error is not None:
        raise error


@pytest.mark.parametrize("case", HALF_OPEN_CASES, ids=_name)
def test_half_open(verdict_of: Callable[[Matter], BaseException | None], case: Matter) -> None:
    error = verdict_of(case)
    if error is not None:
        raise error
