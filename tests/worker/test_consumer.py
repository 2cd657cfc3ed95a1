"""What becomes of messages: done, tried again, dead, released, each as the handler ended, over a real broker."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

import leveret
from leveret.client import Client
from leveret.client.engine.message import Message
from leveret.client.topology import Queue, Retry
from leveret.errors import Reject, RetryLater
from leveret.worker import App, Job, Middleware, Running, consumer

from .inside import AT_ONCE, dead_letters, run_app, until, until_async

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Image(msgspec.Struct):
    path: str
    width: int


async def empty(client: Client, queue: str) -> bool:
    return (await client.look_at_queue(queue)).messages == 0


@pytest.mark.parametrize("waits", [False, True])
def test_what_is_done_is_acked(waits: bool) -> None:
    app = App()
    seen: list[int] = []

    @app.consumer("jobs")
    async def handler(number: int) -> None:
        if waits:
            await asyncio.sleep(0)
        seen.append(number)

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(500))
        await until(lambda: running.counts["jobs"].done == 500)
        await until(lambda: client.stats.acked == 500)
        assert sorted(seen) == list(range(500))

    run_app(app, body)


def test_blocking_code_runs_in_threads() -> None:
    import threading

    app = App()
    threads: set[int] = set()

    @app.consumer("jobs", concurrency=3)
    def handler(number: int) -> None:
        threads.add(threading.get_ident())

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(50))
        await until(lambda: running.counts["jobs"].done == 50)
        assert threading.get_ident() not in threads
        assert 1 <= len(threads) <= 3

    run_app(app, body)


@pytest.mark.parametrize(
    ("options", "how", "most"),
    [
        ({}, "plain", 128),
        ({"prefetch": 10}, "plain", 10),
        ({"prefetch": 1}, "plain", 2),
        ({}, "by_job", 2),
        ({}, "around", 2),
    ],
)
def test_a_pool_of_threads_has_more_in_hand_than_it_works_on(
    options: dict[str, Any], how: str, most: int
) -> None:
    import threading

    class Around(Middleware):
        async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
            return await handle()

    app = App(middleware=[Around()] if how == "around" else [])
    go_on = threading.Event()
    begun: list[int] = []

    if how == "by_job":

        @app.resource(scope="job")
        def session() -> int:
            return 1

        @app.consumer("jobs", concurrency=2, **options)
        def with_session(number: int, session: int) -> None:
            if number:
                begun.append(number)
                go_on.wait(20)
    else:

        @app.consumer("jobs", concurrency=2, **options)
        def handler(number: int) -> None:
            if number:
                begun.append(number)
                go_on.wait(20)

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", [0] * 300)
        await until(lambda: running.counts["jobs"].done == 300)
        await client.publish_many("jobs", range(1, 201))
        wanted = options.get("prefetch", most)
        at_work = min(2, wanted)
        await until(lambda: running.busy >= (16 if wanted > 16 else wanted) and len(begun) == at_work)
        assert running.busy <= most
        stopping = asyncio.ensure_future(running.stop())
        await until(lambda: not client.consumers)
        assert running.busy == at_work  # the rest was given back, or was never here
        go_on.set()
        await stopping
        assert running.counts["jobs"].done == 300 + at_work

    run_app(app, body)


def test_no_more_at_once_than_told() -> None:
    app = App()
    now = most = 0

    @app.consumer("jobs", concurrency=3, prefetch=20)
    async def handler(number: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now -= 1

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(60))
        await until(lambda: running.counts["jobs"].done == 60)
        assert most == 3

    run_app(app, body)


@pytest.mark.parametrize("kind", ["async", "waiting", "thread"])
def test_failures_are_tried_again_by_the_broker_and_then_dead(kind: str) -> None:
    app = App()
    attempts: list[int] = []

    def fail(message: Message) -> None:
        attempts.append(message.attempts)
        raise ValueError("broken")

    async def at_once(body: bytes, message: Message) -> None:
        fail(message)

    async def waiting(body: bytes, message: Message) -> None:
        await asyncio.sleep(0)
        fail(message)

    def thread(body: bytes, message: Message) -> None:
        fail(message)

    handler: Any = {"async": at_once, "waiting": waiting, "thread": thread}[kind]
    app.consumer("jobs", retry=AT_ONCE)(handler)

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"x", headers={"mine": 1}, message_id="m1")
        (dead,) = await dead_letters(client, "jobs.dead")
        assert attempts == [1, 2, 3]
        assert (dead.body, dead.message_id, dead.headers["mine"]) == (b"x", "m1", 1)
        assert dead.headers["x-exception"] == "broken"
        assert dead.headers["x-exception-type"] == "ValueError"
        assert dead.headers["x-attempts"] == 3
        assert dead.headers["x-failed-queue"] == "jobs"
        assert "in fail" in dead.headers["x-traceback"]
        assert "consumer.py" not in dead.headers["x-traceback"].replace("test_consumer.py", "")
        counts = running.counts["jobs"]
        assert (counts.retried, counts.dead, counts.done) == (2, 1, 0)
        assert await empty(client, "jobs")

    run_app(app, body)


def test_a_waiting_retry_holds_no_slot() -> None:
    app = App()
    seen: list[str] = []

    @app.consumer("jobs", concurrency=1, retry=Retry(max=1, delay_s=3600))
    async def handler(body: str) -> None:
        seen.append(body)
        if body == "broken":
            raise ValueError

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", "broken")
        await client.publish("jobs", "fine")
        await until(lambda: seen == ["broken", "fine"])
        assert running.busy == 0

    run_app(app, body)


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_arguments_that_do_not_fit_are_dead_at_once(kind: str) -> None:
    app = App()

    async def coroutine(image: Image) -> None: ...

    def plain(image: Image) -> None: ...

    app.consumer("jobs", retry=AT_ONCE)({"async": coroutine, "thread": plain}[kind])

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", {"path": "a", "width": "wide"})
        (dead,) = await dead_letters(client, "jobs.dead")
        assert "image.width: expected int, got str" in dead.headers["x-exception"]
        assert dead.headers["x-attempts"] == 1
        assert running.counts["jobs"].rejected == 1

    run_app(app, body)


def test_reject_and_retry_later() -> None:
    app = App()
    seen: list[tuple[str, int]] = []

    @app.consumer("jobs", retry=AT_ONCE)
    async def handler(body: str, message: Message) -> None:
        seen.append((body, message.attempts))
        if body == "never":
            raise Reject("not for us")
        if message.attempts == 1:
            raise RetryLater("not yet", delay_s=0.01)

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", "never")
        await client.publish("jobs", "later")
        (dead,) = await dead_letters(client, "jobs.dead")
        assert dead.headers["x-exception"] == "not for us"
        await until(lambda: running.counts["jobs"].done == 1)
        assert sorted(seen) == [("later", 1), ("later", 2), ("never", 1)]

    run_app(app, body)


def test_without_dead_letters_what_failed_is_dropped() -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=0, dead_letter=False))
    async def handler(body: bytes) -> None:
        raise ValueError

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"")
        await until(lambda: running.counts["jobs"].dead == 1)
        with pytest.raises(leveret.errors.Refused):
            await client.look_at_queue("jobs.dead")

    run_app(app, body)


def test_a_message_that_the_handler_settles_itself_is_left_alone() -> None:
    app = App()

    @app.consumer("jobs")
    async def handler(message: Message) -> None:
        if message.attempts == 1:
            message.release()
        else:
            message.ack()

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"x")
        await until(lambda: running.counts["jobs"].done == 2)
        assert await empty(client, "jobs")

    run_app(app, body)


def test_results_are_answers() -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=0))
    async def handler(number: int) -> dict[str, int]:
        if number < 0:
            raise ValueError("below zero")
        return {"double": 2 * number}

    @app.consumer("threads", retry=Retry(max=0))
    def blocking(number: int) -> None: ...

    async def body(client: Client, running: Running) -> None:
        assert (await client.call("jobs", 4)).data == {"double": 8}
        assert (await client.call("threads", 4)).data is None
        with pytest.raises(leveret.errors.CallFailed, match="below zero") as error:
            await client.call("jobs", -1)
        assert error.value.kind == "ValueError"

    run_app(app, body)


def test_a_result_that_cannot_be_sent_is_a_failure() -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=0))
    async def handler(body: bytes) -> object:
        return object()

    async def body(client: Client, running: Running) -> None:
        with pytest.raises(leveret.errors.CallFailed, match="object"):
            await client.call("jobs", b"")
        assert running.counts["jobs"].done == 0

    run_app(app, body)


def test_a_time_limit_cancels_and_counts_as_a_failure() -> None:
    app = App()
    ended: list[str] = []

    @app.consumer("jobs", timeout_s=0.02, retry=Retry(max=0))
    async def handler(body: bytes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"")
        (dead,) = await dead_letters(client, "jobs.dead")
        assert dead.headers["x-exception-type"] == "leveret.worker.failures.HandlerTimeout"
        assert ended == ["ended"]

    run_app(app, body)


def test_a_handler_that_does_not_end_is_abandoned_and_its_message_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "ABANDON_S", 0.02)
    app = App()
    stuck = asyncio.Event()

    @app.consumer("jobs", timeout_s=0.01, concurrency=1, retry=AT_ONCE)
    async def handler(body: bytes, message: Message) -> None:
        while message.attempts == 1 and not stuck.is_set():
            try:
                await stuck.wait()
            except asyncio.CancelledError:
                continue

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"")
        await until(lambda: running.counts["jobs"].done == 1)
        assert running.counts["jobs"].abandoned == 1
        stuck.set()

    run_app(app, body)


def test_context_variables_of_one_message_are_not_seen_by_the_next() -> None:
    app = App()
    seen: list[int] = []

    @app.consumer("jobs", concurrency=1)
    async def handler(number: int) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(number)

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(1, 6))
        await until(lambda: running.counts["jobs"].done == 5)
        assert seen == [0] * 5

    run_app(app, body)


def test_unknown_tasks_are_left_for_newer_workers() -> None:
    app = App()

    @app.task(retry=Retry(max=0))
    async def known() -> None: ...

    async def body(client: Client, running: Running) -> None:
        await client.publish("tasks", {"args": [], "kwargs": {}}, type="newer")
        (dead,) = await dead_letters(client, "tasks.dead")
        assert (
            "no task 'newer' is known here for queue 'tasks'; there are known" in dead.headers["x-exception"]
        )

    run_app(app, body)


def test_what_a_lost_connection_had_comes_again() -> None:
    from ..client.inside import cut

    app = App()
    seen: list[int] = []
    go_on = asyncio.Event()

    @app.consumer("jobs", retry=Retry(max=3, delay_s=0.0, max_delay_s=0.0))
    async def handler(message: Message) -> None:
        seen.append(message.attempts)
        if len(seen) == 1:
            await go_on.wait()

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"x")
        await until(lambda: len(seen) == 1)
        await cut(client)
        await until(lambda: running.counts["jobs"].done == 1)
        go_on.set()
        await until(lambda: running.counts["jobs"].stale == 1)
        assert len(seen) == 2

    run_app(app, body)


def test_a_queue_that_is_there_otherwise_is_refused() -> None:
    app = App()

    @app.consumer("jobs")
    async def handler(body: bytes) -> None: ...

    async def body(client: Client, running: Running) -> None: ...

    async def main(client: Client) -> None:
        await client.declare_queue(Queue("jobs", max_length=3))
        with pytest.raises(
            leveret.errors.Refused, match=r"handler wants queue 'jobs' otherwise.*inequivalent.*Delete"
        ):
            async with app.running(client):
                pass
        with pytest.raises(leveret.errors.Closed):
            _ = app.client

    from .inside import run

    run(main)


def test_many_queues_at_once() -> None:
    app = App()
    done: list[str] = []

    def make(queue: str) -> None:
        async def handler(body: bytes) -> None:
            done.append(queue)

        app.consumer(queue, name=queue)(handler)

    for number in range(5):
        make(f"queue{number}")

    async def body(client: Client, running: Running) -> None:
        for number in range(5):
            await client.publish(f"queue{number}", b"")
        await until_async(lambda: all_done())
        assert sorted(done) == [f"queue{number}" for number in range(5)]

    async def all_done() -> bool:
        await asyncio.sleep(0)
        return len(done) == 5

    run_app(app, body)
