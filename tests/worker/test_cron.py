"""Handlers that run by the clock: when, by whom, and what is made up for. Time is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from leveret.client import Client
from leveret.client.topology import Retry
from leveret.worker import App, Running

from .inside import run, until, until_async

HOUR_S = 3600.0


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now_s: float = 277_778 * HOUR_S) -> None:
        self._now_s = now_s
        self._moved: list[asyncio.Event] = []

    def now_s(self) -> float:
        return self._now_s

    async def wait_s(self, seconds_s: float) -> None:
        until_s = self._now_s + seconds_s
        while self._now_s < until_s:
            moved = asyncio.Event()
            self._moved.append(moved)
            await moved.wait()

    def move(self, seconds_s: float) -> None:
        self._now_s += seconds_s
        moved, self._moved = self._moved, []
        for event in moved:
            event.set()


def make(seen: list[Any], **options: Any) -> App:
    app = App(name="shop")

    @app.cron("mail", schedule=HOUR_S, **options)
    async def send(number: int) -> None:
        seen.append(number)

    return app


async def ready(client: Client, queue: str = "mail") -> int:
    return (await client.look_at_queue(queue)).messages


async def turn() -> None:
    """Time for what should not happen."""
    for _ in range(50):
        await asyncio.sleep(0)


def leads(running: Running) -> bool:
    return running.crons[0].leads


def test_what_is_there_is_worked_off_when_it_is_due() -> None:
    seen: list[int] = []
    clock = FakeClock()

    async def main(client: Client) -> None:
        async with make(seen).running(client, clock=clock) as running:
            await client.publish_many("mail", range(3))
            await until(lambda: leads(running))
            clock.move(HOUR_S / 2)
            await turn()
            assert seen == []
            clock.move(HOUR_S)
            await until(lambda: seen == [0, 1, 2])
            await until(lambda: running.crons[0].runs == 1)
            await client.publish("mail", 3)
            assert await ready(client) == 1
            clock.move(HOUR_S)
            await until(lambda: seen == [0, 1, 2, 3])
        assert running.counts["mail"].done == 4

    run(main)


def test_no_more_than_the_limit_in_a_run() -> None:
    seen: list[int] = []
    clock = FakeClock()

    async def main(client: Client) -> None:
        async with make(seen, limit=2).running(client, clock=clock) as running:
            await client.publish_many("mail", range(5))
            await until(lambda: leads(running))
            for runs, done in ((1, 2), (2, 4), (3, 5)):
                clock.move(HOUR_S)
                await until(lambda runs=runs: running.crons[0].runs == runs)  # type: ignore[misc]
                assert len(seen) == done

    run(main)


def test_of_several_workers_one_runs_and_another_when_it_is_gone() -> None:
    seen: list[int] = []
    clock = FakeClock()

    async def main(client: Client) -> None:
        first = make(seen).running(client, clock=clock)
        second = make(seen).running(client, clock=clock)
        await first.start()
        await until(lambda: leads(first))
        await second.start()
        await client.publish("mail", 1)
        clock.move(HOUR_S)
        await until(lambda: first.crons[0].runs == 1)
        assert not leads(second)
        await first.stop()
        await until(lambda: leads(second))
        await client.publish("mail", 2)
        assert seen == [1]  # it knows of the run of the first
        clock.move(HOUR_S)
        await until(lambda: seen == [1, 2])
        await second.stop()

    run(main)


@pytest.mark.parametrize("catch_up", [True, False])
def test_a_missed_run_is_made_up_for_once(catch_up: bool) -> None:
    seen: list[int] = []
    clock = FakeClock()

    async def main(client: Client) -> None:
        async with make(seen, catch_up=catch_up).running(client, clock=clock) as running:
            await until(lambda: leads(running))
        clock.move(5 * HOUR_S + 600)
        await client.publish("mail", 1)
        async with make(seen, catch_up=catch_up).running(client, clock=clock) as running:
            await until(lambda: leads(running))
            if catch_up:
                await until(lambda: running.crons[0].runs == 1)
                await client.publish("mail", 2)
            assert len(seen) == int(catch_up)
            clock.move(HOUR_S - 600)
            await until(lambda: running.crons[0].runs == 1 + catch_up)
        assert seen == ([1, 2] if catch_up else [1])

    run(main)


def slow(
    app: App, held: Callable[[], asyncio.Event], now: list[int], most: list[int], **options: Any
) -> None:
    @app.cron("mail", schedule=HOUR_S, **options)
    async def send(number: int) -> None:
        now.append(number)
        most[0] = max(most[0], len(now))
        await held().wait()
        now.remove(number)


@pytest.mark.parametrize("overlap", [False, True])
def test_runs_do_not_overlap_unless_allowed(overlap: bool) -> None:
    app = App(name="shop")
    clock = FakeClock()
    held: asyncio.Event
    now: list[int] = []
    most = [0]
    slow(app, lambda: held, now, most, overlap=overlap, limit=1)

    async def main(client: Client) -> None:
        nonlocal held
        held = asyncio.Event()
        async with app.running(client, clock=clock) as running:
            await client.publish_many("mail", range(2))
            await until(lambda: leads(running))
            clock.move(HOUR_S)
            await until(lambda: now == [0])
            clock.move(HOUR_S)
            if overlap:
                await until(lambda: len(now) == 2)
            held.set()
            await until(lambda: running.crons[0].runs == 2)
        assert most == [2 if overlap else 1]

    run(main)


def test_a_run_that_was_cut_short_is_made_by_the_next_worker() -> None:
    app = App(name="shop")
    clock = FakeClock()
    held: asyncio.Event
    now: list[int] = []
    slow(app, lambda: held, now, [0])

    async def main(client: Client) -> None:
        nonlocal held
        held = asyncio.Event()
        seen: list[int] = []
        running = app.running(client, clock=clock)
        await running.start()
        await client.publish("mail", 7)
        await until(lambda: leads(running))
        clock.move(HOUR_S)
        await until(lambda: now == [7])
        await running.stop(grace_s=0.0)
        assert running.counts["mail"].released == 1
        async with make(seen).running(client, clock=clock):
            await until(lambda: seen == [7])

    run(main)


def test_a_lost_connection_is_survived() -> None:
    from ..client.inside import cut

    seen: list[int] = []
    clock = FakeClock()

    async def main(client: Client) -> None:
        async with make(seen).running(client, clock=clock) as running:
            await until(lambda: leads(running))
            await cut(client)
            await until(lambda: client.connected)
            await client.publish("mail", 1)
            clock.move(HOUR_S)
            await until(lambda: seen == [1])
            await until(lambda: leads(running))

    run(main)


def test_failures_of_a_run_are_tried_again_in_a_later_one() -> None:
    app = App(name="shop")
    clock = FakeClock()
    attempts: list[int] = []

    @app.cron("mail", schedule=HOUR_S, retry=Retry(max=5, delay_s=0.0, max_delay_s=0.0))
    async def send(number: int) -> None:
        attempts.append(number)
        if len(attempts) < 3:
            raise ValueError

    async def main(client: Client) -> None:
        async with app.running(client, clock=clock) as running:
            await client.publish("mail", 1)
            await until(lambda: leads(running))
            for count in range(1, 4):
                await until_async(lambda: empty_or(client))
                clock.move(HOUR_S)
                await until(lambda count=count: len(attempts) >= count)  # type: ignore[misc]
            await until(lambda: running.counts["mail"].done == 1)

    async def empty_or(client: Client) -> bool:
        return await ready(client) == 1

    run(main)
