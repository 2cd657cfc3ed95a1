"""An app at work: what is made before the first message, what happens at the end, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import leveret
from leveret.client import Client
from leveret.client.engine.message import Message
from leveret.client.features import Features
from leveret.client.topology import Retry
from leveret.errors import Unsupported
from leveret.worker import App, Job, Middleware, Running
from leveret.worker.failures import attempts_of

from .inside import AT_ONCE, dead_letters, run, run_app, until


class Noting(Middleware):
    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name = name
        self.notes = notes

    async def started(self, app: Any) -> None:
        self.notes.append((self.name, "started"))

    async def stopped(self) -> None:
        self.notes.append((self.name, "stopped"))

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        self.notes.append((self.name, "before"))
        try:
            return await handle()
        finally:
            self.notes.append((self.name, "after"))

    def finished(self, job: Job, outcome: str, error: BaseException | None, seconds_s: float) -> None:
        self.notes.append((self.name, outcome, type(error).__name__))


@pytest.mark.parametrize("pool", ["async", "thread"])
def test_middleware_is_around_every_job(pool: str) -> None:
    notes: list[Any] = []
    app = App(middleware=[Noting("outer", notes), Noting("inner", notes)])

    async def coroutine(number: int) -> int:
        notes.append("handler")
        return 10 // number

    def plain(number: int) -> int:
        notes.append("handler")
        return 10 // number

    app.consumer("jobs", retry=Retry(max=0))(coroutine if pool == "async" else plain)

    async def body(client: Client, running: Running) -> None:
        assert (await client.call("jobs", 5)).data == 2
        with pytest.raises(leveret.CallFailed):
            await client.call("jobs", 0)

    run_app(app, body)
    around = [("outer", "before"), ("inner", "before"), "handler", ("inner", "after"), ("outer", "after")]
    assert notes == [
        ("outer", "started"), ("inner", "started"),
        *around, ("outer", "done", "NoneType"), ("inner", "done", "NoneType"),
        *around, ("outer", "dead", "ZeroDivisionError"), ("inner", "dead", "ZeroDivisionError"),
        ("inner", "stopped"), ("outer", "stopped"),
    ]  # fmt: skip


def test_middleware_decides() -> None:
    class Refusing(Middleware):
        async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
            if job.message.body == b"1":
                raise leveret.Reject("no ones")
            if job.message.body == b"2":
                return "by me"
            return await handle()

    app = App(middleware=[Refusing()])

    @app.consumer("jobs")
    async def handler(number: int) -> str:
        return "by the handler"

    async def body(client: Client, running: Running) -> None:
        with pytest.raises(leveret.CallFailed, match="no ones"):
            await client.call("jobs", 1)
        assert (await client.call("jobs", 2)).data == "by me"
        assert (await client.call("jobs", 3)).data == "by the handler"

    run_app(app, body)


def test_resources_live_as_long_as_they_say() -> None:
    app = App()
    notes: list[str] = []

    @app.resource
    async def database() -> AsyncIterator[str]:
        notes.append("database opened")
        yield "database"
        notes.append("database closed")

    @app.resource(scope="job")
    async def session(database: str) -> AsyncIterator[str]:
        notes.append(f"session of {database}")
        yield "session"
        notes.append("session closed")

    @app.consumer("jobs")
    async def handler(body: bytes, database: str) -> str:
        return database

    @app.consumer("sessions")
    async def with_session(body: bytes, session: str, message: Message) -> str:
        return session

    @app.consumer("threads")
    def in_thread(body: bytes, session: str, database: str) -> str:
        return session + database

    async def body(client: Client, running: Running) -> None:
        assert notes == ["database opened"]
        assert (await client.call("jobs", b"")).data == "database"
        for _ in range(2):
            assert (await client.call("sessions", b"")).data == "session"
        assert (await client.call("threads", b"")).data == "sessiondatabase"

    run_app(app, body)
    a_session = ["session of database", "session closed"]
    assert notes == ["database opened", *a_session * 3, "database closed"]


def test_what_cannot_be_made_is_told_and_everything_undone() -> None:
    app = App()
    notes: list[str] = []

    @app.resource
    async def first() -> AsyncIterator[str]:
        yield "first"
        notes.append("closed")

    @app.resource
    async def second() -> str:
        raise OSError("no route")

    @app.consumer("jobs")
    async def handler(body: bytes, first: str, second: str) -> None: ...

    async def main(client: Client) -> None:
        with pytest.raises(Exception, match="no route"):
            await app.running(client).start()
        assert notes == ["closed"]
        assert not client.consumers

    run(main)


def test_leaving_finishes_what_is_in_work() -> None:
    app = App()
    seen: list[int] = []
    finish = asyncio.Event

    @app.consumer("jobs", concurrency=2, prefetch=10)
    async def handler(number: int) -> None:
        seen.append(number)
        await held.wait()

    held: asyncio.Event

    async def main(client: Client) -> None:
        nonlocal held
        held = finish()
        async with app.running(client) as running:
            await client.publish_many("jobs", range(6))
            await until(lambda: len(seen) == 2)
            stopping = asyncio.ensure_future(running.stop())
            await until(lambda: not client.consumers)
            held.set()
            await stopping
        counts = running.counts["jobs"]
        assert counts.done == 2
        assert len(seen) == 2
        await until(lambda: client.stats.acked == 2)
        found = [message async for message in client.drain("jobs")]
        assert len(found) == 4
        assert all(attempts_of(message.headers) == 1 for message in found)

    run(main)


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_does_not_end_in_time_is_released(stubborn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leveret.worker.consumer.CANCEL_S", 0.01)
    app = App()
    held: asyncio.Event
    begun: list[int] = []

    @app.consumer("jobs")
    async def handler(number: int) -> None:
        begun.append(number)
        while not held.is_set():
            try:
                await held.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    async def main(client: Client) -> None:
        nonlocal held
        held = asyncio.Event()
        async with app.running(client) as running:
            await client.publish("jobs", 1)
            await until(lambda: begun == [1])
            await running.stop(grace_s=0.0)
        assert running.counts["jobs"].released == 1
        message = await client.get("jobs", timeout_s=5)
        assert message is not None
        held.set()
        await asyncio.sleep(0)

    run(main)


def test_in_a_hurry_there_is_no_grace() -> None:
    app = App()
    begun: list[int] = []

    @app.consumer("jobs")
    async def handler(number: int) -> None:
        begun.append(number)
        await asyncio.Event().wait()

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", 1)
        await until(lambda: begun == [1])
        stopping = asyncio.ensure_future(running.stop(grace_s=3600))
        await until(lambda: not client.consumers)
        running.hurry()
        await stopping
        assert running.counts["jobs"].released == 1

    run_app(app, body)


class Hung:
    """A consumer whose broker does not answer."""

    queue = "jobs"

    def __init__(self, closing: list[Hung]) -> None:
        self._closing = closing

    async def close(self) -> None:
        self._closing.append(self)
        await asyncio.Event().wait()


@pytest.mark.parametrize("hurries", [False, True])
def test_a_broker_that_does_not_answer_has_no_longer_than_handlers(
    monkeypatch: pytest.MonkeyPatch, hurries: bool
) -> None:
    monkeypatch.setattr("leveret.worker.running.CLOSE_S", 0.0)
    app = App()
    closing: list[Hung] = []

    @app.consumer("jobs")
    async def handler(number: int) -> None: ...

    async def body(client: Client, running: Running) -> None:
        running._consumers.extend([Hung(closing), Hung(closing)])
        stopping = asyncio.ensure_future(running.stop(grace_s=3600 if hurries else 0.0))
        await until(lambda: len(closing) == 2)  # at the same time
        if hurries:
            assert not stopping.done()
            running.hurry()
        await until(stopping.done)
        await stopping

    run_app(app, body)


def test_a_blocked_thread_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr("leveret.worker.consumer.CANCEL_S", 0.01)
    app = App()
    go_on = threading.Event()
    begun = threading.Event()

    @app.consumer("jobs", concurrency=1)
    def handler(body: bytes) -> None:
        begun.set()
        go_on.wait()

    async def main(client: Client) -> None:
        async with app.running(client) as running:
            await client.publish("jobs", b"")
            await until(begun.is_set)
            await running.stop(grace_s=0.0)
        assert await client.get("jobs", timeout_s=5) is not None
        go_on.set()

    run(main)


def test_errors_are_told() -> None:
    app = App()
    told: list[tuple[str, bytes]] = []

    @app.consumer("jobs", retry=AT_ONCE)
    async def handler(body: bytes) -> None:
        raise ValueError("broken")

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"x")
        await dead_letters(client, "jobs.dead")
        assert told == [("broken", b"x")] * 3

    run_app(app, body, on_error=lambda error, message: told.append((str(error), message.body)))


def test_a_subscriber_with_a_name_gathers_and_one_without_does_not() -> None:
    app = App()
    seen: list[tuple[str, str]] = []

    @app.subscriber("orders.*.created", name="billing")
    async def billing(body: str, message: Message) -> None:
        seen.append(("billing", message.key))

    @app.subscriber("orders.#")
    async def watching(body: str, message: Message) -> None:
        seen.append(("watching", message.key))

    async def main(client: Client) -> None:
        async with app.running(client):
            await client.publish(leveret.topic("orders.eu.created"), "1")
            await client.publish(leveret.topic("orders.eu.paid"), "2")
            await until(lambda: len(seen) == 3)
        await client.publish(leveret.topic("orders.us.created"), "3", mandatory=False)
        async with app.running(client):
            await until(lambda: len(seen) == 4)
        assert sorted(seen) == [
            ("billing", "orders.eu.created"), ("billing", "orders.us.created"),
            ("watching", "orders.eu.created"), ("watching", "orders.eu.paid"),
        ]  # fmt: skip

    run(main)


def test_only_some_queues() -> None:
    app = App()

    @app.consumer("one")
    async def one(body: bytes) -> None: ...

    @app.consumer("two")
    async def two(body: bytes) -> None: ...

    async def body(client: Client, running: Running) -> None:
        async with app.running(client, queues=["two"]) as other:
            assert other.queues == ["two"]

    run_app(app, body, concurrency=7)


def test_another_concurrency_for_all() -> None:
    app = App()

    @app.consumer("jobs", concurrency=3)
    async def handler(body: bytes) -> None: ...

    async def body(client: Client, running: Running) -> None:
        (runner,) = running._runners
        assert runner.concurrency == 7

    run_app(app, body, concurrency=7)


def test_the_end_of_a_consumer_is_told() -> None:
    app = App()

    @app.consumer("jobs")
    async def handler(body: bytes) -> None: ...

    async def body(client: Client, running: Running) -> None:
        await client.close()
        await until(running.ended.done)

    run_app(app, body)


@pytest.mark.parametrize("options", [{"group_by": "customer"}])
def test_what_the_broker_does_not_have_is_refused(options: dict[str, Any]) -> None:
    app = App()

    @app.consumer("jobs", **options)
    async def handler(body: bytes) -> None: ...

    async def main(client: Client) -> None:
        client.features = Features()
        with pytest.raises(Unsupported, match="message groups of queue 'jobs'"):
            await app.running(client).start()

    run(main)
