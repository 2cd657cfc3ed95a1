"""Handlers in processes: arguments, results, resources and failures go through, and a process that dies is one failure."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import leveret
from leveret.client import Client
from leveret.worker import Running

from .inside import Body, dead_letters, run, until
from .process_app import Pair, app, total


def run_queue(queue: str, body: Body) -> None:
    async def work(client: Client) -> None:
        async with app.running(client, queues=[queue]) as running:
            await body(client, running)

    run(work)


def test_arguments_and_results_go_through() -> None:
    async def body(client: Client, running: Running) -> None:
        answer = (await client.call("pairs", Pair(1, 2))).decode(Pair)
        assert isinstance(answer, Pair)
        assert answer.left == 3
        assert answer.right != os.getpid()
        await client.publish_many("pairs", [Pair(1, 2)] * 300)
        await until(lambda: running.counts["pairs"].done == 301)
        await client.publish("pairs", {"left": "x", "right": 1})
        (dead,) = await dead_letters(client, "pairs.dead")
        assert "pair.left: expected int, got str" in dead.headers["x-exception"]
        assert dead.headers["x-attempts"] == 1

    run_queue("pairs", body)


def test_what_has_not_begun_when_it_stops_is_given_back(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def body(client: Client, running: Running) -> None:
        await client.publish_many("held", [str(pipe)] * 5)
        end = await asyncio.to_thread(pipe.open, "w")  # the first has it open
        await until(lambda: running.busy == 5)
        stopping = asyncio.ensure_future(running.stop(grace_s=3600))
        await until(lambda: running.counts["held"].released == 4)
        assert running.busy == 1
        end.close()
        await stopping
        assert running.counts["held"].done == 1

    run_queue("held", body)


def test_tasks_are_run_there() -> None:
    async def body(client: Client, running: Running) -> None:
        assert await total.call([1, 2, 3]) == 6
        assert total([1]) == 1

    run_queue("sums", body)


def test_resources_are_the_childs_own() -> None:
    async def body(client: Client, running: Running) -> None:
        assert (await client.call("resources", b"")).data == "True True"

    run_queue("resources", body)


@pytest.mark.parametrize(
    ("what", "kind", "text", "attempts"),
    [
        ("raise", "ValueError", "broken", 2),
        ("reject", "leveret.errors.Reject", "not this", 1),
        ("later", "leveret.errors.RetryLater", "not yet", 2),
        ("exit", "SystemExit", "enough", 2),
        ("die", "leveret.worker.LostJob", "SIGKILL", 2),
    ],
)
def test_failures_are_told(what: str, kind: str, text: str, attempts: int) -> None:
    async def body(client: Client, running: Running) -> None:
        await client.publish("failing", what)
        (dead,) = await dead_letters(client, "failing.dead")
        assert dead.headers["x-exception-type"] == kind
        assert text in dead.headers["x-exception"]
        assert dead.headers["x-attempts"] == attempts
        if what == "raise":
            assert "in failing" in dead.headers["x-traceback"]

    run_queue("failing", body)


def test_a_time_limit_kills() -> None:
    async def body(client: Client, running: Running) -> None:
        with pytest.raises(leveret.CallFailed) as error:
            await client.call("endless", b"")
        assert error.value.kind == "leveret.worker.failures.HandlerTimeout"

    run_queue("endless", body)


def test_what_is_in_a_process_is_released_when_the_worker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leveret.worker.consumer.CANCEL_S", 0.01)

    async def work(client: Client) -> None:
        async with app.running(client, queues=["endless"]) as running:
            await client.publish("endless", b"")
            await until(lambda: running.busy == 1)
            await running.stop(grace_s=0.0)
        assert await client.get("endless", timeout_s=5) is not None

    run(work)
