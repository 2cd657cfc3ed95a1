"""Handlers that only fail, or raise what would end a program: slowed down, told, and nothing lost or hung."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

import leveret
from leveret.client import Client
from leveret.client.topology import Retry
from leveret.errors import Reject
from leveret.worker import App, Job, Middleware, Running, failures
from leveret.worker.failures import Brake, attempts_of

from .inside import dead_letters, run_app, until


def test_a_handler_that_only_fails_is_slowed_down(caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    pauses: list[float] = []
    now = 0.0

    @app.consumer("jobs", retry=Retry(max=0), concurrency=1)
    async def handler(number: int) -> None:
        if number < 20:
            raise ValueError(str(number))

    async def body(client: Client, running: Running) -> None:
        runner = running._runners[0]

        async def no_wait(timeout_s: float | None) -> None:
            nonlocal now
            if timeout_s is not None:
                pauses.append(timeout_s)
                now += timeout_s
            await asyncio.sleep(0)

        runner._wait = no_wait  # type: ignore[method-assign]
        runner.brake = Brake(clock=lambda: now)
        await client.publish_many("jobs", range(21))
        await until(lambda: running.counts["jobs"].done == 1)
        assert runner.brake.in_a_row == 0

    with caplog.at_level(logging.ERROR, "leveret.worker"):
        run_app(app, body)
    assert len(pauses) >= 15
    assert all(later >= before - 1e-6 for before, later in pairwise(pauses))
    lines = [record for record in caplog.records if record.name == "leveret.worker"]
    assert len(lines) == 2  # the first, and how many more


def test_a_pause_lasts_whatever_else_ends() -> None:
    app = App()
    begun: list[int] = []
    now = 0.0
    held: asyncio.Event

    @app.consumer("jobs", retry=Retry(max=0), concurrency=5)
    async def handler(number: int) -> None:
        begun.append(number)
        if number == 0:
            await held.wait()
        raise ValueError

    async def body(client: Client, running: Running) -> None:
        nonlocal held, now
        held = asyncio.Event()
        runner = running._runners[0]
        runner.brake = Brake(clock=lambda: now)
        await client.publish_many("jobs", range(20))
        await until(lambda: runner.brake.left_s > 0)
        before = len(begun)
        held.set()
        await until(lambda: running.counts["jobs"].dead == before)
        await client.look_at_queue("jobs")  # the loop turns
        assert len(begun) == before < 20
        assert (
            runner.brake.in_a_row == failures.PAUSE_AFTER
        )  # that of the job which began before them is not news
        now = 1.0
        await until(lambda: len(begun) > before)

    run_app(app, body)


def test_failures_beside_each_other_are_one_round() -> None:
    app = App()
    begun: list[int] = []
    held: asyncio.Event

    @app.consumer("jobs", retry=Retry(max=0), concurrency=50)
    async def handler(number: int) -> None:
        begun.append(number)
        await held.wait()
        raise ValueError

    async def body(client: Client, running: Running) -> None:
        nonlocal held
        held = asyncio.Event()
        await client.publish_many("jobs", range(50))
        await until(lambda: len(begun) == 50)
        held.set()
        await until(lambda: running.counts["jobs"].dead == 50)
        assert running._runners[0].brake.in_a_row == 1

    run_app(app, body)


def test_what_is_rejected_slows_nothing_down() -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=0))
    async def handler(number: int) -> None:
        raise Reject("not this one")

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(50))
        await until(lambda: running.counts["jobs"].rejected == 50)
        assert running._runners[0].brake.in_a_row == 0

    run_app(app, body)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((SystemExit, kind) for kind in ("async", "waiting", "thread")),
        (KeyboardInterrupt, "thread"),  # on the loop it is Ctrl-C
        (StopIteration, "thread"),  # in a coroutine it is Python's own affair
    ],
)
def test_what_would_end_a_program_is_a_failure_of_the_job(
    error: type[BaseException], kind: str, hooked: bool
) -> None:
    class Around(Middleware):
        async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
            return await handle()

    app = App(middleware=[Around()] if hooked else [])

    def fail(number: int) -> int:
        if number == 0:
            raise error("enough")
        return number

    async def at_once(number: int) -> int:
        return fail(number)

    async def waiting(number: int) -> int:
        await asyncio.sleep(0)
        return fail(number)

    handler: Any = {"async": at_once, "waiting": waiting, "thread": fail}[kind]
    app.consumer("jobs", retry=Retry(max=1, delay_s=0.0, max_delay_s=0.0))(handler)

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", 0)
        (dead,) = await dead_letters(client, "jobs.dead")
        assert dead.headers["x-exception-type"] == error.__name__
        assert dead.headers["x-attempts"] == 2
        assert (await client.call("jobs", 3)).data == 3

    run_app(app, body)


@pytest.mark.parametrize("waits", [False, True])
def test_an_interrupt_on_the_loop_ends_the_program_and_the_message_goes_back(waits: bool) -> None:
    app = App()
    broker = leveret.Broker()

    @app.consumer("jobs")
    async def handler(body: bytes) -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyboardInterrupt

    async def first() -> None:
        await broker.start()
        async with broker.connect() as client, app.running(client):
            await client.publish("jobs", b"x")
            await asyncio.Event().wait()

    async def second() -> None:
        async with broker.connect() as client:
            message = await client.get("jobs", timeout_s=5)
            assert message is not None
            assert attempts_of(message.headers) == 1
        await broker.stop()

    with asyncio.Runner() as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(first())
        for task in asyncio.all_tasks(runner.get_loop()):  # as Runner.close does
            if task.get_coro().__qualname__.endswith("first"):  # type: ignore[union-attr]
                task.cancel()
        runner.run(second())


def test_a_hook_that_fails_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Middleware):
        def received(self, job: Job) -> None:
            raise ValueError("mine")

    app = App(middleware=[Bad()])

    @app.consumer("jobs")
    async def handler(number: int) -> int:
        return number

    async def body(client: Client, running: Running) -> None:
        assert (await client.call("jobs", 3)).data == 3

    run_app(app, body)
    assert "a middleware's `received` failed" in caplog.text


def test_a_handler_that_keeps_the_loop_is_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leveret.worker.consumer.BLOCKED_S", -1.0)  # whatever it takes is too long
    app = App()

    @app.consumer("jobs")
    async def handler(number: int) -> int:
        return number

    async def body(client: Client, running: Running) -> None:
        for number in range(3):
            assert (await client.call("jobs", number)).data == number

    run_app(app, body)
    assert len([text for text in caplog.messages if text.startswith("handler kept the event loop for")]) == 1


def test_the_log_says_which_message_died_and_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=1, delay_s=0.0, max_delay_s=0.0))
    async def handler(number: int) -> None:
        raise ValueError("broken")

    @app.task(retry=Retry(max=0, dead_letter=False))
    async def known() -> None: ...

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", 1, message_id="m1")
        await dead_letters(client, "jobs.dead")
        await client.publish("tasks", {}, type="newer", message_id="m2")
        await until(lambda: running.counts["tasks"].dead == 1)

    run_app(app, body)
    told = [text for text in caplog.messages if "failed, and it is" in text]
    assert told[0] == "handler: attempt 1 of message m1 failed, and it is retried: ValueError: broken"
    assert (
        told[1] == "handler: attempt 2 of message m1 failed, and it is dead, in jobs.dead: ValueError: broken"
    )
    assert told[2].startswith("queue tasks: attempt 1 of message m2 failed, and it is dead, dropped: ")
