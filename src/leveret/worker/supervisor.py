"""Several worker processes, each started anew when it dies, and all of them when files change.

It imports nothing of the application, so there are no threads to be forked and nothing stale: each process is a fresh
interpreter that runs the command given. Files are watched by their times, twice a second: it is for development alone, works
on network and container mounts too, and needs no library.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from leveret.client.backoff import Backoff

logger = logging.getLogger("leveret.worker")

LEASH: Final = "LEVERET_WORKER_LEASH"  # a descriptor that is at its end when the supervisor is gone
NUMBER: Final = "LEVERET_WORKER_NUMBER"
STEADY_S: Final = 60.0  # who lived so long begins its back-off anew
LOOK_S: Final = 0.5
KILL_AFTER_S: Final = 10.0  # beyond the grace time
SKIPPED: Final = ("__pycache__", "node_modules", "site-packages")


class Supervisor:
    """`fatal` are exit codes with which starting anew is of no use, if the process did not last. `watch`: a folder, or None.

    A process that is to end is killed some seconds after `grace_s`; with None, which leaves the grace time to the app, it
    is waited for until we are told to stop a second time.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        grace_s: float | None = None,
        fatal: Collection[int] = (),
        watch: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._command = list(command)
        self._count = processes
        self._grace_s = grace_s
        self._fatal = frozenset(fatal)
        self._watch = watch
        self._backoff = backoff if backoff is not None else Backoff(first_s=0.5, jitter="equal")
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()  # told twice
        self._changed = asyncio.Event()
        self._code = 0
        self._leash: tuple[int, int] | None = None

    async def run(self) -> int:
        """Until told to stop by SIGTERM or SIGINT, or a fatal exit. The exit code: 0, or the fatal one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._leash = os.pipe()
        watching = asyncio.create_task(self._look()) if self._watch is not None else None
        try:
            await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        finally:
            if watching is not None:
                watching.cancel()
            for end in self._leash:
                os.close(end)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._code

    def stop(self) -> None:
        """Tell all to drain; told twice, they leave at once, and who does not is killed."""
        if self._stopping.is_set():
            self._hurry.set()
            for process in self._running.values():
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        self._stopping.set()

    async def _keep(self, number: int) -> None:
        """One of the processes, over its lives."""
        loop = asyncio.get_running_loop()
        backoff = self._backoff.fresh()
        while not self._stopping.is_set():
            began_s = loop.time()
            changed = self._changed
            code = await self._life(number)
            if self._stopping.is_set():
                return
            if changed.is_set():
                continue
            fatal = code in self._fatal and loop.time() - began_s < STEADY_S
            if fatal and self._watch is None:
                self._code = code
                self.stop()
                return
            if fatal:
                logger.warning("worker %d cannot begin; waiting for a file to change", number)
                await self._either(changed.wait())
                continue
            if loop.time() - began_s >= STEADY_S:
                backoff.reset()
            delay_s = backoff.next_s()
            logger.warning(
                "worker %d ended with %s; it is started anew in %.1f s", number, _ending(code), delay_s
            )
            await self._either(asyncio.sleep(delay_s))

    async def _either(self, waiting: object) -> None:
        """What is waited for, or that it is time to stop."""
        tasks = {asyncio.ensure_future(waiting), asyncio.ensure_future(self._stopping.wait())}  # type: ignore[call-overload]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _life(self, number: int) -> int:
        """The exit code of one process."""
        assert self._leash is not None
        environment = {**os.environ, LEASH: str(self._leash[0]), NUMBER: str(number)}
        process = await asyncio.create_subprocess_exec(
            *self._command, env=environment, pass_fds=[self._leash[0]], stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C reaches a whole group; that we pass it on is enough
            start_new_session=True,
        )  # fmt: skip
        self._running[number] = process
        logger.info("worker %d is process %d", number, process.pid)
        ended = asyncio.ensure_future(process.wait())
        changed = asyncio.ensure_future(self._changed.wait())
        stopped = asyncio.ensure_future(self._stopping.wait())
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({ended, changed, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                limit_s = None if self._grace_s is None else self._grace_s + KILL_AFTER_S
                await asyncio.wait({ended, hurry}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if hurry.done():
                await asyncio.wait({ended}, timeout=KILL_AFTER_S)
            if not ended.done():
                logger.error("worker %d does not end, and is killed", number)
                process.kill()
            return await ended
        finally:
            del self._running[number]
            changed.cancel()
            stopped.cancel()
            hurry.cancel()

    # ---- files

    async def _look(self) -> None:
        assert self._watch is not None
        before = times_of(self._watch)
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(times_of, self._watch)
            if now != before:
                names = sorted({path for path, _ in set(now.items()) ^ set(before.items())})
                logger.info("%s changed: all workers begin anew", ", ".join(names[:3]))
                before = now
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()


def times_of(folder: Path) -> dict[str, int]:
    """When each Python file below was changed, in ns. What is hidden, installed or generated is left out."""
    found: dict[str, int] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in SKIPPED
            and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
        ]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(place, name)
                with contextlib.suppress(OSError):
                    found[path] = os.stat(path).st_mtime_ns
    return found


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def watch_leash(loop: asyncio.AbstractEventLoop) -> None:
    """In a worker: when the supervisor is gone, however it went, do as at SIGTERM."""
    text = os.environ.pop(LEASH, "")
    if not text.isdigit():
        return
    end = int(text)
    os.set_inheritable(end, False)

    def gone() -> None:
        loop.remove_reader(end)
        logger.warning("the supervisor is gone; this worker drains and leaves")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(end, gone)
