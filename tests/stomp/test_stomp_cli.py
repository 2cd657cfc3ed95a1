"""stomp.py's command-line client, as one types it.

In 1.2 it names the machine as its virtual host, and cannot be told another one: brokers that have virtual hosts refuse
it, RabbitMQ and Leveret too; a listener in ActiveMQ's style, which has none, does not.
"""

from __future__ import annotations

import queue as queues
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.broker import Address
from tests.compat.clients import await_count, must_get

VERSIONS = ("1.0", "1.1")
TIMEOUT_S = 15.0


class Terminal:
    """`python -m stomp`, what is typed into it, and what it says."""

    def __init__(self, address: Address, version: str, *options: str) -> None:
        command = [sys.executable, "-u", "-m", "stomp", "-H", address.host, "-P", str(address.port)]
        command += ["-U", "guest", "-W", "guest", "-S", version, "-V", *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: queues.Queue[str] = queues.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("(the end)")

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def says(self, pattern: str) -> re.Match[str]:
        """Skips lines until there is one in which the pattern is found."""
        seen = []
        while True:
            seen.append(self._lines.get(timeout=TIMEOUT_S))
            found = re.search(pattern, seen[-1])
            if found:
                return found
            assert seen[-1] != "(the end)", seen

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def terminal(address: Address) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(version: str, *options: str, at: Address = address) -> Terminal:
        opened.append(Terminal(at, version, *options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.end()


@pytest.mark.parametrize("version", VERSIONS)
def test_subscribe_and_send(terminal: Callable[..., Terminal], queue: str, version: str) -> None:
    cli = terminal(version)
    cli.type(f"subscribe /queue/{queue}")
    cli.says("Subscribing to")
    cli.type(f"send /queue/{queue} hello world")
    cli.says("^hello world$")
    cli.type(f"sendrec /queue/{queue} once more")
    cli.says("^once more$|^receipt-id: ")
    cli.type("quit")
    assert cli.process.wait(TIMEOUT_S) == 0


def test_ack_and_nack(terminal: Callable[..., Terminal], ch: Any, queue: str) -> None:
    cli = terminal("1.1")
    cli.type(f"subscribe /queue/{queue} client-individual")
    cli.type(f"send /queue/{queue} work")
    first = cli.says("^message-id: (.*)$")[1]
    cli.says("^work$")
    cli.type(f"nack {first} 1")
    again = cli.says("^message-id: (.*)$")[1]
    cli.says("^work$")
    cli.type(f"ack {again} 1")
    cli.type("quit")
    cli.process.wait(TIMEOUT_S)
    await_count(ch, queue, 0)


def test_1_2_names_a_host_that_is_none(terminal: Callable[..., Terminal]) -> None:
    cli = terminal("1.2")
    cli.says("^ERROR$")
    cli.says("(the end)")


def test_1_2_on_a_listener_in_activemq_s_style(
    terminal: Callable[..., Terminal], activemq: Address, queue: str
) -> None:
    cli = terminal("1.2", at=activemq)
    cli.type(f"subscribe /queue/{queue} client-individual")
    cli.type(f"send /queue/{queue} work")
    first = cli.says("^ack: (.*)$")[1]
    cli.says("^work$")
    cli.type(f"nack {first}")
    again = cli.says("^ack: (.*)$")[1]
    cli.says("^work$")
    cli.type(f"ack {again}")
    cli.type("quit")
    assert cli.process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_transactions(terminal: Callable[..., Terminal], ch: Any, queue: str, version: str) -> None:
    cli = terminal(version)
    ch.queue_declare(queue, durable=True)
    for end in ("abort", "commit"):
        cli.type("begin")
        cli.says("Transaction id: ")
        cli.type(f"send /queue/{queue} {end}")
        cli.type(end)
        cli.says("Aborted transaction|Committing")
    cli.type("quit")
    cli.process.wait(TIMEOUT_S)
    await_count(ch, queue, 1)
    assert must_get(ch, queue, auto_ack=True).body == b"commit"


def test_files_and_scripts(terminal: Callable[..., Terminal], ch: Any, queue: str, tmp_path: Path) -> None:
    """`sendfile` sends base64 and the file's name in a header."""
    file = tmp_path / "picture.bin"
    file.write_bytes(bytes(range(256)))
    script = tmp_path / "script"
    script.write_text(f"send /queue/{queue} one\nsendfile /queue/{queue} {file}\n")
    ch.queue_declare(queue, durable=True)
    cli = terminal("1.1")
    cli.type(f"run {script}")
    cli.type("quit")
    cli.process.wait(TIMEOUT_S)
    await_count(ch, queue, 2)
    assert must_get(ch, queue, auto_ack=True).body == b"one"
    assert must_get(ch, queue, auto_ack=True).properties.headers["filename"] == str(file)


@pytest.mark.parametrize("version", VERSIONS)
def test_listening(terminal: Callable[..., Terminal], ch: Any, queue: str, version: str) -> None:
    cli = terminal(version, "-L", f"/queue/{queue}")
    cli.says("Subscribing to")
    ch.queue_declare(queue, durable=True)
    ch.basic_publish("", queue, b"from amqp")
    cli.says("^from amqp$")
