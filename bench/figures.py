"""Results: figures against their bounds, as lines for people, as JSON, and as rows of docs/performance.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bench.brokers import Usage

UNMEASURED: Final = "-"
HEAD: Final = "| work | Leveret | beside it | judged by | must | aim | verdict |\n" + "| --- " * 7 + "|"


@dataclass(frozen=True)
class Figure:
    """One judged number. `value` is compared with the bounds: at least, or at most when `at_most`."""

    work: str
    measured: str  # what Leveret did, in words and units
    beside: str  # what it is compared with
    judged: str  # what `value` is
    value: float | None
    must: float | None = None
    aim: float | None = None
    at_most: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None:
            return UNMEASURED
        if self.aim is not None and self._meets(self.aim):
            return "aim"
        if self.must is None:
            return "short of the aim" if self.aim is not None else "no bound"
        return "must" if self._meets(self.must) else "MISSED"

    def _meets(self, bound: float) -> bool:
        assert self.value is not None
        return self.value <= bound if self.at_most else self.value >= bound

    def bound(self, value: float | None) -> str:
        return UNMEASURED if value is None else f"{'≤' if self.at_most else '≥'} {number(value)}"

    def row(self) -> str:
        judged = f"{self.judged}: {UNMEASURED if self.value is None else number(self.value)}"
        cells = [
            self.work,
            self.measured,
            self.beside,
            judged,
            self.bound(self.must),
            self.bound(self.aim),
            self.verdict,
        ]
        return "| " + " | ".join(cells) + " |"

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "verdict": self.verdict}


def number(value: float) -> str:
    """Three digits that matter, thousands set apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def ratio(value: float, by: float) -> float | None:
    return value / by if by > 0 else None


def merge(document: str, section: str, rows: Sequence[str]) -> str:
    """Put rows into the table between `<!-- begin SECTION -->` and `<!-- end SECTION -->`: a row replaces the one of
    the same work and the same judged figure, and others stay. Raises Usage when there is no such section."""
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    found = re.search(f"{re.escape(begin)}\n(.*?){re.escape(end)}", document, re.DOTALL)
    if found is None:
        raise Usage(f"no section '{section}': it stands between {begin} and {end}")
    table: dict[tuple[str, str], str] = {}
    for row in [line for line in found.group(1).splitlines() if line.startswith("| ")][2:] + list(rows):
        table[_key(row)] = row
    body = "\n".join([HEAD, *table.values()])
    return document[: found.start()] + f"{begin}\n{body}\n{end}" + document[found.end() :]


def _key(row: str) -> tuple[str, str]:
    cells = [cell.strip() for cell in row.strip("| ").split(" | ")]
    return cells[0], cells[3].split(":")[0]
