"""What people see: progress while it runs, the table and the expectations at the end.

In a terminal the last line is a status that changes; elsewhere there is a plain line every two seconds.
"""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from tally import Expectation, Outcome, Subscription, Tally

BAR_WIDTH = 20
REFRESH_TTY_S = 0.1
REFRESH_PLAIN_S = 2.0
HEADER = ("", "messages", "redelivered", "duplicates", "lost", "per second", "p50 ms", "p99 ms", "latency of")


class Progress:
    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.refresh_s = REFRESH_TTY_S if self.live else REFRESH_PLAIN_S
        self._started_s = time.monotonic()
        self._status = ""

    def say(self, text: str) -> None:
        """Something happened: a line that stays."""
        self._clear()
        self._write(f"{time.monotonic() - self._started_s:6.1f} s  {text}\n")
        if self.live:
            self._write(self._status)

    def status(self, text: str) -> None:
        """How far things are: overwritten by the next in a terminal."""
        if self.live:
            self._clear()
            self._status = text[: shutil.get_terminal_size().columns - 1]  # a longer one would break the line
            self._write(self._status)
        elif text != self._status:
            self._status = text
            self._write(f"{time.monotonic() - self._started_s:6.1f} s  {text}\n")

    def finish(self) -> None:
        self._clear()
        self._status = ""

    def _clear(self) -> None:
        if self.live and self._status:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def bar(part: int, total: int) -> str:
    full = BAR_WIDTH * part // total if total else BAR_WIDTH
    return "[" + "#" * full + "." * (BAR_WIDTH - full) + "]"


def status_of(tally: Tally) -> str:
    received = "  ".join(f"{name} {len(s.ids)}" for name, s in tally.received.items())
    return (
        f"{bar(tally.resized, tally.total)} sent {len(tally.sent.ids)}/{tally.total}  resized {tally.resized}"
        f"  redelivered {tally.taken.redelivered}  {received}"
    )


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def _row(name: str, what: Subscription, lost: int, latency: str, duplicates: int | None = None) -> list[str]:
    span_s = what.last_s - what.first_s
    rate = f"{(len(what.ids) - 1) / span_s:.1f}" if len(what.ids) > 1 and span_s > 0 else "-"
    return [
        name,
        str(len(what.ids)),
        str(what.redelivered),
        str(what.duplicates if duplicates is None else duplicates),
        str(lost),
        rate,
        f"{percentile(what.latencies_ms, 50):.1f}",
        f"{percentile(what.latencies_ms, 99):.1f}",
        latency,
    ]


def table(tally: Tally, outcome: Outcome) -> str:
    confirmed, results = tally.sent.ids, set(outcome.results)
    portraits = {id for id, orientation in outcome.results.items() if orientation == "portrait"}
    lost = len(confirmed - results - tally.unreadable)
    rows = [
        list(HEADER),
        _row("jobs sent", tally.sent, 0, "publish to confirm", duplicates=tally.sent_again),
        _row("jobs taken", tally.taken, len(confirmed - tally.taken.ids), "publish to worker"),
        _row("images resized", tally.written, lost, "the work itself"),
    ]
    wanted = {"gallery": results, "audit": confirmed, "portraits": portraits, "report": confirmed}
    labels = {"gallery": "-> gallery", "audit": "-> audit", "portraits": "-> portraits", "report": "-> cron"}
    for name, ids in wanted.items():
        received = tally.received[name]
        rows.append(_row(labels[name], received, len(ids - received.ids), "announcement to receiver"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def summary(tally: Tally, outcome: Outcome, expectations: list[Expectation]) -> str:
    by_worker = ", ".join(f"{name} {count}" for name, count in sorted(tally.jobs_by_worker.items()))
    lines = [
        table(tally, outcome),
        "",
        f"jobs taken: {by_worker}",
        f"cron came {tally.visits + tally.visits_in_vain} times, {tally.visits_in_vain} of them in vain;"
        f" connections lost and made again: {sum(tally.losses.values())}",
        "",
    ]
    for expectation in expectations:
        mark = "ok    " if expectation.met else "FAILED"
        lines.append(f"{mark}  {expectation.text}" + ("" if expectation.met else f": {expectation.found}"))
    failed = sum(not expectation.met for expectation in expectations)
    lines.append("")
    lines.append("everything held" if not failed else f"{failed} of {len(expectations)} expectations FAILED")
    return "\n".join(lines)
