"""Where an example plays: a temporary folder, a broker, and the processes around it. In the end all are gone."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.common.broker import Broker
from examples.common.children import ROOT, Child, Hear, ignore, python
from examples.common.report import Expectation, Progress, all_met, verdict

LOG = "client.log"
LOG_LINES = 15


class Stage:
    """Used with `async with`: what was started on it is stopped when the block ends, whatever happened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress = Progress()
        self.broker = Broker(folder / "broker")
        self.children: dict[str, Child] = {}
        self._all: list[Child] = []

    async def __aenter__(self) -> Self:
        await self.broker.start()
        told, port = self.broker.describes_itself, self.broker.port
        self.progress.say(f"broker: {told}, port {port}, pid {self.broker.pid}")
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.finish()
        await self.stop_children()
        await self.broker.stop()
        if error is not None:
            self.show_last_words()

    async def start(
        self,
        name: str,
        module: str,
        *arguments: str,
        hear: Hear = ignore,
        variables: Mapping[str, str] | None = None,
    ) -> Child:
        """A Python module in a process of its own."""
        child = await Child.start(name, python(module, *arguments), hear, variables)
        self.children[name] = child
        self._all.append(child)
        return child

    async def stop_children(self) -> dict[str, int]:
        """Ask all to leave. Returns the exit codes of those that were left running."""
        children, self.children = self.children, {}
        codes = await asyncio.gather(*(child.stop() for child in children.values()))
        return dict(zip(children, codes, strict=True))

    def conclude(self, expectations: list[Expectation]) -> bool:
        """Tell what held and what did not. If something did not, also the last words of everybody."""
        self.progress.finish()
        print("\n" + verdict(expectations), flush=True)
        met = all_met(expectations)
        if not met:
            self.show_last_words()
        return met

    def show_last_words(self) -> None:
        log = self.folder / LOG
        own = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        everybody = [*((c.name, c.words) for c in self._all), ("broker", self.broker.words), ("run.py", own)]
        for name, words in everybody:
            for line in words:
                print(f"{name}: {line}", file=sys.stderr)


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options that all examples have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "examples" / name,
        metavar="DIR",
        help=f"where plots and results go (build/examples/{name})",
    )
    return made


async def cancelled_by_signals(work: Awaitable[bool]) -> bool:
    """SIGTERM and Ctrl-C end the work in good order: its `finally` clauses run."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def play(name: str, story: Callable[[Path], Awaitable[bool]], keep: bool = False) -> int:
    """Run `story` with a temporary folder, and return the exit code: 0 if all held, 1 if not, 130 if interrupted."""
    folder = Path(tempfile.mkdtemp(prefix=f"leveret-{name}-"))
    # Connections that are lost and found again: of interest when something went wrong, and else in the way.
    logging.basicConfig(filename=folder / LOG, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        return 0 if asyncio.run(cancelled_by_signals(story(folder))) else 1
    except asyncio.CancelledError:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        print(f"the {name} ended early: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        if keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
