"""Running the programs of sides/: in which Python, against which broker, and what they say; filling and watching queues."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.brokers import Broker, Leveret
from bench.client import Client
from bench.generators import Figures, GeneratorFailed, parse
from bench.messages import publish

ROOT = Path(__file__).resolve().parent.parent
FILL = 1000  # messages written at once
START_S = 30.0
EMPTY_S = 180.0


def environment(values: dict[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **(values or {})}


class Program:
    """One that runs; its output is lines, the last of them figures as JSON."""

    def __init__(self, words: list[str], values: dict[str, str] | None = None) -> None:
        self.words = words
        self.errors = ""
        self.process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment(values),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, word: str) -> None:
        """Until it has said that. Raises GeneratorFailed when it ends first."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise self.failed(self.process.communicate()[1])

    def figures(self, deadline_s: float = 300.0) -> Figures:
        try:
            output, errors = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise self.failed(f"still running after {deadline_s:g} s") from None
        if self.process.returncode != 0:
            raise self.failed(errors)
        return with_rate(parse(output))

    def failed(self, errors: str) -> GeneratorFailed:
        code = self.process.returncode
        return GeneratorFailed(f"{' '.join(self.words)}: exit code {code}: {errors.strip()[-2000:]}")

    def stop(self) -> str:
        """What it said on standard error."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.errors = self.errors or self.process.communicate()[1]
        return self.errors


def with_rate(figures: Figures) -> Figures:
    if "rate" not in figures and figures.get("seconds", 0.0) > 0:
        figures["rate"] = figures["messages"] / figures["seconds"]
    return figures


def fill(broker: Broker, queue: str, messages: int, size_bytes: int = 100) -> None:
    """Publish so many persistent messages, and return when the broker has taken them."""
    client = Client(broker.port)
    client.declare_queue(queue, durable=True)
    one = publish(1, queue, b"x" * size_bytes, True, False)
    block = one * FILL
    for _ in range(messages // FILL):
        client.socket.sendall(block)
    client.socket.sendall(one * (messages % FILL))
    client.declare_queue(queue, durable=True)  # answered behind them all
    client.close()


def drop(broker: Broker, *queues: str) -> None:
    client = Client(broker.port)
    for queue in queues:
        client.delete_queue(queue)
    client.close()


class Watch:
    """What is in a queue, by the broker's admin socket: messages that are not acked, and consumers."""

    def __init__(self, broker: Leveret) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(broker.directory / "data" / "run" / "admin.sock"))
        self.lines = self.sock.makefile("rb")

    def row(self, queue: str) -> dict[str, int]:
        self.sock.sendall(json.dumps({"command": "queues", "args": {"vhost": "/"}}).encode() + b"\n")
        rows: list[dict[str, int]] = json.loads(self.lines.readline())["result"]
        return next((row for row in rows if row["name"] == queue), {})  # type: ignore[comparison-overlap]

    def wait_for_consumers(self, queue: str, worker: Program) -> None:
        end = time.monotonic() + START_S
        while not self.row(queue).get("consumers"):
            if worker.process.poll() is not None or time.monotonic() > end:
                raise worker.failed(f"no consumer of {queue}: {worker.stop()}")
            time.sleep(0.05)

    def wait_until_empty(self, queue: str) -> None:
        end = time.monotonic() + EMPTY_S
        while (row := self.row(queue)) and row["ready"] + row["unacknowledged"]:
            if time.monotonic() > end:
                raise GeneratorFailed(f"{row} is left in {queue} after {EMPTY_S:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


@contextmanager
def watching(broker: Leveret) -> Iterator[Watch]:
    watch = Watch(broker)
    try:
        yield watch
    finally:
        watch.close()
