"""A reader who follows a page to the letter: writes its files, runs its commands, and compares what they say.

Knows processes and a broker of its own; which blocks mean what is said in test_pages.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from leveret.embed import run_in_thread
from tests.differential.brokers import free_port
from tests.docs.pages import Block

TIMEOUT_S: Final = 60.0
# Ports that pages name beside the broker's; each page's run has others in their place.
PORTS: Final = ("8000", "8025")
TOOLS: Final = ("leveret", "pytest", "uvicorn", "celery")  # `python -m NAME` is the same
NO_DATA: Final = ("worker", "drain", "bench", "serve")  # of `leveret`: those that are not told a directory
# Where Leveret is not installed but on the path, pytest has to be told of its plugin.
PLUGIN: Final = () if entry_points(group="pytest11", name="leveret") else ("-p", "leveret.testing.plugin")
BROKER: Final = re.compile(r"(amqp://(?:[^@/\s\"']*@)?)localhost(?::5672)?(?=[/?\"'\s]|$)")
PIKA: Final = 'pika.ConnectionParameters("localhost")'


@dataclass(frozen=True)
class Broker:
    port: int
    data: Path


def environment(**more: str) -> dict[str, str]:
    """As in a terminal, where each line is seen when it is printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True)
class Wanted:
    """What a command is to say. `...` stands for any text in a line, and alone for any lines; where numbers vary, each
    stands for any."""

    lines: list[str]
    numbers_vary: bool = False

    def matches(self, said: list[str]) -> bool:
        pattern = "".join(map(self._pattern, self.lines))
        return re.fullmatch(pattern, "".join(f"{line}\n" for line in said)) is not None

    def first(self) -> Wanted:
        """Up to the first line that is given."""
        given = next((n for n, line in enumerate(self.lines) if line != "..."), -1)
        return Wanted(self.lines[: given + 1], self.numbers_vary)

    def _pattern(self, line: str) -> str:
        if line == "...":
            return r"(?:.*\n)*"
        escaped = re.escape(line).replace(r"\.\.\.", ".*")
        if self.numbers_vary:
            escaped = re.sub(r"[0-9]+(?:(?:\\\.|,)[0-9]+)*", lambda _: r"[0-9][0-9.,]*", escaped)
        return escaped + r"\n"


class Lines:
    """A process whose output is read line by line."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        self.seen: list[str] = []
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip())
        self.lines.put(None)

    def next(self) -> str | None:
        """The next line; None when there are no more."""
        try:
            line = self.lines.get(timeout=TIMEOUT_S)
        except queue.Empty:
            raise AssertionError(f"{self.process.args!r} said no more than {self.seen}") from None
        if line is not None:
            self.seen.append(line)
        return line

    def until(self, wanted: Wanted) -> None:
        """Reads on until all of that was said."""
        while not wanted.matches(self.seen):
            if self.next() is None:
                raise AssertionError(f"{self.process.args!r} said {self.seen}, not {wanted.lines}")

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(by)
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.process.args!r} did not end by {by.name}") from None
        finally:
            self.reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextlib.contextmanager
def running_broker(folder: Path, *, of_its_own: bool = True) -> Iterator[Broker]:
    """Of its own: in a process that `leveret status` and the like can look at. Otherwise in this one, which is quicker."""
    data = folder / "data"
    if of_its_own:
        with _started(data, folder) as port:
            yield Broker(port, data)
    else:
        with run_in_thread() as embedded:
            yield Broker(embedded.broker.address[1], data)


@contextlib.contextmanager
def _started(data: Path, folder: Path) -> Iterator[int]:
    options = ["--data", str(data), "--amqp-port", "0", "--log-format", "json"]
    running = Lines([sys.executable, "-m", "leveret", "serve", *options], folder, environment())
    try:
        while True:
            line = running.next()
            assert line is not None, f"the broker ended: {running.seen}"
            entry = json.loads(line)
            if entry["event"] == "ready":
                break
        yield int(entry["addresses"]["amqp"].rpartition(":")[2])
    finally:
        running.end()


def looks_at_the_broker(block: Block) -> bool:
    """Whether it has commands that need a broker with a directory."""
    lines = [shlex.split(line) for line, _ in commands_of(block.text)] if block.language == "console" else []
    return any(words[0] == "leveret" and words[1] not in NO_DATA for words in lines)


@dataclass(frozen=True)
class Staying:
    """A command that goes on, and what it is to have said when it is ended."""

    line: str
    running: Lines
    wanted: Wanted


class Reader:
    """Follows one page, in a folder of its own and with a broker of its own."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.ports = {port: str(free_port()) for port in PORTS}
        self.staying: list[Staying] = []

    def here(self, text: str) -> str:
        """A page's text with this run's broker and ports in place of those at localhost."""
        text = text.replace(PIKA, f'pika.ConnectionParameters("127.0.0.1", {self.broker.port})')
        text = BROKER.sub(rf"\g<1>127.0.0.1:{self.broker.port}", text)
        for port, ours in self.ports.items():
            text = re.sub(rf"\b{port}\b", ours, text)
        return text

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.here(text))

    def python(self, text: str) -> None:
        self._run([sys.executable, "-c", self.here(text)])

    def console(self, block: Block) -> None:
        """Runs each `$` line and compares what it says with the lines below it."""
        for line, lines in commands_of(self.here(block.text)):
            wanted = Wanted(lines, block.option("numbers") == "vary")
            if "stays" in block.words:
                running = Lines(self._command(line), self.folder, self._environment())
                self.staying.append(Staying(line, running, wanted))
                running.until(wanted.first())
            else:
                said = self._run(self._command(line), int(block.option("code") or 0))
                assert wanted.matches(said), f"{line}\nis to say:\n{lines}\nsays:\n{said}"

    def stop(self, line: str) -> None:
        """Ctrl-C to a command that stays."""
        line = self.here(line)
        ended = next((each for each in self.staying if each.line == line), None)
        assert ended is not None, f"{line} does not run"
        self.staying.remove(ended)
        try:
            ended.running.until(ended.wanted)
        finally:
            ended.running.end(signal.SIGINT)

    def finish(self) -> None:
        """All that goes on has said what the page says; which of several like programs said what is left open."""
        for line in sorted({each.line for each in self.staying}):
            alike = [each for each in self.staying if each.line == line]
            if len(alike) == 1:
                alike[0].running.until(alike[0].wanted)
                continue
            for each in alike:
                while len(each.running.seen) < len(each.wanted.lines) and each.running.next() is not None:
                    pass
            said = sorted(each.running.seen for each in alike)
            assert said == sorted(each.wanted.lines for each in alike)

    def end(self) -> None:
        for each in reversed(self.staying):
            each.running.end()

    def _environment(self) -> dict[str, str]:
        return environment(LEVERET_URL=f"amqp://127.0.0.1:{self.broker.port}")

    def _command(self, line: str) -> list[str]:
        name, *words = shlex.split(line)
        if name == "python":
            return [sys.executable, *words]
        if name == "curl":
            return [sys.executable, str(Path(__file__).with_name("curl.py")), *words]
        assert name in TOOLS, f"{line}: how is this to be run?"
        if name == "leveret" and words[0] not in NO_DATA:
            words += ["--data", str(self.broker.data)]
        if name == "uvicorn":
            words += ["--port", self.ports["8000"]]
        if name == "pytest":
            words += ["-p", "no:cacheprovider", *PLUGIN]
        return [sys.executable, "-m", name, *words]

    def _run(self, arguments: list[str], code: int = 0) -> list[str]:
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=self._environment(),
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return [line.rstrip() for line in done.stdout.splitlines()]


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """Each `$` line with the lines it is to print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line.rstrip())
    return found
