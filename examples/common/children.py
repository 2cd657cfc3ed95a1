"""The processes that an example starts: each is heard line by line, and stopped by its own process id.

A child writes JSON lines; each becomes a call of `hear(name, event)`. What is not JSON (a traceback) is kept
to be shown when something went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # of the source tree: `examples` is a package in it
STOP_TIMEOUT_S = 15.0
LAST_WORDS_LINES = 15
LINE_LIMIT_BYTES = 1 << 20

Hear = Callable[[str, dict[str, Any]], None]


def ignore(_name: str, _event: dict[str, Any]) -> None:
    """For a child that has nothing to say."""


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, or of Leveret, in a process of its own."""
    return [sys.executable, "-m", module, *arguments]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours, and the source tree among the places where Python looks for modules, wherever it is started."""
    found = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), found])), **more}


class Child:
    def __init__(self, name: str, process: asyncio.subprocess.Process, hear: Hear) -> None:
        self.name = name
        self.pid = process.pid
        self.words: list[str] = []  # its last lines that were no events
        self._process = process
        self._hear = hear
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        hear: Hear = ignore,
        variables: Mapping[str, str] | None = None,
    ) -> Child:
        """`variables` are added to the environment."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(variables or {}),
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,  # Ctrl-C is for us: we stop the others in good order
        )
        return cls(name, process, hear)

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                event = json.loads(line)
                if not isinstance(event, dict):
                    raise ValueError("no event")
            except ValueError:
                self.words = [*self.words, line.decode(errors="replace").rstrip()][-LAST_WORDS_LINES:]
            else:
                self._hear(self.name, event)

    async def ended(self) -> int:
        """Wait until it has ended and everything it said has been heard."""
        code = await self._process.wait()
        await self._listening
        return code

    async def kill(self) -> None:
        """SIGKILL for it and what it has started: no goodbye, nothing flushed, sockets closed by the kernel."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM, as a service manager does; SIGKILL for one that does not heed it. Returns the exit code."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(self._process.wait()), STOP_TIMEOUT_S)
            except TimeoutError:
                self.words.append(f"did not end within {STOP_TIMEOUT_S:.0f} s of SIGTERM: killed")
                await self.kill()
        return await self.ended()
