"""What people see of the demo: how far it is while it runs, and the table at the end."""

from __future__ import annotations

from examples.common import report
from examples.common.report import Expectation, bar, percentile, verdict
from examples.demo.tally import Outcome, Subscription, Tally

HEADER = ("", "messages", "redelivered", "duplicates", "lost", "per second", "p50 ms", "p99 ms", "latency of")


def status_of(tally: Tally) -> str:
    received = "  ".join(f"{name} {len(s.ids)}" for name, s in tally.received.items())
    return (
        f"{bar(tally.resized, tally.total)} sent {len(tally.sent.ids)}/{tally.total}  resized {tally.resized}"
        f"  redelivered {tally.taken.redelivered}  {received}"
    )


def _row(name: str, what: Subscription, lost: int, latency: str, duplicates: int | None = None) -> list[str]:
    span_s = what.last_s - what.first_s
    rate = f"{(len(what.ids) - 1) / span_s:.1f}" if len(what.ids) > 1 and span_s > 0.1 else "-"
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
        _row("jobs sent", tally.sent, 0, "publish to confirm", duplicates=tally.sent_again),
        _row("jobs taken", tally.taken, len(confirmed - tally.taken.ids), "publish to worker"),
        _row("images resized", tally.written, lost, "the work itself"),
    ]
    wanted = {"gallery": results, "audit": confirmed, "portraits": portraits, "report": confirmed}
    labels = {"gallery": "-> gallery", "audit": "-> audit", "portraits": "-> portraits", "report": "-> cron"}
    for name, ids in wanted.items():
        received = tally.received[name]
        rows.append(_row(labels[name], received, len(ids - received.ids), "announcement to receiver"))
    return report.table(HEADER, rows, left=(0, len(HEADER) - 1))


def summary(tally: Tally, outcome: Outcome, expectations: list[Expectation]) -> str:
    by_worker = ", ".join(f"{name} {count}" for name, count in sorted(tally.jobs_by_worker.items()))
    lines = [
        table(tally, outcome),
        "",
        f"jobs taken: {by_worker}",
        f"cron came {tally.visits + tally.visits_in_vain} times, {tally.visits_in_vain} of them in vain",
        "",
    ]
    return "\n".join([*lines, verdict(expectations)])
