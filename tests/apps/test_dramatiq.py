"""Dramatiq with its RabbitMQ broker: delays, retries, dead letters, priorities, workers that are killed.

For each queue it declares three: the queue itself and `.DQ` for what is delayed, both with a dead-letter
routing key, and `.XQ` for the dead, with a message TTL.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.broker import Address
from tests.compat.waiting import eventually

from .journal import noted
from .looking import take, waiting
from .processes import Program, program

dramatiq = pytest.importorskip("dramatiq", reason="tests/apps/pinned.txt is not installed")
rabbitmq = pytest.importorskip("dramatiq.brokers.rabbitmq")

DONE_TIMEOUT_S = 30
DEAD_MESSAGE_TTL_MS = 7 * 24 * 3600 * 1000


@contextlib.contextmanager
def worker(
    address: Address, queue: str, folder: Path, threads: int = 4, **variables: str
) -> Iterator[Program]:
    environment = {"BROKER_URL": address.url, "ACTOR_QUEUE": queue, **variables}
    arguments = ["dramatiq", "tests.apps.dramatiq_app", "--processes", "1", "--threads", str(threads)]
    with program(folder, environment, *arguments) as started:
        started.wait_for("Worker process is ready for action")
        yield started


@pytest.fixture
def queue(fresh: Callable[..., str]) -> str:
    return fresh("dramatiq", ".DQ", ".XQ")


@pytest.fixture(scope="module")
def served(
    address: Address, fresh: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A queue with a worker."""
    queue = fresh("dramatiq", ".DQ", ".XQ")
    with worker(address, queue, tmp_path_factory.mktemp("dramatiq")):
        yield queue


@pytest.fixture
def caller(address: Address) -> Iterator[Any]:
    """The side that sends messages to actors which it knows by name."""
    broker = rabbitmq.RabbitmqBroker(url=address.url, confirm_delivery=True, max_priority=10)
    yield broker
    broker.close()


def send(
    caller: Any, queue: str, actor: str, *args: object, delay_ms: int | None = None, **options: object
) -> Any:
    message = dramatiq.Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options=options)
    return caller.enqueue(message, delay=delay_ms)


def wait_for(journal: Path, event: str, count: int) -> list[dict[str, Any]]:
    eventually(lambda: len(noted(journal, event)) >= count, f"{count} times {event!r}", DONE_TIMEOUT_S)
    return noted(journal, event)


def test_every_message_runs_once(served: str, caller: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for number in range(100):
        send(caller, served, "run", str(journal), number)
    ran = wait_for(journal, "run", 100)
    assert sorted(line["number"] for line in ran) == list(range(100))


def test_delays_are_independent_of_each_other(
    address: Address, queue: str, caller: Any, conn: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    sent = time.time()
    for number, delay_ms in enumerate((3000, 1500, 2200)):
        send(caller, queue, "run", str(journal), number, delay_ms=delay_ms)
    assert (waiting(conn, queue), waiting(conn, f"{queue}.DQ")) == (0, 3)
    with worker(address, queue, tmp_path):
        ran = wait_for(journal, "run", 3)
    assert [line["number"] for line in ran] == [1, 2, 0]
    assert all(line["time"] - sent >= due for line, due in zip(ran, (1.5, 2.2, 3.0), strict=True))
    assert waiting(conn, f"{queue}.DQ") == 0


def test_retries(served: str, caller: Any, conn: Any, tmp_path: Path) -> None:
    """Dramatiq tries again by publishing the message anew, delayed."""
    journal = tmp_path / "journal"
    send(caller, served, "fail", str(journal), 2)
    wait_for(journal, "succeeded", 1)
    assert len(noted(journal, "tried")) == 3
    assert [waiting(conn, served + ending) for ending in ("", ".DQ", ".XQ")] == [0, 0, 0]


def test_what_fails_too_often_is_dead_lettered(served: str, caller: Any, conn: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    sent = send(caller, served, "fail", str(journal), 99)
    eventually(lambda: waiting(conn, f"{served}.XQ") == 1, "the dead letter is there", DONE_TIMEOUT_S)
    assert len(noted(journal, "tried")) == 4
    assert (waiting(conn, served), waiting(conn, f"{served}.DQ")) == (0, 0)
    dead = take(conn, f"{served}.XQ")
    assert dramatiq.Message.decode(dead.body).message_id == sent.message_id
    (death,) = dead.headers["x-death"]
    assert (death["queue"], death["reason"], death["exchange"], death["routing-keys"]) == (
        served,
        "rejected",
        "",
        [served],
    )


def test_a_message_for_nobody_is_dead_lettered(served: str, caller: Any, conn: Any) -> None:
    send(caller, served, "no-such-actor")
    assert take(conn, f"{served}.XQ").headers["x-first-death-reason"] == "rejected"


def test_the_dead_are_kept_for_a_week(queue: str, caller: Any, conn: Any) -> None:
    """The queue of the dead is as Dramatiq declared it: with the same TTL it may be declared again, with another not."""
    caller.declare_queue(queue, ensure=True)
    arguments = {"x-message-ttl": DEAD_MESSAGE_TTL_MS}
    conn.channel().queue_declare(f"{queue}.XQ", durable=True, arguments=arguments)
    with pytest.raises(rabbitmq.pika.exceptions.ChannelClosedByBroker) as caught:
        conn.channel().queue_declare(f"{queue}.XQ", durable=True, arguments={"x-message-ttl": 1})
    assert caught.value.reply_code == 406


def test_the_highest_priority_runs_first(address: Address, queue: str, caller: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    priorities = [index * 7 % 10 for index in range(30)]
    for priority in priorities:
        send(caller, queue, "run", str(journal), priority, broker_priority=priority)
    with worker(address, queue, tmp_path, threads=1, dramatiq_queue_prefetch="1"):
        ran = wait_for(journal, "run", 30)
    assert [line["number"] for line in ran] == sorted(priorities, reverse=True)


def test_a_message_comes_back_when_its_worker_is_killed(
    address: Address, queue: str, caller: Any, tmp_path: Path
) -> None:
    journal, finish = tmp_path / "journal", tmp_path / "finish"
    with worker(address, queue, tmp_path) as first:
        send(caller, queue, "long_job", str(journal), str(finish))
        send(caller, queue, "run", str(journal), 1, delay_ms=2500)  # this one is in the worker's memory
        wait_for(journal, "started", 1)
        first.kill()
    assert noted(journal, "run") == []
    finish.touch()
    with worker(address, queue, tmp_path):
        wait_for(journal, "finished", 1)
        wait_for(journal, "run", 1)
    assert len({line["pid"] for line in noted(journal, "started")}) == 2
