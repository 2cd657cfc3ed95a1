"""A backup of a broker at work starts, and has what was confirmed before it began."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest


@contextmanager
def broker(data: Path) -> Iterator[int]:
    """A broker on a directory, by its port; stopped by its own process id."""
    command = [sys.executable, "-m", "leveret", "serve", "--data", str(data), "--amqp-port", "0"]
    process = subprocess.Popen([*command, "--log-format", "json"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            entry = json.loads(line)
            if entry["event"] == "ready":
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield int(entry["addresses"]["amqp"].rpartition(":")[2])
                return
        raise AssertionError("the broker did not start")
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


def leveret(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leveret", *words], capture_output=True, text=True, timeout=60
    )


def publish(channel: pika.adapters.blocking_connection.BlockingChannel, first: int, count: int) -> None:
    for n in range(first, first + count):
        channel.basic_publish("", "q", b"%d" % n + b"." * 500, pika.BasicProperties(delivery_mode=2))


def test_a_backup_starts_with_what_was_there(tmp_path: Path) -> None:
    with broker(tmp_path / "data") as port:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        publish(channel, 0, 300)
        done = leveret("store", "backup", str(tmp_path / "copy"), "--data", str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
        again = leveret("store", "backup", str(tmp_path / "copy"), "--data", str(tmp_path / "data"))
        assert again.returncode != 0
        assert "is not an empty directory" in again.stderr
        publish(channel, 300, 50)  # the broker goes on, and the copy is a copy
        connection.close()
    checked = leveret("store", "check", str(tmp_path / "copy"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with broker(tmp_path / "copy") as port:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
        channel = connection.channel()
        assert channel.queue_declare("q", passive=True).method.message_count == 300
        for n in range(300):
            _, _, body = channel.basic_get("q", auto_ack=True)
            assert body.startswith(b"%d." % n)
        connection.close()


def test_a_broker_in_memory_has_no_store(tmp_path: Path) -> None:
    done = leveret("store", "backup", str(tmp_path / "copy"), "--data", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert done.stderr.startswith("leveret: ")


@pytest.mark.parametrize("name", ["file", "full"])
def test_a_destination_that_is_taken(tmp_path: Path, name: str) -> None:
    taken = tmp_path / name
    if name == "file":
        taken.write_text("mine")
    else:
        taken.mkdir()
        (taken / "mine").write_text("mine")
    with broker(tmp_path / "data"):
        done = leveret("store", "backup", str(taken), "--data", str(tmp_path / "data"))
    assert done.returncode != 0
    assert "is not an empty directory" in done.stderr
