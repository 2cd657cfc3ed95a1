"""Handlers in threads use their message and the app's client, which belong to the loop's thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import leveret
from leveret.client import Client
from leveret.client.engine.message import Message
from leveret.client.topology import Queue, Retry
from leveret.errors import AlreadySettled, Closed, ConfigError
from leveret.worker import App, Running
from leveret.worker.threaded import ThreadMessage

from .inside import dead_letters, run_app, until


@pytest.mark.parametrize("by_job", [False, True])
@pytest.mark.parametrize("how", ["ack", "release", "retry", "reject", "with"])
def test_a_message_is_settled_from_a_thread(how: str, by_job: bool) -> None:
    app = App()
    seen: list[int] = []
    threads: set[int] = set()

    if by_job:

        @app.resource(scope="job")
        def session() -> int:
            return 1

    def settle(message: Message) -> None:
        threads.add(threading.get_ident())
        seen.append(message.attempts)
        if len(seen) > 1:
            return
        assert isinstance(message, ThreadMessage)
        assert (message.body, message.queue, message.settled) == (b"x", "jobs", False)
        if how == "with":
            with message:
                raise leveret.Reject("not this")
        settled: Any = getattr(message, how)(*{"retry": (0.0,), "reject": ("not this",)}.get(how, ()))
        assert settled is not None
        assert message.settled
        with pytest.raises(AlreadySettled):
            message.ack()

    if by_job:

        @app.consumer("jobs", retry=Retry(max=3))
        def with_session(message: Message, session: int) -> None:
            settle(message)
    else:

        @app.consumer("jobs", retry=Retry(max=3))
        def alone(message: Message) -> None:
            settle(message)

    async def body(client: Client, running: Running) -> None:
        await client.publish("jobs", b"x")
        if how in ("reject", "with"):
            (dead,) = await dead_letters(client, "jobs.dead")
            assert dead.headers["x-reject-reason"] == "not this"
        elif how == "ack":
            await until(lambda: client.stats.acked == 1)
        else:
            await until(lambda: running.counts["jobs"].done == 2)
        assert (await client.look_at_queue("jobs")).messages == 0
        assert threading.get_ident() not in threads

    run_app(app, body)


def test_many_threads_settle_at_once() -> None:
    app = App()

    @app.consumer("jobs", concurrency=8)
    def handler(number: int, message: Message) -> None:
        message.ack()

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("jobs", range(1000))
        await until(lambda: running.counts["jobs"].done == 1000)
        await until(lambda: client.stats.acked == 1000)
        assert (await client.look_at_queue("jobs")).messages == 0

    run_app(app, body)


def test_a_thread_answers_by_itself() -> None:
    app = App()

    @app.consumer("jobs")
    def handler(number: int, message: Message) -> None:
        message.reply(number + 1)
        message.ack()

    async def body(client: Client, running: Running) -> None:
        assert (await client.call("jobs", 1)).data == 2

    run_app(app, body)


def test_a_thread_uses_the_apps_client() -> None:
    app = App()
    errors: list[BaseException] = []

    @app.consumer("jobs", retry=Retry(max=0))
    def handler(number: int) -> list[int]:
        client = app.client
        client.declare_queue(Queue("more"))
        client.publish("more", number)
        client.post("more", number + 1)
        client.flush()
        assert client.server.product
        for name in ("consume", "drain", "subscribe", "close"):
            try:
                getattr(client, name)
            except ConfigError as error:
                errors.append(error)
        found = []
        while (message := client.get("more")) is not None:
            found.append(message.data)
            message.ack()
        return found

    @app.consumer("asked")
    async def asked(number: int) -> int:
        return 2 * number

    @app.consumer("asking", retry=Retry(max=0))
    def asking(number: int) -> int:
        return int(app.client.call("asked", number).data) + int(asyncio.run(double.call(number)))

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    async def body(client: Client, running: Running) -> None:
        assert (await client.call("jobs", 1)).data == [1, 2]
        assert len(errors) == 4
        assert "leveret.connect_sync()" in str(errors[0])
        assert (await client.call("asking", 1)).data == 4
        with pytest.raises(leveret.CallFailed):
            await client.call("jobs", "no number")

    run_app(app, body)


def test_errors_come_back_to_the_thread() -> None:
    app = App()

    @app.consumer("jobs", retry=Retry(max=0))
    def handler(number: int) -> str:
        try:
            app.client.look_at_queue("nowhere")
        except leveret.errors.Refused as error:
            return error.text
        return "no error"

    async def body(client: Client, running: Running) -> None:
        assert "nowhere" in str((await client.call("jobs", 1)).data)

    run_app(app, body)


def test_after_the_end_of_the_loop_it_is_told_that_the_worker_left() -> None:
    async def make() -> ThreadMessage:
        return ThreadMessage(object, asyncio.get_running_loop())

    message = asyncio.run(make())
    message._message = leveret.Message  # anything that has the method
    with pytest.raises(Closed, match="the worker has left"):
        message.ack()


def test_on_the_loop_it_is_called_right_away() -> None:
    class Settled:
        acked = 0

        def ack(self) -> None:
            self.acked += 1

    async def main() -> None:
        inner = Settled()
        ThreadMessage(inner, asyncio.get_running_loop()).ack()
        assert inner.acked == 1

    asyncio.run(main())
