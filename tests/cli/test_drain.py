"""`leveret drain`: works off what waits, and says by its exit code how that went."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import leveret
from leveret.cli import exits

from ..compat.waiting import eventually

HANDLERS = """
import asyncio

import leveret

app = leveret.App(name="shop")


@app.consumer("mail", concurrency=4, retry=leveret.Retry(max=0))
async def send(body: str):
    if body == "broken":
        raise ValueError("no such address")
    if body == "wait":
        print("waiting", flush=True)
        await asyncio.Event().wait()


@app.task(retry=None)
def total(number: int):
    print("total", number, flush=True)


@app.task(retry=None, concurrency=1)
async def letter(number: int):
    print("letter", number, flush=True)


@app.task(retry=None, queue="elsewhere")
async def far(number: int):
    print("far", number, flush=True)


def plain(body: bytes):
    if body == b"broken":
        raise ValueError("no such address")
    print(body.decode(), flush=True)


def none():
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
        for queue in ("mail", "mail.dead", "other", "other.dead", "tasks", "tasks.dead"):
            client.delete_queue(queue)
        client.declare_queue(leveret.Queue("mail", retry=leveret.Retry(max=0), dead_letter="mail.dead"))
        client.declare_queue("other")
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(HANDLERS)
    return tmp_path


def command(broker: Any, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "leveret", "drain", *arguments, "--url", broker.url]


def drain(broker: Any, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(broker, *arguments), cwd=folder, capture_output=True, text=True, timeout=END_S, check=False
    )
    return done.returncode, done.stdout, done.stderr


def messages(client: Any, queue: str) -> int:
    return int(client.look_at_queue(queue).messages)


def test_all_handled(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("mail", [str(number) for number in range(300)])
    assert drain(broker, folder, "mail", "shop:send") == (exits.OK, "300 handled, 0 failed\n", "")
    assert messages(client, "mail") == 0


def test_nothing_there(broker: Any, client: Any, folder: Path) -> None:
    assert drain(broker, folder, "mail", "shop:send")[:2] == (exits.OK, "0 handled, 0 failed\n")


def test_a_limit(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("mail", ["x"] * 10)
    assert drain(broker, folder, "mail", "shop:send", "--limit", "3")[:2] == (
        exits.OK,
        "3 handled, 0 failed\n",
    )
    assert messages(client, "mail") == 7


def test_failures(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("mail", ["x", "broken", "x"])
    code, out, error = drain(broker, folder, "mail", "shop:send")
    assert (code, out) == (exits.HANDLER_FAILED, "2 handled, 1 failed\n")
    assert "ValueError: no such address" in error
    assert "0 will be tried again, 1 are dead" in error
    assert messages(client, "mail.dead") == 1


def test_a_plain_function_and_a_queue_of_others(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("other", [b"one", b"broken"])
    code, out, error = drain(broker, folder, "other", "shop:plain")
    assert (code, out) == (exits.HANDLER_FAILED, "one\n1 handled, 1 failed\n")
    assert "1 will be tried again" in error
    assert messages(client, "other.dead") == 0


def test_tasks_of_a_queue_are_handled_each_by_its_own(broker: Any, client: Any, folder: Path) -> None:
    client.declare_queue(leveret.Queue("tasks", dead_letter="tasks.dead"))
    client.declare_queue("tasks.dead")
    for task in ("letter", "total", "letter", "far"):
        client.publish("tasks", {"args": [7], "kwargs": {}}, type=task)
    code, out, error = drain(broker, folder, "tasks", "shop:total")
    assert code == exits.HANDLER_FAILED
    assert sorted(out.splitlines()) == ["3 handled, 1 failed", "letter 7", "letter 7", "total 7"]
    assert "no task 'far' is known here for queue 'tasks'; there are total, letter" in error
    assert messages(client, "tasks.dead") == 1


def test_the_time_is_over(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("mail", ["x", "wait"])
    code, out, error = drain(broker, folder, "mail", "shop:send", "--timeout", "0.3", "--grace-s", "0")
    assert (code, out) == (exits.TIMED_OUT, "waiting\n1 handled, 0 failed\n")
    assert "the time was over" in error
    assert messages(client, "mail") == 1


def test_sigterm_gives_back_what_is_not_done(broker: Any, client: Any, folder: Path) -> None:
    client.publish_many("mail", ["wait"])
    with subprocess.Popen(
        command(broker, "mail", "shop:send", "--grace-s", "0"), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == exits.TIMED_OUT
    eventually(lambda: messages(client, "mail") == 1, "it is back")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nothere", "shop:send"], exits.NOT_FOUND, "nothere"),
        (["mail", "shop:sent"], exits.CONFIG, "did you mean 'send'?"),
        (["mail", "shop"], exits.CONFIG, "name the handler as shop:FUNCTION"),
        (["mail", "shop:none"], exits.CONFIG, "has no parameter for the message"),
        (["mail", "shop:HERE"], exits.CONFIG, "has no 'HERE'"),
        (["mail", "shop:send", "--limit", "0"], exits.USAGE, "limit"),
    ],
)
def test_mistakes(broker: Any, client: Any, folder: Path, arguments: list[str], code: int, text: str) -> None:
    found, _, error = drain(broker, folder, *arguments)
    assert (found, text in error) == (code, True), error


def test_a_queue_that_is_there_otherwise(broker: Any, client: Any, folder: Path) -> None:
    client.delete_queue("mail")
    client.declare_queue("mail")
    code, _, error = drain(broker, folder, "mail", "shop:send")
    assert code == exits.REFUSED
    assert "mail" in error


def test_no_broker(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leveret", "drain", "mail", "shop:send", "--url", "amqp://127.0.0.1:1"],
        cwd=folder, capture_output=True, text=True, timeout=END_S, check=False,
    )  # fmt: skip
    assert done.returncode == exits.NO_BROKER
