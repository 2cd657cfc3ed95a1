"""`leveret worker` as real processes: signals, deaths, several of them, reloading, and what --check says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import leveret
from leveret.cli import exits
from leveret.cli.worker import run_loop, single

from ..compat.broker import Leveret
from ..compat.waiting import eventually

APP = """
import os

import leveret

app = leveret.App(name="shop", grace_s=20)


def report(text):
    app.client.post("reports", f"{text} {os.getpid()}")


@app.consumer("jobs", concurrency=2, retry=leveret.Retry(max=5, delay_s=0, max_delay_s=0))
async def jobs(body: str):
    report(f"begin {body}")
    if body.startswith("wait"):
        await app.client.get("go", timeout_s=60)
    report(f"end {body}")
"""
BROKEN = """
import leveret

app = leveret.App()


@app.resource
def database():
    raise OSError("no route")


@app.consumer("jobs")
def jobs(body: str, database):
    pass
"""
END_S = 20.0


@pytest.fixture(scope="module")
def broker() -> Iterator[Any]:
    with leveret.run_in_thread() as broker:
        yield broker


@pytest.fixture
def client(broker: Any) -> Iterator[Any]:
    with leveret.connect_sync(broker.url) as client:
        for queue in ("jobs", "jobs.dead", "reports", "go"):
            client.delete_queue(queue)
        client.declare_queue("reports")
        client.declare_queue("go")
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


class Worker:
    """`leveret worker` in a process of its own. `lines` is what it wrote to stderr so far."""

    def __init__(self, folder: Path, url: str, *options: str) -> None:
        command = [sys.executable, "-m", "leveret", "worker", "shop:app", "--url", url, *options]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def ready(self, count: int = 1) -> list[int]:
        """The processes that have said so, once there are so many."""

        def look() -> list[int] | None:
            found = [
                int(line.rsplit("process ")[1].split()[0]) for line in self.lines if "ready: process" in line
            ]
            if len(found) < count and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.lines}")
            return found if len(found) >= count else None

        return eventually(look, f"{count} ready in {self.lines}", END_S) or []

    def tell(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """Its exit code, when it has ended."""
        code = self.process.wait(END_S)
        self._reader.join()
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    made: list[Worker] = []
    yield made
    for worker in made:
        worker.end()


def start(workers: list[Worker], folder: Path, url: str, *options: str) -> Worker:
    workers.append(Worker(folder, url, *options))
    return workers[-1]


def reports(client: Any, count: int) -> list[list[str]]:
    """The next so many, as words."""
    found: list[list[str]] = []
    for _ in range(count):
        message = client.get("reports", timeout_s=END_S)
        assert message is not None, f"only {found}"
        message.ack()
        found.append(message.body.decode().split())
    return found


def waiting(client: Any) -> int:
    return int(client.look_at_queue("jobs").messages)


def test_sigterm_finishes_what_is_in_work(
    broker: Any, client: Any, folder: Path, workers: list[Worker]
) -> None:
    worker = start(workers, folder, broker.url)
    worker.ready()
    client.publish("jobs", "wait1")
    assert reports(client, 1)[0][:2] == ["begin", "wait1"]
    worker.tell(signal.SIGTERM)
    eventually(lambda: client.look_at_queue("jobs").consumers == 0, "it takes nothing more")
    client.publish("jobs", "later")
    client.publish("go", b"")
    assert reports(client, 1)[0][:2] == ["end", "wait1"]
    assert worker.code() == exits.OK
    assert waiting(client) == 1
    assert "ended: 1 done, 0 failed, 0 given back" in worker.lines[-1]


def test_a_second_sigterm_ends_it_at_once(
    broker: Any, client: Any, folder: Path, workers: list[Worker]
) -> None:
    worker = start(workers, folder, broker.url)
    worker.ready()
    client.publish("jobs", "wait1")
    reports(client, 1)
    worker.tell(signal.SIGTERM)
    eventually(lambda: client.look_at_queue("jobs").consumers == 0, "it takes nothing more")
    worker.tell(signal.SIGTERM)
    assert worker.code() == exits.OK
    assert waiting(client) == 1


def test_the_grace_time_bounds_it(broker: Any, client: Any, folder: Path, workers: list[Worker]) -> None:
    worker = start(workers, folder, broker.url, "--grace-s", "0")
    worker.ready()
    client.publish("jobs", "wait1")
    reports(client, 1)
    worker.tell(signal.SIGINT)
    assert worker.code() == exits.OK
    assert waiting(client) == 1


def test_sigkill_loses_nothing(broker: Any, client: Any, folder: Path, workers: list[Worker]) -> None:
    first = start(workers, folder, broker.url)
    first.ready()
    client.publish("jobs", "wait1")
    client.publish("jobs", "wait2")
    reports(client, 2)
    client.publish_many("jobs", [str(number) for number in range(200)])
    first.tell(signal.SIGKILL)
    assert first.code() == -signal.SIGKILL
    second = start(workers, folder, broker.url)
    second.ready()
    for _ in range(2):
        client.publish("go", b"")
    found = reports(client, 2 * 202)
    assert {words[1] for words in found if words[0] == "end"} == {
        "wait1", "wait2", *map(str, range(200)),
    }  # fmt: skip


def test_several_processes_are_looked_after(
    broker: Any, client: Any, folder: Path, workers: list[Worker]
) -> None:
    worker = start(workers, folder, broker.url, "--processes", "2")
    before = worker.ready(2)
    assert len(set(before)) == 2
    os.kill(before[0], signal.SIGKILL)
    after = worker.ready(3)
    assert "ended with SIGKILL; it is started anew" in "\n".join(worker.lines)
    client.publish("jobs", "1")
    assert int(reports(client, 2)[0][2]) in after[1:]
    worker.tell(signal.SIGTERM)
    assert worker.code() == exits.OK
    assert [line for line in worker.lines if "ended: " in line]
    for process in after:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_workers_do_not_outlive_their_supervisor(
    broker: Any, client: Any, folder: Path, workers: list[Worker]
) -> None:
    worker = start(workers, folder, broker.url, "--processes", "2")
    processes = worker.ready(2)
    worker.tell(signal.SIGKILL)

    def gone() -> bool:
        return not any(is_there(process) for process in processes)

    eventually(gone, "they have left", END_S)
    assert client.look_at_queue("jobs").consumers == 0


def is_there(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_watch_begins_anew_when_a_file_changes(
    broker: Any, client: Any, folder: Path, workers: list[Worker]
) -> None:
    worker = start(workers, folder, broker.url, "--watch")
    (first,) = worker.ready()
    (folder / "shop.py").write_text(APP.replace("begin {body}", "changed {body}"))
    second = worker.ready(2)[1]
    assert first != second
    client.publish("jobs", "1")
    assert reports(client, 2)[0] == ["changed", "1", str(second)]
    (folder / "shop.py").write_text("syntax error")
    eventually(lambda: "waiting for a file to change" in "\n".join(worker.lines), "it is told", END_S)
    (folder / "shop.py").write_text(APP)
    worker.ready(3)
    worker.tell(signal.SIGTERM)
    assert worker.code() == exits.OK


def check(folder: Path, url: str, name: str = "shop:app") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "leveret", "worker", name, "--check", "--url", url],
        cwd=folder, capture_output=True, text=True, timeout=END_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_check_says_what_is_there_and_changes_nothing(broker: Any, client: Any, folder: Path) -> None:
    code, text = check(folder, broker.url)
    assert code == exits.OK
    assert "ok     shop.jobs: consumer of jobs: 2 at once (async), 5 retries, exponential" in text
    assert "queue jobs: is not there yet" in text
    with pytest.raises(leveret.Refused):
        client.look_at_queue("jobs")


def test_check_compares_queues(broker: Any, client: Any, folder: Path) -> None:
    client.declare_queue(leveret.Queue("jobs", max_length=3))
    code, text = check(folder, broker.url)
    assert code == exits.REFUSED
    assert "FAILED queue jobs: is there, but otherwise" in text


def test_check_of_no_broker(folder: Path) -> None:
    code, text = check(folder, "amqp://127.0.0.1:1")
    assert code == exits.NO_BROKER
    assert "no broker could be reached" in text


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        (APP, "shop:ap", "did you mean 'app'?"),
        (APP, "shp:app", "no module 'shp' is found"),
        (APP, "shop.py:app", "write shop"),
        (APP, "shop.app", "did you mean shop:app?"),
        ("import leveret\napp = leveret.App()", "shop:app", "has no handlers"),
        (APP, "shop:jobs", "not a leveret.App; there is shop:app"),
        ("import leveret", "shop", "has no leveret.App"),
        ("raise KeyError('x')", "shop:app", "importing shop:app failed: KeyError('x')"),
        ("import not_there", "shop:app", "No module named 'not_there'"),
        (APP.replace("concurrency", "concurency"), "shop:app", "did you mean 'concurrency'?"),
        (BROKEN, "shop", "no route"),
    ],
)
def test_mistakes_are_told(broker: Any, folder: Path, source: str, name: str, text: str) -> None:
    (folder / "shop.py").write_text(source)
    code, said = check(folder, broker.url, name)
    assert code == exits.CONFIG
    assert text in said


def test_unknown_queues_are_told(broker: Any, folder: Path, workers: list[Worker]) -> None:
    worker = start(workers, folder, broker.url, "--queues", "jbs")
    assert worker.code() == exits.CONFIG
    assert "did you mean 'jobs'?" in worker.lines[-1]


def test_a_mistake_is_not_tried_again(broker: Any, folder: Path, workers: list[Worker]) -> None:
    worker = start(workers, folder, broker.url, "--processes", "2", "--queues", "jbs")
    assert worker.code() == exits.CONFIG


def test_a_process_gets_the_arguments_but_those_of_the_supervisor() -> None:
    given = ["a:b", "--processes", "3", "--watch", "--queues", "x", "--processes=4"]
    assert single(given) == ["a:b", "--queues", "x"]


def test_a_worker_goes_on_when_the_broker_was_killed(
    tmp_path: Path, folder: Path, workers: list[Worker]
) -> None:
    broker = Leveret(tmp_path / "broker")
    url = broker.start().url
    try:
        worker = start(workers, folder, url)
        worker.ready()
        with leveret.connect_sync(url) as client:
            client.declare_queue("reports")
            client.publish_many("jobs", [str(number) for number in range(300)])
            reports(client, 100)
            broker.kill()
            broker.start()
            found: set[str] = set()
            while len(found) < 300 - 50:  # those reported before are not told again
                found |= {words[1] for words in reports(client, 1) if words[0] == "end"}
            client.publish("jobs", "last")
            while "last" not in found:
                found |= {words[1] for words in reports(client, 1)}
        worker.tell(signal.SIGTERM)
        assert worker.code() == exits.OK
    finally:
        broker.stop()


def test_it_waits_for_a_broker_that_comes_later(tmp_path: Path, folder: Path, workers: list[Worker]) -> None:
    broker = Leveret(tmp_path / "broker")
    url = broker.start().url
    broker.kill()
    try:
        worker = start(workers, folder, url)
        eventually(lambda: "trying again until one is there" in "\n".join(worker.lines), "it says why", END_S)
        broker.start()
        worker.ready()
        assert sum("no broker could be reached" in line for line in worker.lines) == 1
        worker.tell(signal.SIGTERM)
        assert worker.code() == exits.OK
    finally:
        broker.stop()


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_it_may_be_stopped_while_it_waits(
    folder: Path, workers: list[Worker], options: tuple[str, ...]
) -> None:
    worker = start(workers, folder, "amqp://127.0.0.1:1", *options)
    eventually(lambda: "trying again until one is there" in "\n".join(worker.lines), "it says why", END_S)
    worker.tell(signal.SIGTERM)
    assert worker.code() == exits.OK


def test_without_waiting_it_ends_if_no_broker_is_there(folder: Path, workers: list[Worker]) -> None:
    worker = start(workers, folder, "amqp://127.0.0.1:1", "--no-wait")
    assert worker.code() == exits.NO_BROKER
    assert "no broker could be reached" in worker.lines[-1]


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_refused_login_is_told_at_once(
    broker: Any, folder: Path, workers: list[Worker], options: tuple[str, ...]
) -> None:
    parts = urlsplit(broker.url)
    url = parts._replace(netloc=f"nobody:wrong@{parts.hostname}:{parts.port}").geturl()
    worker = start(workers, folder, url, *options)
    assert worker.code() == exits.REFUSED
    assert "refused" in "\n".join(worker.lines)
    assert "wrong" not in "\n".join(worker.lines)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("own", [False, True])
def test_metrics_are_served(broker: Any, client: Any, folder: Path, workers: list[Worker], own: bool) -> None:
    if own:
        text = APP.replace("grace_s=20", "middleware=[leveret.worker.Metrics()]")
        (folder / "shop.py").write_text(text.replace("import leveret", "import leveret, leveret.worker"))
    worker = start(workers, folder, broker.url, "--metrics-port", str(free_port()), "--processes", "2")
    worker.ready(2)

    def places() -> list[str]:
        found = [line.rsplit(" ", 1)[1] for line in worker.lines if "metrics are at http" in line]
        return found if len(found) == 2 else []

    urls = eventually(places, "two ports", END_S)
    client.publish("jobs", "1")
    reports(client, 2)

    def counted() -> bool:
        texts = [urllib.request.urlopen(url, timeout=END_S).read().decode() for url in urls]
        return any(
            'leveret_jobs_total{handler="jobs",outcome="done",queue="jobs"} 1.0' in one for one in texts
        )

    eventually(counted, "it is counted", END_S)


def test_metrics_that_cannot_be_served_are_told(broker: Any, folder: Path, workers: list[Worker]) -> None:
    (folder / "shop.py").write_text(
        APP.replace("grace_s=20", "middleware=[Metrics(9)]").replace(
            "import leveret", "import leveret\nfrom leveret.worker import Metrics"
        )
    )
    worker = start(workers, folder, broker.url, "--metrics-port", "9100")
    assert worker.code() == exits.CONFIG
    assert "the app serves its metrics itself, at port 9" in worker.lines[-1]


def test_metrics_need_their_library(broker: Any, folder: Path, workers: list[Worker]) -> None:
    (folder / "prometheus_client.py").write_text("raise ImportError")
    worker = start(workers, folder, broker.url, "--metrics-port", "9100")
    assert worker.code() == exits.CONFIG
    assert "pip install 'leveret[metrics]'" in worker.lines[-1]


@pytest.mark.parametrize(
    ("source", "url", "text"),
    [
        (
            "import leveret\napp = leveret.App(name='empty')",
            "amqp://127.0.0.1:1",
            "the app 'empty' has no handlers",
        ),
        (APP, "localhost", "an address begins with amqp://"),
    ],
)
def test_mistakes_end_it_before_it_waits(
    folder: Path, workers: list[Worker], source: str, url: str, text: str
) -> None:
    (folder / "shop.py").write_text(source)
    worker = start(workers, folder, url)
    assert worker.code() == exits.CONFIG
    assert text in worker.lines[-1]


def test_a_handler_that_does_not_end_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("leveret.cli.worker.LEAVE_S", 0.01)
    stubborn: list[asyncio.Task[None]] = []

    async def stays() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()

    async def work() -> int:
        stubborn.append(asyncio.ensure_future(stays()))
        await asyncio.sleep(0)
        return 5

    assert run_loop(work()) == 5
    assert not stubborn[0].done()
    assert "1 handlers do not end though they were cancelled" in caplog.text
