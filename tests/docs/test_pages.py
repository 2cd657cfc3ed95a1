"""The documentation, checked: references are not stale, links lead somewhere, code runs and says what is printed.

How a page's code is run: a `python file=NAME` block is written to a file; any other `python` block is run as it is;
a `console` block's commands are run one after the other and must print what follows them. `console stays` starts a
command that goes on; it must print its first line at once, and by the end of the page all of them. `toml` is a
configuration. `sh` blocks name make targets and leveret commands that must be there. Commands run against a broker of
the test's own: `localhost` in a program is its address, and `leveret` is told its directory.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from leveret import config
from leveret.cli.main import COMMANDS
from leveret.core import retry
from leveret.wire import methods

pytest.importorskip("pika")

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
BLOCK: Final = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
TIMEOUT_S: Final = 20.0
CONNECTS: Final = 'pika.ConnectionParameters("localhost")'


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    language: str
    info: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    return [Block(found[1], found[2].strip(), found[3]) for found in BLOCK.finditer(page.read_text())]


RUNNABLE: Final = [p for p in PAGES if any(b.language in ("python", "console") for b in blocks_of(p))]


# ---- a broker


@dataclass(frozen=True)
class Broker:
    port: int
    data: Path


class Lines:
    """A process whose output is read line by line."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
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

    def rest(self) -> list[str]:
        found: list[str] = []
        while (line := self.next()) is not None:
            found.append(line)
        return found

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One a page, so that a page finds what it says it finds."""
    data = tmp_path / "data"
    options = ["--data", str(data), "--amqp-port", "0", "--log-format", "json"]
    running = Lines([sys.executable, "-m", "leveret", "serve", *options], tmp_path)
    try:
        while True:
            line = running.next()
            assert line is not None, f"the broker ended: {running.seen}"
            entry = json.loads(line)
            if entry["event"] == "ready":
                break
        yield Broker(int(entry["addresses"]["amqp"].rpartition(":")[2]), data)
    finally:
        running.end()


# ---- code


def program(text: str, broker: Broker) -> str:
    """A program of the documentation, with the test's broker in place of the one at localhost."""
    return text.replace(CONNECTS, f'pika.ConnectionParameters("127.0.0.1", {broker.port})')


def command(line: str, broker: Broker) -> list[str]:
    words = shlex.split(line)
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    assert words[0] == "leveret", f"{line}: how is this to be run?"
    return [sys.executable, "-m", "leveret", *words[1:], "--data", str(broker.data)]


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """Each `$` line with the lines it is to print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line.rstrip())
    return found


def run(arguments: list[str], folder: Path) -> list[str]:
    done = subprocess.run(
        arguments,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return [line.rstrip() for line in done.stdout.splitlines()]


class PageRun:
    def __init__(self, broker: Broker, folder: Path, stack: ExitStack) -> None:
        self.broker = broker
        self.folder = folder
        self.stack = stack
        self.staying: list[tuple[Lines, list[str]]] = []

    def block(self, block: Block) -> None:
        if block.language == "python":
            text = program(block.text, self.broker)
            if block.info.startswith("file="):
                (self.folder / block.info.removeprefix("file=")).write_text(text)
            else:
                run([sys.executable, "-c", text], self.folder)
        elif block.language == "console":
            for line, wanted in commands_of(block.text):
                if block.info == "stays":
                    self._start(command(line, self.broker), wanted)
                else:
                    assert run(command(line, self.broker), self.folder) == wanted

    def _start(self, arguments: list[str], wanted: list[str]) -> None:
        running = Lines(arguments, self.folder)
        self.stack.callback(running.end)
        assert running.next() == wanted[0]
        self.staying.append((running, wanted))

    def finish(self) -> None:
        """All that goes on has said what the page says; which of several like programs said what is left open."""
        found: list[list[str]] = []
        for running, wanted in self.staying:
            while len(running.seen) < len(wanted) and running.next() is not None:
                pass
            found.append(running.seen)
        assert sorted(found) == sorted(wanted for _, wanted in self.staying)


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_code_runs_and_prints_what_the_page_says(page: Path, broker: Broker, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    with ExitStack() as stack:
        running = PageRun(broker, folder, stack)
        for block in blocks_of(page):
            running.block(block)
        running.finish()


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.language == "toml" for b in blocks_of(p))], ids=name_of
)
def test_configurations_can_be_used(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page):
        if block.language == "toml":
            file = tmp_path / "leveret.toml"
            file.write_text(block.text)
            config.load(file, environ={})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_blocks_name_what_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks_of(page):
        if block.language == "sh":
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    del words[0]
                if words[:1] == ["make"]:
                    assert {w for w in words[1:] if "=" not in w} <= targets, line
                elif words[:1] == ["leveret"]:
                    assert words[1] in COMMANDS, line


def test_every_block_says_what_it_is() -> None:
    known = {"python", "console", "sh", "toml", "text"}
    for page in PAGES:
        fences = [line[3:] for line in page.read_text().splitlines() if line.startswith("```")]
        assert {fence.partition(" ")[0] for fence in fences[::2]} <= known, name_of(page)
        assert set(fences[1::2]) <= {""}, name_of(page)


# ---- references, links, indexes


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, (
                target
            )


def test_generated_references_are_not_stale() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_argument_and_header_in_the_code_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "queues.md").read_text()
    source = ROOT / "src" / "leveret"
    named: set[str] = set()
    for folder in ("core", "protocol"):
        for file in (source / folder).rglob("*.py"):
            named |= set(re.findall(r'b?"(x-[a-z-]+[a-z])"', file.read_text()))
    named |= {
        f"x-{when}-death-{what}" for when in ("first", "last") for what in ("queue", "reason", "exchange")
    }
    named.discard("x-del")  # how three of them begin
    assert len(named) > 40
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_every_key_of_a_retry_policy_is_explained() -> None:
    page = (DOCS / "how-to" / "retry-with-back-off.md").read_text()
    assert {key for key in retry.KEYS if f"| `{key}` |" not in page} == set()


def test_every_method_has_its_place_in_the_compatibility_table() -> None:
    table = (DOCS / "reference" / "compatibility.md").read_text()
    named: set[str] = set()
    for row in re.findall(r"^\| (`[^|]*) \|", table.partition("## Arguments")[0], re.MULTILINE):
        family = ""
        for name in re.findall(r"`([a-z.-]+)`", row):
            family = name.partition(".")[0] if "." in name else family
            named.add(name if "." in name else f"{family}.{name}")
    known = {name.replace("_", "-") for name in methods.NAMES.values()}
    assert known - named == set()
    assert named - known == set()


def test_every_decision_is_in_the_index() -> None:
    folder = DOCS / "adr"
    index = LINK.findall((folder / "README.md").read_text())
    assert sorted(index) == sorted(p.name for p in folder.glob("[0-9]*.md"))
