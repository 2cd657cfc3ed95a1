"""Processes of applications: started with a log file, waited for, ended by their own process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.compat.waiting import eventually

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 20.0
ROOT = Path(__file__).parents[2]


class Program:
    """A running program and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.name = ""  # what the program calls itself, where it has a name
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, deadline_s: float = START_TIMEOUT_S) -> str:
        """Wait until the program has written `text`, and return all that it has written."""

        def found() -> str | None:
            log = self.log
            assert text in log or self.process.poll() is None, f"it ended:\n{log}"
            return log if text in log else None

        try:
            return eventually(found, f"it writes {text!r}", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def kill(self) -> None:
        """Kill it with all the processes that it has started, as a machine that goes down does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as a service manager would; what does not end is killed and reported."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {STOP_TIMEOUT_S} s:\n{self.log}") from None


@contextlib.contextmanager
def program(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[Program]:
    """`python -m ARGUMENTS` with `tests.apps` at hand, as long as the context lasts."""
    log = folder / f"{arguments[0]}-{uuid.uuid4().hex[:6]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
    started = Program(process, log)
    try:
        yield started
    finally:
        started.stop()
