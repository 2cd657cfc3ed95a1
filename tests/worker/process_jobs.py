"""Handlers for the tests of process pools, as their processes import them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any


class Runner:
    """An `interfaces.ChildRunner` around a function. Its end writes a file, if the last job was the name of one."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.last: Any = None

    def open(self) -> None:
        """Nothing to open."""

    def __call__(self, job: Any) -> Any:
        self.last = job
        return self.function(job)

    def close(self) -> None:
        if isinstance(self.last, str):
            with open(self.last, "w") as file:
                file.write("closed")


class Handler:
    """What a decorated handler is for `inside.load`."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def child_runner(self) -> Runner:
        return Runner(self.function)


HELD: list[bytearray] = []


@Handler
def nothing(job: Any) -> None:
    """Done at once."""


@Handler
def echo(job: Any) -> Any:
    return job


@Handler
def act(job: Any) -> Any:
    """What the job says: a name and an argument."""
    what, argument = job
    if what == "pid":
        return os.getpid()
    if what == "nothing":
        return None
    if what == "log":
        logging.getLogger("shop").info(argument)
    elif what == "kill":
        os.kill(os.getpid(), argument)
    elif what == "exit":
        os._exit(argument)
    elif what == "raise":
        raise ValueError(argument)
    elif what == "unsendable":
        return 1 << 100
    elif what == "hold":  # until the file at the other end of a named pipe is opened
        with open(argument) as pipe:
            return pipe.read()
    elif what == "forever":
        while True:
            signal.pause()
    elif what == "program":  # one that goes on, in this process's group
        program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        with open(argument, "w") as file:
            file.write(str(program.pid))
        program.wait()
    elif what == "allocate":
        allocate(argument)
    elif what == "allocate forever":
        allocate(argument)
        while True:
            signal.pause()
    return argument


def allocate(size_bytes: int) -> None:
    """Memory that is really used: each page is written to."""
    HELD.append(bytearray(size_bytes))
    HELD[-1][::4096] = b"x" * len(range(0, size_bytes, 4096))


class _NotOpening(Runner):
    def open(self) -> None:
        raise RuntimeError("the database is not there")


class _NotOpeningHandler(Handler):
    def child_runner(self) -> Runner:
        return _NotOpening(self.function)


not_opening = _NotOpeningHandler(echo.function)
