"""What the coordinator makes of what its processes tell."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from leveret.benchmark import run
from leveret.benchmark.run import BenchFailed, Child, Team


class Told:
    """A child that tells what it is given."""

    def __init__(self, **counts: Any) -> None:
        self.counts = counts
        self.error: BenchFailed | None = None


def team(*children: Told) -> Team:
    made = Team(lambda _: None)
    made.children = cast(list[Child], list(children))
    return made


def test_a_broker_that_takes_no_messages_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> None:
        monkeypatch.setattr(run, "BLOCKED_S", -1.0)
        child = Told(blocked="low on disk")
        watching = team(child)
        watching.check()
        child.counts["blocked"] = ""
        watching.check()
        child.counts["blocked"] = "low on disk"
        watching.check()
        with pytest.raises(BenchFailed, match="low on disk"):
            watching.check()

    asyncio.run(look())


def test_what_ends_a_process_ends_the_run() -> None:
    async def look() -> None:
        child = Told(blocked="")
        child.error = BenchFailed("the broker hung up")
        with pytest.raises(BenchFailed, match="hung up"):
            await team(child).wait(lambda: False, 5)

    asyncio.run(look())


def test_counts_that_stand_still_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> None:
        monkeypatch.setattr(run, "DRAIN_S", 0.0)
        child = Told(blocked="", sent=0, confirmed=3, delivered=0, refused=0)
        assert not await team(child).wait_while_moving(lambda: False, "confirmed")
        assert await team(child).wait_while_moving(lambda: True, "confirmed")

    asyncio.run(look())
