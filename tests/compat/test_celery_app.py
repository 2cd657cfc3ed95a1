"""The Celery application of examples/celery_app: workers in processes of their own, one of them killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .broker import Address
from .clients import connection, delete_all
from .waiting import eventually

celery = pytest.importorskip("celery", reason="tests/compat/requirements.txt is not installed")
pools = pytest.importorskip("kombu.pools")

EXAMPLE = Path(__file__).parents[2] / "examples" / "celery_app"
START_TIMEOUT_S = 30


@contextlib.contextmanager
def worker(address: Address, queue: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `celery worker` with one task at a time, ready when the context begins."""
    log = folder / f"worker-{uuid.uuid4().hex[:6]}.log"
    name = f"{uuid.uuid4().hex[:6]}@compat"
    command = [sys.executable, "-m", "celery", "--workdir", str(EXAMPLE), "-A", "tasks", "worker"]
    command += ["--pool", "solo", "--hostname", name, "--loglevel", "INFO"]
    environment = os.environ | {"BROKER_URL": address.url, "TASK_QUEUE": queue}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return f"{name} ready" in log.read_text()

        eventually(ready, "the worker is ready", START_TIMEOUT_S)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(START_TIMEOUT_S)


@pytest.fixture(scope="module")
def queue(address: Address) -> Iterator[str]:
    name = f"compat.celery.{uuid.uuid4().hex[:8]}"
    yield name
    with connection(address) as conn:
        delete_all(conn, [name])


@pytest.fixture
def app(address: Address, queue: str) -> Iterator[Any]:
    """The caller's side: the tasks by their names."""
    app = celery.Celery(broker=address.url, backend="rpc://")
    app.conf.task_default_queue = queue
    yield app
    consumer = app.backend.result_consumer  # neither this nor the pools close with the application
    if consumer._connection is not None:
        consumer.stop()
    pools.reset()
    app.close()


@pytest.fixture(scope="module")
def running(address: Address, queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with worker(address, queue, tmp_path_factory.mktemp("celery")):
        yield


@pytest.mark.usefixtures("running")
def test_results_come_back(app: Any) -> None:
    results = [app.send_task("tasks.add", (number, 1)) for number in range(50)]
    assert [result.get(timeout=20) for result in results] == list(range(1, 51))


@pytest.mark.usefixtures("running")
def test_exceptions_come_back(app: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        app.send_task("tasks.divide", (1, 0)).get(timeout=20)


@pytest.mark.usefixtures("running")
def test_retries(app: Any) -> None:
    assert app.send_task("tasks.flaky", (3,)).get(timeout=20) == 3


@pytest.mark.usefixtures("running")
def test_countdown(app: Any) -> None:
    assert app.send_task("tasks.add", (1, 2), countdown=0.3).get(timeout=20) == 3


@pytest.mark.usefixtures("running")
def test_remote_control(app: Any) -> None:
    """Broadcasts go through a fanout exchange, answers through a queue of the caller's own."""
    replies = eventually(lambda: app.control.ping(timeout=1), "the worker answers", 20)
    assert all(answer == {"ok": "pong"} for reply in replies for answer in reply.values())


def test_a_worker_killed_in_the_middle_of_a_task(app: Any, address: Address, tmp_path: Path) -> None:
    queue = f"compat.celery.{uuid.uuid4().hex[:8]}"
    with worker(address, queue, tmp_path) as first:
        result = app.send_task("tasks.long_job", (str(tmp_path),), queue=queue)
        eventually((tmp_path / f"started-{first.pid}").exists, "the first worker is at it")
        first.send_signal(signal.SIGKILL)
        first.wait()
    (tmp_path / "finish").touch()
    with worker(address, queue, tmp_path) as second:
        assert result.get(timeout=20) == [second.pid, True]
    with connection(address) as conn:
        delete_all(conn, [queue])
