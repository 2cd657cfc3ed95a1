"""Counts what the clients say, and judges it at the end. Knows neither the broker nor the processes.

The judgement rests on two things only: the files that are there in the end, and the ids that were confirmed
to the producer. Each must meet in a result, and in an announcement for every subscription.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from examples.common.report import Expectation
from examples.common.waiting import Watch


@dataclass
class Subscription:
    """What one receiver of announcements got."""

    ids: set[str] = field(default_factory=set)
    duplicates: int = 0
    redelivered: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0

    def got(self, event: dict[str, Any]) -> None:
        self.redelivered += event["redelivered"]
        if event["id"] in self.ids:
            self.duplicates += 1
            return
        self.ids.add(event["id"])
        self.latencies_ms.append(event["ms"])
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s


class Tally:
    def __init__(self, total: int) -> None:
        self.total = total
        self.started_s = time.monotonic()
        self.sent = Subscription()  # confirmed jobs; the latency is that of the confirm
        self.sent_again = 0
        self.taken = Subscription()  # jobs as workers took them; the latency is the wait since it was sent
        self.written = Subscription()  # results; the latency is the time of the work
        self.unreadable: set[str] = set()
        self.jobs_by_worker: Counter[str] = Counter()
        self.redelivered_jobs: set[str] = set()
        self.in_hand: dict[str, tuple[str, str]] = {}  # worker: job, stage
        self.received: dict[str, Subscription] = {
            name: Subscription() for name in ("gallery", "audit", "portraits", "report")
        }
        self.visits = 0
        self.visits_in_vain = 0
        self.watch = Watch()

    # ---- listening

    def hear(self, client: str, event: dict[str, Any]) -> None:
        """One line of a client. The name of the method says which event it is for."""
        handler = getattr(self, f"_{event['event']}", None)
        if handler is not None:
            handler(client, event)
        self.watch.touch()

    def _sent(self, _: str, event: dict[str, Any]) -> None:
        self.sent.got({**event, "redelivered": False})

    def _finished(self, _: str, event: dict[str, Any]) -> None:
        self.sent_again = event["again"]

    def _taken(self, client: str, event: dict[str, Any]) -> None:
        self.taken.got({**event, "ms": event["waited_ms"]})
        self.jobs_by_worker[client] += 1
        self.in_hand[client] = (event["id"], "taken")
        if event["redelivered"]:
            self.redelivered_jobs.add(event["id"])

    def _unreadable(self, _: str, event: dict[str, Any]) -> None:
        self.unreadable.add(event["id"])

    def _written(self, client: str, event: dict[str, Any]) -> None:
        self.in_hand[client] = (event["id"], "written")
        self.written.got({**event, "redelivered": False})

    def _announced(self, client: str, event: dict[str, Any]) -> None:
        self.in_hand[client] = (event["id"], "announced")

    def _got(self, _: str, event: dict[str, Any]) -> None:
        self.received[event["subscription"]].got(event)

    def _pulled(self, _: str, event: dict[str, Any]) -> None:
        self.received["report"].got(event)

    def visited(self, exit_code: int) -> None:
        self.visits += exit_code == 0
        self.visits_in_vain += exit_code != 0

    # ---- asking

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    @property
    def resized(self) -> int:
        return len(self.written.ids - self.unreadable)

    def worker_at_work(self) -> str | None:
        """A worker that is resizing now."""
        return next((worker for worker, (_, stage) in self.in_hand.items() if stage == "taken"), None)

    def everything_arrived(self) -> bool:
        """As far as the clients have told. Whether it is true is judged by the files."""
        everybody = len(self.received["audit"].ids) == len(self.received["report"].ids) == self.total
        readable = self.total - len(self.unreadable)
        return (
            everybody and len(self.sent.ids) == self.total and len(self.received["gallery"].ids) >= readable
        )


@dataclass
class Outcome:
    """What is known when all is over, besides the tally."""

    results: dict[str, str] = field(default_factory=dict)  # complete result: its orientation
    broken_results: list[str] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)  # left in each queue
    exit_codes: dict[str, int] = field(default_factory=dict)  # of those that were asked to stop
    killed_job: str = ""  # what the killed worker had in hand
    killed_workers: set[str] = field(default_factory=set)
    consumers_wanted: dict[str, int] = field(default_factory=dict)  # at each queue
    consumers: dict[str, int] = field(default_factory=dict)  # at the end, as the broker sees it
    confirmed_at_kill: frozenset[str] = frozenset()
    broker_killed: bool = False
    stalled: str = ""


def judge(tally: Tally, outcome: Outcome, kill: bool, kill_broker: bool) -> list[Expectation]:
    found = [*_nothing_lost(tally, outcome), *_shared_out(tally, outcome)]
    if kill:
        found.append(_worker_was_replaced(tally, outcome))
    if kill_broker:
        found += _broker_came_back(tally, outcome)
    if not kill and not kill_broker:
        again = tally.taken.redelivered + sum(s.redelivered for s in tally.received.values())
        found.append(Expectation("nobody was killed: nothing was redelivered", again == 0, f"{again} were"))
    return found


def _nothing_lost(tally: Tally, outcome: Outcome) -> list[Expectation]:
    confirmed = tally.sent.ids
    results = set(outcome.results)
    lost = sorted(confirmed - results - tally.unreadable)
    found = [
        Expectation("everything came to its end", not outcome.stalled, outcome.stalled),
        Expectation(
            "each image was sent and confirmed",
            len(confirmed) == tally.total,
            f"{len(confirmed)} of {tally.total}",
        ),
        Expectation("nothing confirmed was lost: each image is resized", not lost, _some(lost)),
        Expectation(
            "each result is a complete image", not outcome.broken_results, _some(outcome.broken_results)
        ),
    ]
    portraits = {id for id, orientation in outcome.results.items() if orientation == "portrait"}
    wanted = {
        "gallery": (results, "each resized image"),
        "audit": (confirmed, "each finished image"),
        "report": (confirmed, "each finished image (pulled by cron)"),
        "portraits": (portraits, "each portrait and nothing else (headers rule)"),
    }
    for name, (ids, what) in wanted.items():
        got = tally.received[name].ids
        found.append(Expectation(f"{name} got {what}", got == ids, _difference(got, ids)))
    left = {queue: count for queue, count in outcome.waiting.items() if count}
    found.append(
        Expectation("every queue is empty in the end", bool(outcome.waiting) and not left, str(left))
    )
    return found


def _shared_out(tally: Tally, outcome: Outcome) -> list[Expectation]:
    bad = {name: code for name, code in outcome.exit_codes.items() if code != 0}
    return [
        Expectation(
            "the workers shared the jobs",
            len(tally.jobs_by_worker) >= min(3, tally.total),
            str(dict(tally.jobs_by_worker)),
        ),
        Expectation("everybody left in good order when asked to (exit code 0)", not bad, str(bad)),
    ]


def _worker_was_replaced(tally: Tally, outcome: Outcome) -> Expectation:
    job = outcome.killed_job
    return Expectation(
        "the job of the killed worker came again, marked as redelivered, and was done",
        bool(job) and job in tally.redelivered_jobs and job in (set(outcome.results) | tally.unreadable),
        f"{job or 'none was hit in the middle of a job'}",
    )


def _broker_came_back(tally: Tally, outcome: Outcome) -> list[Expectation]:
    if not outcome.broker_killed:
        return [Expectation("the broker was killed and came back", False, "it was not")]
    confirmed_later = len(tally.sent.ids - outcome.confirmed_at_kill)
    away = {
        queue: found for queue, found in outcome.consumers.items() if found < outcome.consumers_wanted[queue]
    }
    return [
        Expectation("jobs were confirmed after the restart, too", confirmed_later > 0, str(confirmed_later)),
        Expectation(
            "all consumers found back to the broker",
            bool(outcome.consumers) and not away,
            str(away or "nobody looked"),
        ),
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _difference(got: set[str], wanted: set[str]) -> str:
    missing, extra = sorted(wanted - got), sorted(got - wanted)
    parts = [f"missing {_some(missing)}"] if missing else []
    return "; ".join(parts + ([f"too many {_some(extra)}"] if extra else []))
