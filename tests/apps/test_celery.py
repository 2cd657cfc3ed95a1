"""Celery on classic queues with priorities and dead letters, and on quorum queues with native delayed delivery.

Workers run in processes of their own. The caller's side is an application with the same settings.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.compat import clients
from tests.compat.broker import Address, Leveret
from tests.compat.waiting import eventually

from .looking import take, waiting
from .processes import Program, program

celery = pytest.importorskip("celery", reason="tests/apps/pinned.txt is not installed")
pools = pytest.importorskip("kombu.pools")
native = pytest.importorskip("kombu.transport.native_delayed_delivery")

from .celery_app import settings

RESULT_TIMEOUT_S = 30


@contextlib.contextmanager
def calling(address: Address, queue: str, kind: str) -> Iterator[Any]:
    """The caller's side: an application with the worker's settings, that knows the tasks by their names."""
    app = celery.Celery(broker=address.url, backend="rpc://")
    app.conf.update(settings(queue, kind))
    yield app
    consumer = app.backend.result_consumer  # neither this nor the pools close with the application
    if consumer._connection is not None:
        consumer.stop()
    pools.reset()
    app.close()


@contextlib.contextmanager
def worker(
    address: Address, queue: str, kind: str, folder: Path, *options: str, scheme: str = "amqp"
) -> Iterator[Program]:
    """A `celery worker` that tells of its tasks, ready when the context begins."""
    name = f"{uuid.uuid4().hex[:8]}@apps"
    url = address.url.replace("amqp", scheme, 1)
    environment = {"BROKER_URL": url, "TASK_QUEUE": queue, "QUEUE_KIND": kind}
    arguments = [
        "celery",
        "-A",
        "tests.apps.celery_app",
        "worker",
        "--hostname",
        name,
        "--loglevel",
        "INFO",
        "-E",
    ]
    with program(folder, environment, *arguments, *options) as started:
        started.wait_for(f"{name} ready")
        started.name = name
        yield started


def replies(ask: Callable[[], Any]) -> Any:
    """Orders are not kept for a worker that is not there yet: ask until there is an answer."""
    return eventually(ask, "the worker answers", RESULT_TIMEOUT_S)


def inspect(app: Any, asked: Program, what: str) -> Any:
    """What one worker answers to `celery inspect WHAT`."""
    inspector = app.control.inspect([asked.name], timeout=1)
    return replies(getattr(inspector, what))[asked.name]


# -- classic queues -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classic(fresh: Callable[..., str]) -> str:
    return fresh("celery", ".dead")


@pytest.fixture
def app(address: Address, classic: str) -> Iterator[Any]:
    with calling(address, classic, "classic") as app:
        yield app


@pytest.fixture(scope="module")
def running(address: Address, classic: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("celery")
    with worker(address, classic, "classic", folder, "--concurrency", "2") as started:
        yield started


def test_the_highest_priority_runs_first(address: Address, fresh: Callable[..., str], tmp_path: Path) -> None:
    queue = fresh("celery", ".dead")
    priorities = [index * 7 % 10 for index in range(30)]
    with calling(address, queue, "classic") as app:
        results = [(app.send_task("apps.when", priority=number), number) for number in priorities]
        with worker(address, queue, "classic", tmp_path, "--pool", "solo"):
            times = [(result.get(timeout=RESULT_TIMEOUT_S), number) for result, number in results]
    assert [number for _, number in sorted(times)] == sorted(priorities, reverse=True)
    for priority in range(10):
        alike = [when for when, number in times if number == priority]
        assert alike == sorted(alike), "those of one priority run in the order in which they were sent"


@pytest.mark.usefixtures("running")
def test_a_task_with_an_eta_runs_when_it_is_due(app: Any) -> None:
    now = datetime.now(UTC)
    delays_s = (1.2, 0.4, 0.8)
    results = [app.send_task("apps.when", eta=now + timedelta(seconds=delay)) for delay in delays_s]
    ran = [result.get(timeout=RESULT_TIMEOUT_S) - now.timestamp() for result in results]
    assert all(when >= delay for when, delay in zip(ran, delays_s, strict=True))
    assert sorted(ran) == [ran[1], ran[2], ran[0]]


@pytest.mark.usefixtures("running")
def test_a_task_that_retries_itself(app: Any) -> None:
    assert app.send_task("apps.flaky", (3, 0.1)).get(timeout=RESULT_TIMEOUT_S) == 3


@pytest.mark.usefixtures("running")
def test_a_rejected_task_is_dead_lettered(app: Any, conn: Any, classic: str) -> None:
    conn.channel().queue_declare(f"{classic}.dead", durable=True)
    sent = app.send_task("apps.refuse")
    dead = take(conn, f"{classic}.dead")
    assert dead.headers["id"] == sent.id
    (death,) = dead.headers["x-death"]
    # Celery publishes to a direct exchange through the default one
    assert {name: death[name] for name in ("queue", "reason", "exchange", "routing-keys", "count")} == {
        "queue": classic,
        "reason": "rejected",
        "exchange": "",
        "routing-keys": [classic],
        "count": 1,
    }
    assert dead.headers["x-first-death-reason"] == "rejected"


@pytest.mark.usefixtures("running")
def test_a_task_comes_back_when_its_process_is_killed(app: Any, tmp_path: Path) -> None:
    """reject_on_worker_lost: the worker outlives its child and gives the task back to the broker."""
    assert app.send_task("apps.die_once", (str(tmp_path),)).get(timeout=RESULT_TIMEOUT_S) is True


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_task_comes_back_when_the_worker_is_killed(
    address: Address, fresh: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    """acks_late: a task is the broker's until it is done."""
    queue = fresh("celery", ".dead")
    with calling(address, queue, kind) as app:
        with worker(address, queue, kind, tmp_path, "--pool", "solo") as first:
            result = app.send_task("apps.long_job", (str(tmp_path),))
            eventually((tmp_path / f"started-{first.pid}").exists, "the first worker is at it")
            first.kill()
        (tmp_path / "finish").touch()
        with worker(address, queue, kind, tmp_path, "--pool", "solo") as second:
            assert result.get(timeout=RESULT_TIMEOUT_S) == [second.pid, True]


def test_waiting_for_an_eta_holds_up_nobody(
    address: Address, fresh: Callable[..., str], tmp_path: Path, conn: Any
) -> None:
    """Global QoS: the worker keeps tasks that are not due and raises its prefetch count by one for each."""
    queue, scheme = fresh("celery", ".dead"), "amqp-global-qos"
    with calling(address, queue, "classic") as app:
        with worker(address, queue, "classic", tmp_path, "--concurrency", "1", scheme=scheme) as started:
            later = [app.send_task("apps.add", (1, 2), countdown=600) for _ in range(12)]
            assert app.send_task("apps.add", (1, 2)).get(timeout=RESULT_TIMEOUT_S) == 3
            scheduled = inspect(app, started, "scheduled")
            assert {entry["request"]["id"] for entry in scheduled} == {result.id for result in later}
            assert inspect(app, started, "stats")["prefetch_count"] == 13
        # the worker is gone, and what it kept is back
        eventually(lambda: waiting(conn, queue) == 12, "what was not due is back in the queue")


# -- control and events -------------------------------------------------------------------------------------


def test_remote_control(app: Any, running: Program, tmp_path: Path) -> None:
    """Orders go through a fanout exchange to a queue of each worker's, answers to a queue of the caller's."""
    (pong,) = replies(lambda: app.control.ping([running.name], timeout=1))
    assert pong == {running.name: {"ok": "pong"}}
    result = app.send_task("apps.long_job", (str(tmp_path),))
    eventually(lambda: list(tmp_path.glob("started-*")), "a worker is at it")
    assert [entry["id"] for entry in inspect(app, running, "active")] == [result.id]
    (tmp_path / "finish").touch()
    result.get(timeout=RESULT_TIMEOUT_S)


def test_a_worker_is_told_to_take_another_queue(
    app: Any, running: Program, fresh: Callable[..., str]
) -> None:
    queue = fresh("celery")
    result = app.send_task("apps.add", (20, 3), queue=queue)
    orders = {"destination": [running.name], "reply": True, "timeout": 1}
    replies(lambda: app.control.add_consumer(queue, **orders))
    assert result.get(timeout=RESULT_TIMEOUT_S) == 23
    assert replies(lambda: app.control.cancel_consumer(queue, **orders)) == [
        {running.name: {"ok": f"no longer consuming from {queue}"}}
    ]


@pytest.mark.usefixtures("running")
def test_a_revoked_task_does_not_run(app: Any) -> None:
    result = app.send_task("apps.add", (1, 2), countdown=2)
    replies(lambda: app.control.revoke(result.id, reply=True, timeout=1))
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=RESULT_TIMEOUT_S)


@pytest.mark.usefixtures("running")
def test_events_are_dumped(app: Any, address: Address, tmp_path: Path) -> None:
    """`celery events --dump` is told of everything that happens to a task, in order."""
    environment = {"BROKER_URL": address.url}
    with program(tmp_path, environment, "celery", "-A", "tests.apps.celery_app", "events", "--dump") as dump:
        dump.wait_for("heartbeat: ")
        result = app.send_task("apps.add", (1, 2))
        result.get(timeout=RESULT_TIMEOUT_S)
        log = dump.wait_for(f"task succeeded: apps.add({result.id})")
    happened = re.findall(rf"task (\w+): apps\.add\({result.id}\)", log)
    assert happened == ["received", "started", "succeeded"]


@pytest.mark.usefixtures("running")
def test_events_are_received(app: Any) -> None:
    """An EventReceiver of our own, with a queue that expires, bound to the events of tasks alone."""
    seen: list[tuple[str, str]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(
            connection,
            routing_key="task.#",
            handlers={"*": lambda event: seen.append((event["type"], event.get("uuid")))},
        )
        with receiver.consumer_context() as (own_connection, _, _):
            result = app.send_task("apps.add", (1, 2))

            def done() -> bool:
                with contextlib.suppress(TimeoutError):
                    own_connection.drain_events(timeout=0.2)
                return ("task-succeeded", result.id) in seen

            eventually(done, "the task's success is told of", RESULT_TIMEOUT_S)
    assert [kind for kind, task in seen if task == result.id] == [
        "task-received",
        "task-started",
        "task-succeeded",
    ]
    assert all(kind.startswith("task-") for kind, _ in seen)


# -- quorum queues and native delayed delivery --------------------------------------------------------------


@pytest.fixture(scope="module")
def quorum(fresh: Callable[..., str]) -> str:
    return fresh("celery")


@pytest.fixture(scope="module")
def quorum_worker(
    address: Address, quorum: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("celery-quorum")
    with worker(address, quorum, "quorum", folder, "--concurrency", "2") as started:
        assert "Global QoS is disabled" in started.log
        yield started
    with clients.connection(address) as conn:
        levels = [native.level_name(level) for level in range(native.MAX_LEVEL + 1)]
        clients.delete_all(conn, [*levels, native.CELERY_DELAYED_DELIVERY_EXCHANGE])


@pytest.fixture
def quorum_app(address: Address, quorum: str, quorum_worker: Program) -> Iterator[Any]:
    with calling(address, quorum, "quorum") as app:
        yield app


def test_a_quorum_queue(quorum_app: Any) -> None:
    results = [quorum_app.send_task("apps.add", (number, 1)) for number in range(50)]
    assert [result.get(timeout=RESULT_TIMEOUT_S) for result in results] == list(range(1, 51))


def test_native_delay_keeps_the_task_in_the_broker(
    quorum_app: Any, quorum_worker: Program, conn: Any
) -> None:
    """A delay of 5 s is 101 in binary: the task waits 4 s in the queue of level 2, then 1 s in that of level 0."""
    sent = time.time()
    result = quorum_app.send_task("apps.when", countdown=5)
    levels = [native.level_name(level) for level in range(4)]
    eventually(lambda: [waiting(conn, level) for level in levels] == [0, 0, 1, 0], "it waits at level 2")
    eventually(lambda: [waiting(conn, level) for level in levels] == [1, 0, 0, 0], "it waits at level 0")
    assert inspect(quorum_app, quorum_worker, "scheduled") == [], "the worker does not have it"
    ran = result.get(timeout=RESULT_TIMEOUT_S)
    assert 4.5 < ran - sent < 10  # whole seconds, counted from now down


def test_native_delays_come_in_the_order_of_their_due_time(quorum_app: Any) -> None:
    sent = time.time()
    results = [quorum_app.send_task("apps.when", countdown=delay) for delay in (3, 1, 2)]
    ran = [result.get(timeout=RESULT_TIMEOUT_S) - sent for result in results]
    assert sorted(ran) == [ran[1], ran[2], ran[0]]
    assert all(when > delay - 0.5 for when, delay in zip(ran, (3, 1, 2), strict=True))


def test_a_retry_with_native_delay(quorum_app: Any) -> None:
    assert quorum_app.send_task("apps.flaky", (2, 1)).get(timeout=RESULT_TIMEOUT_S) == 2


def test_a_task_comes_back_to_a_quorum_queue_when_its_process_is_killed(
    quorum_app: Any, tmp_path: Path
) -> None:
    assert quorum_app.send_task("apps.die_once", (str(tmp_path),)).get(timeout=RESULT_TIMEOUT_S) is True


@pytest.mark.skipif("COMPAT_URL" in os.environ, reason="kills the broker")
def test_delayed_tasks_outlive_a_crash_of_the_broker(tmp_path: Path) -> None:
    """The tasks wait in queues of the broker; the worker connects again and runs each once."""
    broker = Leveret(tmp_path / "broker")
    address = broker.start()
    folders = [tmp_path / str(number) for number in range(10)]
    for folder in folders:
        folder.mkdir()
        (folder / "finish").touch()
    try:
        with worker(address, "jobs", "quorum", tmp_path, "--concurrency", "2"):
            with calling(address, "jobs", "quorum") as app:
                for number, folder in enumerate(folders):
                    app.send_task("apps.long_job", (str(folder),), countdown=3 + number % 3)
            broker.kill()
            assert broker.start() == address
            eventually(
                lambda: all(list(folder.glob("started-*")) for folder in folders),
                "every task has run",
                RESULT_TIMEOUT_S,
            )
        with clients.connection(address) as conn:
            assert waiting(conn, "jobs") == 0
    finally:
        broker.stop()
    assert [len(list(folder.glob("started-*"))) for folder in folders] == [1] * len(folders)
