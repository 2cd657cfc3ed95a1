"""Lines of what queues do besides storing and handing out, each beside the plain durable load of the same run and
beside RabbitMQ where that has the feature; and what very many messages cost that only wait for their time."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.bench import DURABLE, Bench, Line, medians
from bench.brokers import Leveret
from bench.figures import Figure, number, ratio
from bench.generators import Figures
from bench.procfs import cpu_s
from bench.rates import rate_of, words_of

MUST_ITSELF = 0.5
MUST_RABBITMQ = 5.0
FILL = ["--fill"]
SETTLE_S = 3.0
IDLE_S = 10.0
MUST_MB = 60.0
MUST_PERCENT = 0.5


def against(
    bench: Bench,
    work: str,
    options: list[str],
    rivals: bool = True,
    plain: list[str] | None = None,
    judged: str = "x itself, plain",
    rate: Callable[[Figures], float] = rate_of,
) -> list[Figure]:
    """A load beside the plain one (with the options `plain` besides) and, if it has the feature, RabbitMQ's."""
    with bench.leveret() as broker:
        works: dict[str, Callable[[], Figures]] = {
            "plain": lambda: bench.load(broker, *DURABLE, *(plain or []), own=True),
            "asking": lambda: bench.load(broker, *DURABLE, *options, own=True),
        }
        rival = bench.rival() if rivals else None
        if rival is not None:
            works["rival"] = lambda: bench.load(rival, *DURABLE, *options, own=True)
        seen = bench.in_turns(works)
    base, ours, theirs = medians(seen["plain"]), medians(seen["asking"]), medians(seen.get("rival", {}))
    words = words_of(ours, rate)
    itself = ratio(rate(ours), rate(base))
    figures = [Figure(work, words, words_of(base, rate), judged, itself, MUST_ITSELF)]
    if rivals:
        by = ratio(rate(ours), rate(theirs)) if theirs else None
        figures.append(Figure(work, words, words_of(theirs, rate), "x RabbitMQ", by, MUST_RABBITMQ))
    return figures


def confirmed(figures: Figures) -> float:
    return figures.get("confirm_rate", 0.0)


def ttl(bench: Bench) -> list[Figure]:
    return against(bench, "TTL on every message, an hour", ["--expiration", "3600000"])


def priorities(bench: Bench) -> list[Figure]:
    return against(bench, "priorities over 10 levels", ["--arg", "x-max-priority=10", "--priorities", "10"])


def groups(bench: Bench) -> list[Figure]:
    options = ["--arg", "x-group-header=x-group-id", "--groups", "100000"]
    return against(bench, "groups over 100,000 keys", options, rivals=False)


def delay(bench: Bench) -> list[Figure]:
    """The window begins when as much is due as is published."""
    options = ["--delay", "500", "--warmup", f"{bench.options.warmup + 1:g}"]
    return against(bench, "a delay of 500 ms on every message", options, rivals=False)


def max_length(bench: Bench) -> list[Figure]:
    options = [*FILL, "--arg", "x-max-length=1000"]
    work = "a queue of 1,000 that drops its head, nobody consumes"
    return against(bench, work, options, plain=FILL, judged="x itself, filling", rate=confirmed)


def rejected(bench: Bench) -> list[Figure]:
    return against(bench, "every message rejected and dead-lettered", ["--dlx", "reject"])


def dropped(bench: Bench) -> list[Figure]:
    options = ["--dlx", "drop", "--arg", "x-max-length=1000"]
    return against(bench, "every message dropped from a queue of 1,000 and dead-lettered", options)


def waiting(bench: Bench) -> list[Figure]:
    count = bench.options.waiting
    figures = []
    kinds = {"delayed by an hour": ["--delay", "3600000"], "with distinct TTLs": ["--expiration", "distinct"]}
    for kind, options in kinds.items():
        with bench.leveret() as broker:
            time.sleep(SETTLE_S)
            empty_kb, empty = broker.rss_kb(), _busy_percent(broker)
            load = ["--queue", "waiting", *DURABLE, *FILL, "--count", str(count), "--secs", "3600"]
            rate = confirmed(bench.start_load(broker, *load, *options, own=True, count=True).figures())
            time.sleep(SETTLE_S)
            mb, percent = broker.rss_kb() / 1024, _busy_percent(broker)
        work = f"{number(count)} messages {kind}"
        words = f"{number(mb)} MB, filled at {number(rate)} msg/s"
        beside = f"empty: {number(empty_kb / 1024)} MB"
        figures.append(Figure(work, words, beside, "RSS, MB", mb, MUST_MB, at_most=True))
        words, beside = f"{number(percent)} % of a core", f"empty: {number(empty)} %"
        figures.append(Figure(work, words, beside, "CPU idle, %", percent, MUST_PERCENT, at_most=True))
    return figures


def _busy_percent(broker: Leveret) -> float:
    """What the broker uses while nobody asks for anything."""
    before = cpu_s(broker.pid)
    time.sleep(IDLE_S)
    return (cpu_s(broker.pid) - before) / IDLE_S * 100


LINES = [
    Line("ttl", "TTL on every message", ttl),
    Line("priorities", "priorities over 10 levels", priorities),
    Line("groups", "message groups over 100,000 keys", groups),
    Line("delay", "a delay of 500 ms on every message", delay),
    Line("max-length", "a queue of 1,000 that drops its head", max_length),
    Line("rejected", "every message rejected and dead-lettered", rejected),
    Line("dropped", "every message dropped from a full queue and dead-lettered", dropped),
    Line("waiting", "1,000,000 delayed, 1,000,000 with distinct TTLs: memory and idle CPU", waiting),
]
