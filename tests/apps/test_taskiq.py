"""Taskiq with taskiq-aio-pika: delays by a dead-lettering queue and by x-delayed-message, retries, priorities,
dead letters, workers that are killed. Its queues are quorum queues unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.broker import Address
from tests.compat.waiting import eventually

from .journal import noted
from .looking import take, waiting
from .processes import Program, program

pytest.importorskip("taskiq_aio_pika", reason="tests/apps/pinned.txt is not installed")
aiormq = pytest.importorskip("aiormq")

from .taskiq_app import make_broker, register

DONE_TIMEOUT_S = 30


@contextlib.contextmanager
def worker(address: Address, queue: str, kind: str, folder: Path) -> Iterator[Program]:
    environment = {"BROKER_URL": address.url, "TASK_QUEUE": queue, "QUEUE_KIND": kind}
    with program(
        folder, environment, "taskiq", "worker", "tests.apps.taskiq_app:broker", "--workers", "1"
    ) as started:
        started.wait_for("Listening started")
        yield started


@pytest.fixture
def queue(fresh: Callable[..., str]) -> str:
    return fresh("taskiq", ".delay", ".dead", ".plugin_delay")


@pytest.fixture(scope="module")
def served(
    address: Address, fresh: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A queue with a worker."""
    queue = fresh("taskiq", ".delay", ".dead")
    with worker(address, queue, "quorum", tmp_path_factory.mktemp("taskiq")):
        yield queue


def call(address: Address, queue: str, kind: str, ask: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Let `ask` send tasks, which it is given by their names."""

    async def main() -> None:
        broker = make_broker(address.url, queue, kind)
        tasks = register(broker)
        await broker.startup()
        try:
            await ask(tasks)
        finally:
            await broker.shutdown()

    asyncio.run(main())


def wait_for(journal: Path, event: str, count: int) -> list[dict[str, Any]]:
    eventually(lambda: len(noted(journal, event)) >= count, f"{count} times {event!r}", DONE_TIMEOUT_S)
    return noted(journal, event)


def test_every_task_runs_once(address: Address, served: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    async def ask(tasks: dict[str, Any]) -> None:
        for number in range(100):
            await tasks["run"].kiq(str(journal), number)

    call(address, served, "quorum", ask)
    ran = wait_for(journal, "run", 100)
    assert [line["number"] for line in ran] == list(range(100))


def test_delayed_tasks_wait_in_a_queue_of_their_own(
    address: Address, served: str, conn: Any, tmp_path: Path
) -> None:
    """Each has an expiration, and the queue dead-letters what has expired to the exchange of tasks."""
    journal = tmp_path / "journal"
    delays_s = (0.8, 1.4, 2.0)  # a shorter one behind a longer one would wait for it on RabbitMQ
    sent = time.time()

    async def ask(tasks: dict[str, Any]) -> None:
        for number, delay in enumerate(delays_s):
            await tasks["run"].kicker().with_labels(delay=delay).kiq(str(journal), number)

    call(address, served, "quorum", ask)
    assert waiting(conn, f"{served}.delay") > 0
    ran = wait_for(journal, "run", 3)
    assert [line["number"] for line in ran] == [0, 1, 2]
    assert all(line["time"] - sent >= delay for line, delay in zip(ran, delays_s, strict=True))
    assert (waiting(conn, served), waiting(conn, f"{served}.delay")) == (0, 0)


def test_delays_by_a_delaying_exchange(address: Address, queue: str, product: str, tmp_path: Path) -> None:
    """What is due first comes first, in whatever order it was sent."""
    journal = tmp_path / "journal"
    delays_s = (2.0, 0.8, 1.4)
    sent = time.time()

    async def ask(tasks: dict[str, Any]) -> None:
        for number, delay in enumerate(delays_s):
            await tasks["run"].kicker().with_labels(delay=delay).kiq(str(journal), number)

    try:
        call(address, queue, "plugin", ask)
    except aiormq.exceptions.AMQPError:
        if product == "RabbitMQ":
            pytest.skip("RabbitMQ has x-delayed-message with a plugin that it does not bring")
        raise
    with worker(address, queue, "plugin", tmp_path):
        ran = wait_for(journal, "run", 3)
    assert [line["number"] for line in ran] == [1, 2, 0]
    assert all(line["time"] - sent >= delay for line, delay in zip(ran, sorted(delays_s), strict=True))


def test_retries_with_a_delay(address: Address, served: str, conn: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    async def ask(tasks: dict[str, Any]) -> None:
        await tasks["fail"].kiq(str(journal), 3)

    call(address, served, "quorum", ask)
    wait_for(journal, "succeeded", 1)
    times = [line["time"] for line in noted(journal, "tried")]
    assert len(times) == 4
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(times))
    assert (waiting(conn, served), waiting(conn, f"{served}.delay")) == (0, 0)


def test_the_highest_priority_runs_first(address: Address, queue: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    priorities = [index * 7 % 10 for index in range(30)]

    async def ask(tasks: dict[str, Any]) -> None:
        for priority in priorities:
            await tasks["run"].kicker().with_labels(priority=priority).kiq(str(journal), priority)

    call(address, queue, "priorities", ask)
    with worker(address, queue, "priorities", tmp_path):
        ran = wait_for(journal, "run", 30)
    assert [line["number"] for line in ran] == sorted(priorities, reverse=True)


def test_a_full_queue_dead_letters_its_oldest(
    address: Address, queue: str, conn: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"

    async def ask(tasks: dict[str, Any]) -> None:
        for number in range(5):
            await tasks["run"].kiq(str(journal), number)

    call(address, queue, "short", ask)
    for _ in range(2):
        dead = take(conn, f"{queue}.dead")
        assert (dead.headers["task_name"], dead.headers["x-first-death-reason"]) == ("run", "maxlen")
    with worker(address, queue, "short", tmp_path):
        ran = wait_for(journal, "run", 3)
    assert [line["number"] for line in ran] == [2, 3, 4]


def test_a_task_comes_back_when_its_worker_is_killed(address: Address, queue: str, tmp_path: Path) -> None:
    journal, finish = tmp_path / "journal", tmp_path / "finish"

    async def ask(tasks: dict[str, Any]) -> None:
        await tasks["long_job"].kiq(str(journal), str(finish))

    with worker(address, queue, "quorum", tmp_path) as first:
        call(address, queue, "quorum", ask)
        wait_for(journal, "started", 1)
        first.kill()
    finish.touch()
    with worker(address, queue, "quorum", tmp_path):
        wait_for(journal, "finished", 1)
    assert len({line["pid"] for line in noted(journal, "started")}) == 2
