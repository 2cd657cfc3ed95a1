"""The broker itself ends, is started again on its data, and everybody goes on.

All cases are played at once: each is held at its point until all are there, then the broker goes.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import leveret

from ...compat.broker import Address, Leveret, held_port
from ...differential.brokers import RabbitMQ
from .brokers import names, side_of
from .catalogue import OPERATIONS, Operation
from .disasters import Disaster
from .harness import Case, nothing_left, run
from .link import Heard, Link
from .link import Side as LinkSide
from .play import Verdicts, name_of, play
from .proxy import Point, Proxy, Strike

DEADLINE_S: Final = 90.0  # a RabbitMQ that was killed takes its time
# How the broker goes, and whose frames are held until then.
# How the broker goes, and whose frames are held until then.
WAYS: Final[dict[str, tuple[LinkSide, ...]]] = {"stop": ("client",), "kill": ("client", "server")}


def _cases() -> Iterator[tuple[Operation, Point]]:
    """Each operation at the point where the broker has it and nothing was answered, and where it has half of it."""
    for operation in OPERATIONS:
        if operation.standing and not operation.closes:
            whens = {"middle": operation.points[0], "after": operation.points[0]}
            for point in operation.points:
                if point.side == "client":
                    whens[point.when] = point
            yield from ((operation, whens[when]) for when in ("middle", "after"))


CASES: Final = list(_cases())


class Gate:
    """Everybody waits until all are there and the broker has been through its restart."""

    def __init__(self, total: int) -> None:
        self.missing = total
        self.all_here = asyncio.Event()
        self.back = asyncio.Event()

    async def wait(self, case: Case, strike: Strike) -> None:
        await strike.happened(DEADLINE_S)
        self.missing -= 1
        if self.missing == 0:
            self.all_here.set()
        await self.back.wait()


def _patient(proxy: Proxy) -> dict[str, Any]:
    return {"reconnect": leveret.Backoff(first_s=0.05, max_s=0.5)}


async def _play_all(broker: Leveret | RabbitMQ, way: str) -> Verdicts:
    with side_of(broker.address) as side:
        gate = Gate(len(CASES))

        def hold(link: Link, frame: Heard) -> None:
            link.hold(*WAYS[way])

        disaster = Disaster(way, lambda _: hold, lambda _: True, after=gate.wait, options=_patient)
        async with nothing_left():
            playing = [
                asyncio.ensure_future(play(broker.address, side, operation, disaster, point, DEADLINE_S))
                for operation, point in CASES
            ]
            everybody = asyncio.ensure_future(gate.all_here.wait())
            await asyncio.wait({everybody, *playing}, return_when=asyncio.FIRST_COMPLETED)
            everybody.cancel()
            side.retire()
            await asyncio.to_thread(getattr(broker, way))
            await asyncio.to_thread(broker.start)
            gate.back.set()
            verdicts = await asyncio.gather(*playing, return_exceptions=True)
    return {
        name_of(operation, way, point): verdict
        for (operation, point), verdict in zip(CASES, verdicts, strict=True)
    }


@pytest.fixture(scope="module", params=["leveret", "rabbitmq"])
def verdicts(request: pytest.FixtureRequest) -> dict[str, Verdicts]:
    """What became of all cases, by the way that the broker went; played when first asked for."""
    if request.param not in names():
        pytest.skip("this broker is not ours to restart")
    make = Leveret if request.param == "leveret" else RabbitMQ
    with (
        tempfile.TemporaryDirectory(prefix="leveret-restart-", ignore_cleanup_errors=True) as folder,
        held_port() as port,
    ):
        broker = make(Path(folder) / "broker")
        broker.address = Address("127.0.0.1", port)
        try:
            broker.start()
            return {way: run(_play_all(broker, way)) for way in WAYS}
        finally:
            broker.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[0], "restart", case[1]))
@pytest.mark.parametrize("way", WAYS)
def test_restart(verdicts: dict[str, Verdicts], way: str, case: tuple[Operation, Point]) -> None:
    error = verdicts[way][name_of(case[0], way, case[1])]
    if error is not None:
        raise error
