"""How a case is played: the operation is struck, and then everything is looked at."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from leveret.errors import Closed, ConnectFailed, Stale

from ...compat.broker import Address
from .brokers import Side
from .disasters import Disaster
from .harness import DEADLINE_S, Case, deadline
from .operations import Operation, Steps
from .proxy import Point, Proxy

# What became of cases that were played together, by their names; None is well.
Verdicts = dict[str, BaseException | None]


def name_of(operation: Operation, disaster: str, point: Point) -> str:
    return f"{operation.name}-{disaster}-{point}"


async def play(
    address: Address,
    side: Side,
    operation: Operation,
    disaster: Disaster,
    point: Point,
    deadline_s: float = DEADLINE_S,
) -> None:
    """One case from its beginning to its end."""
    async with Proxy(address) as proxy:
        case = Case(proxy, side, disaster.options(proxy))
        case.patience_s = deadline_s / 2
        try:
            async with deadline(case, deadline_s):
                async with contextlib.aclosing(operation.steps(case)) as steps:
                    await _play(case, operation, disaster, point, steps)
                await case.client.close()
                await asyncio.gather(*[link.ends["client"].left.wait() for link in proxy.links])
        except BaseException:
            await case.give_up()
            raise
        finally:
            case.clean()


async def _play(case: Case, operation: Operation, disaster: Disaster, point: Point, steps: Steps) -> None:
    if operation.standing:
        await case.insist(case.client.open, ConnectFailed)
        await case.standing.start()
    await anext(steps)
    strike = case.proxy.at(point, disaster.fault(case))
    after = asyncio.ensure_future(disaster.after(case, strike)) if disaster.after else None
    await anext(steps)
    await strike.happened()
    if after is not None:
        await after
    if operation.closes:
        with pytest.raises(Closed):
            await case.client.publish("anywhere", b"too late")
    else:
        await case.standing.resumed()
        _check_held(case, disaster, operation)
        if disaster.loses == "connection":
            assert case.client.stats.reconnects >= (1 if operation.standing else 0), case.client.stats
    with contextlib.suppress(StopAsyncIteration):
        await anext(steps)
    await case.standing.stop()


def _check_held(case: Case, disaster: Disaster, operation: Operation) -> None:
    """An ack of the old connection is refused, one of a connection that was not touched is taken."""
    held = case.standing.held
    assert held is not None
    if not operation.standing:
        return
    if disaster.loses == "connection":
        with pytest.raises(Stale):
            held.ack()
    else:
        with contextlib.suppress(Stale):
            held.ack()
