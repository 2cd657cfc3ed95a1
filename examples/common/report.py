"""What people see of an example: progress while it runs; tables, and what held or not, at the end.

In a terminal the last line is a status that changes; elsewhere there is a plain line every two seconds.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

BAR_WIDTH = 20
REFRESH_TTY_S = 0.1
REFRESH_PLAIN_S = 2.0
BLOCKS = " ▁▂▃▄▅▆▇█"


class Progress:
    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.refresh_s = REFRESH_TTY_S if self.live else REFRESH_PLAIN_S
        self._started_s = self._status_s = time.monotonic()
        self._status: list[str] = []

    def say(self, text: str) -> None:
        """Something happened: a line that stays."""
        self._clear()
        self._write(f"{time.monotonic() - self._started_s:6.1f} s  {text}\n")
        if self.live:
            self._write("\n".join(self._status))

    def status(self, *lines: str) -> None:
        """How things are: overwritten by the next in a terminal. Elsewhere the first line alone, now and then."""
        if self.live:
            self._clear()
            width = shutil.get_terminal_size().columns - 1  # a longer line would break in two
            self._status = [line[:width] for line in lines]
            self._write("\n".join(self._status))
        elif self._status != [lines[0]] and time.monotonic() - self._status_s >= REFRESH_PLAIN_S:
            self._status = [lines[0]]
            self._status_s = time.monotonic()
            self._write(f"{self._status_s - self._started_s:6.1f} s  {lines[0]}\n")

    def finish(self) -> None:
        """No status any more: what is written next stands alone."""
        self._clear()
        self._status = []

    def _clear(self) -> None:
        if self.live and self._status:
            up = len(self._status) - 1
            self._write("\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def bar(part: int, total: int, width: int = BAR_WIDTH) -> str:
    full = min(width, width * part // total) if total else width
    return "[" + "#" * full + "." * (width - full) + "]"


def sparkline(values: Sequence[float], width: int, top: float = 0.0) -> str:
    """The last `width` values, a character each; the highest block is `top`, or the highest of them."""
    shown = list(values)[-width:]
    highest = top or max(shown, default=0.0)
    if not highest:
        return BLOCKS[0] * len(shown)
    levels = len(BLOCKS) - 1
    return "".join(BLOCKS[min(levels, math.ceil(levels * max(value, 0.0) / highest))] for value in shown)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns as wide as they have to be; those named in `left` begin at the left, the others end at the right."""
    lines = [header, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]

    def cell(text: str, column: int) -> str:
        return text.ljust(widths[column]) if column in left else text.rjust(widths[column])

    return "\n".join("  ".join(cell(t, c) for c, t in enumerate(row)).rstrip() for row in lines)


@dataclass(frozen=True)
class Expectation:
    """A sentence that is to be true in the end. `found` tells what was there instead."""

    text: str
    met: bool
    found: str = ""


def verdict(expectations: Sequence[Expectation]) -> str:
    lines = []
    for expectation in expectations:
        mark = "ok    " if expectation.met else "FAILED"
        lines.append(f"{mark}  {expectation.text}" + ("" if expectation.met else f": {expectation.found}"))
    failed = sum(not expectation.met for expectation in expectations)
    lines.append("")
    lines.append("everything held" if not failed else f"{failed} of {len(expectations)} expectations FAILED")
    return "\n".join(lines)


def all_met(expectations: Sequence[Expectation]) -> bool:
    return bool(expectations) and all(expectation.met for expectation in expectations)
