"""The load generators: built when they are needed, run with a process id to charge, their figures read from JSON."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

Figures = dict[str, float]
SOURCES = Path(__file__).resolve().parent / "load"


class GeneratorFailed(Exception):
    """It ended with something other than 0; its own words are in the text."""


def build_amqpload(source: Path, into: Path) -> Path:
    """`source` is the directory with its Makefile."""
    out = into / "amqpload"
    subprocess.run(["make", "-s", "-C", str(source), f"OUT={out}"], check=True)
    return out


def build_own(name: str, into: Path) -> Path:
    """name: of a source in load/, without its suffix."""
    out = into / name
    source = SOURCES / f"{name}.c"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(out), str(source)], check=True)
    return out


def parse(output: str) -> Figures:
    """The last line that is a JSON object of numbers."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return {name: float(value) for name, value in json.loads(line).items()}
    raise GeneratorFailed(f"no figures in: {output!r}")


class Run:
    """A generator at work."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def figures(self) -> Figures:
        """Waits for its end. Raises GeneratorFailed, also when messages did not arrive 20 s after the last publish."""
        output, errors = self.process.communicate()
        if self.process.returncode != 0:
            raise GeneratorFailed(
                f"{' '.join(self.words)}: exit code {self.process.returncode}: {errors.strip()}"
            )
        figures = parse(output)
        if figures.get("lost", 0) > 0:
            raise GeneratorFailed(
                f"{' '.join(self.words)}: {figures['lost']:.0f} messages were not delivered"
            )
        return figures

    def stop(self) -> None:
        """End it early and forget its figures."""
        self.process.terminate()
        self.process.communicate()
