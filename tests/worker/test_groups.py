"""Messages of a group are handled one at a time and in their order, also when one fails and comes again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from leveret.client import Client
from leveret.client.engine.message import Message
from leveret.client.topology import Retry
from leveret.errors import RetryLater
from leveret.worker import App, Running, failures

from .inside import run_app, until


def test_groups_are_kept_in_order() -> None:
    app = App()
    now: dict[str, int] = {}
    seen: list[tuple[str, int]] = []

    @app.consumer("jobs", group_by=True, concurrency=10)
    async def handler(number: int, message: Message) -> None:
        group = str(message.headers["x-group-id"])
        now[group] = now.get(group, 0) + 1
        await asyncio.sleep(0)
        seen.append((group, number))
        now[group] -= 1

    async def body(client: Client, running: Running) -> None:
        for number in range(30):
            await client.publish("jobs", number, group=f"g{number % 3}")
        await until(lambda: len(seen) == 30)
        for group in ("g0", "g1", "g2"):
            numbers = [number for name, number in seen if name == group]
            assert numbers == sorted(numbers)

    run_app(app, body)


@pytest.mark.parametrize("pool", ["async", "thread"])
def test_one_message_of_a_group_runs_at_a_time(pool: Any) -> None:
    app = App()
    now: list[int] = []
    seen: list[tuple[int, int]] = []
    together: list[int] = []

    def begin(number: int) -> None:
        together.extend(other for other in now if other % 3 == number % 3 and max(other, number) < 60)
        now.append(number)

    def end(number: int) -> None:
        now.remove(number)
        seen.append((number % 3, number))

    if pool == "async":

        @app.consumer("jobs", group_by=True, concurrency=10)
        async def handler(number: int) -> None:
            begin(number)
            for _ in range(10 - number % 7):  # later ones are faster
                await asyncio.sleep(0)
            end(number)
    else:

        @app.consumer("jobs", group_by=True, concurrency=10, pool="thread")
        def blocking(number: int) -> None:
            begin(number)
            for _ in range(1000 * (10 - number % 7)):
                pass
            end(number)

    async def body(client: Client, running: Running) -> None:
        for number in range(60):
            client.post("jobs", number, group=f"g{number % 3}")
        client.post("jobs", 60)  # of no group
        await until(lambda: len(seen) == 61)
        assert together == []
        for group in range(3):
            numbers = [number for name, number in seen if name == group and number < 60]
            assert numbers == list(range(group, 60, 3))

    run_app(app, body)


@pytest.mark.parametrize("pool", ["async", "thread"])
@pytest.mark.parametrize("delay_s", [0.0, 0.05])
@pytest.mark.parametrize("error", [ValueError("not now"), RetryLater()])
def test_a_group_waits_for_its_message_that_is_tried_again(
    pool: Any, delay_s: float, error: Exception
) -> None:
    app = App()
    seen: list[tuple[int, int]] = []
    failed: list[int] = []
    attempts: list[int] = []

    def handle(number: int, message: Message) -> None:
        attempts.append(failures.attempts_of(message.headers))
        if number % 7 == 0 and number not in failed:
            failed.append(number)
            raise error
        seen.append((number % 2, number))

    options: dict[str, Any] = {
        "group_by": True,
        "concurrency": 4,
        "pool": pool,
        "retry": Retry(max=2, delay_s=delay_s, jitter=False),
    }
    if pool == "async":

        @app.consumer("jobs", **options)
        async def waits(number: int, message: Message) -> None:
            await asyncio.sleep(0)
            handle(number, message)
    else:
        app.consumer("jobs", **options)(handle)

    async def body(client: Client, running: Running) -> None:
        for number in range(40):
            client.post("jobs", number, group=f"g{number % 2}")
        await until(lambda: len(seen) == 40)
        for group in range(2):
            assert [number for of, number in seen if of == group] == list(range(group, 40, 2))
        assert sorted(attempts) == [1] * 40 + [2] * 6  # what was given back has not failed

    run_app(app, body)
