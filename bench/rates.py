"""Lines of throughput: each load in turns on Leveret and RabbitMQ, or on Leveret and Leveret with one thing changed."""

from __future__ import annotations

from collections.abc import Callable

from bench.bench import DURABLE, Bench, Line, medians
from bench.client import Client
from bench.figures import Figure, number, ratio
from bench.generators import Figures

TOPIC_BINDINGS = 1_000
TOPIC_KEYS = 100_000


def rate_of(figures: Figures) -> float:
    return figures.get("deliver_rate", 0.0)


def words_of(figures: Figures, rate: Callable[[Figures], float] = rate_of) -> str:
    if not figures:
        return "not measured"
    text = f"{number(rate(figures))} msg/s"
    cpu, late = figures.get("broker_us_per_msg", 0.0), figures["lat_p99_ms"]
    return text + (f", {number(cpu)} µs CPU" if cpu else "") + (f", p99 {number(late)} ms" if late else "")


def _confirms(figures: Figures) -> str:
    rate, p50, p99 = figures["confirm_rate"], figures["conf_p50_ms"], figures["conf_p99_ms"]
    return f"{number(rate)} /s, p50 {number(p50)} ms, p99 {number(p99)} ms"


def beside_rabbitmq(work: str, ours: Figures, theirs: Figures, must: float, aim: float) -> Figure:
    by_rate = ratio(rate_of(ours), rate_of(theirs))
    return Figure(work, words_of(ours), words_of(theirs), "x RabbitMQ", by_rate, must, aim)


def compare(
    bench: Bench, work: str, must: float, aim: float, *options: str, own: bool = False
) -> list[Figure]:
    """Delivered messages a second by RabbitMQ's."""
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, *options, own=own)
    return [beside_rabbitmq(work, ours, theirs, must, aim)]


def first(bench: Bench) -> list[Figure]:
    work = "durable, persistent 100 B, confirm 1000, prefetch 1000, ack every 50"
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, *DURABLE)
    by_cpu = ratio(theirs.get("broker_us_per_msg", 0.0), ours["broker_us_per_msg"])
    return [
        beside_rabbitmq(work, ours, theirs, 13, 25),
        Figure(
            work,
            words_of(ours),
            words_of(theirs),
            "RabbitMQ's CPU by ours",
            by_cpu if theirs else None,
            20,
            37,
        ),
    ]


def variants(bench: Bench) -> list[Figure]:
    """All through our own generator, so that only what is named differs."""
    changed: dict[str, list[str]] = {
        "acked one by one": ["--ackevery", "1"],
        "with a Celery task's headers": ["--celery"],
        "other channel number and frame-max on the consumer's side": [
            "--cons-channel",
            "7",
            "--cons-frame-max",
            "8192",
        ],
    }
    with bench.leveret() as broker:
        works: dict[str, Callable[[], Figures]] = {"plain": lambda: bench.load(broker, *DURABLE, own=True)}
        for name, options in changed.items():
            works[name] = lambda options=options: bench.load(broker, *DURABLE, *options, own=True)  # type: ignore[misc]
        seen = bench.in_turns(works)
    plain = medians(seen["plain"])
    return [
        Figure(
            f"the same, {name}",
            words_of(f),
            words_of(plain),
            "x itself, plain",
            ratio(rate_of(f), rate_of(plain)),
            0.8,
            0.95,
        )
        for name, f in ((name, medians(seen[name])) for name in changed)
    ]


def kilobyte(bench: Bench) -> list[Figure]:
    return compare(bench, "the same, 1 KB", 6, 10, *DURABLE, "--size", "1024")


def eight(bench: Bench) -> list[Figure]:
    eights = ["--pubs", "8", "--cons", "8", "--queues", "8"]
    return compare(bench, "the same, 8 publishers, consumers and queues", 15, 35, *DURABLE, *eights)


def uncompiled(bench: Bench) -> list[Figure]:
    work = "the first line, uncompiled"
    if not bench.options.uncompiled:
        return [Figure(work, "not measured: needs --uncompiled", "", "x RabbitMQ", None, 3, 4)]
    with bench.leveret(uncompiled=True) as broker:
        ours, theirs = bench.versus(broker, *DURABLE)
    return [beside_rabbitmq(work, ours, theirs, 3, 4)]


def transient(bench: Bench) -> list[Figure]:
    work = "transient 100 B, no confirms, no acks, delivered in step"
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, "--ackevery", "0")
    step = ratio(rate_of(ours), ours["pub_rate"])
    return [
        beside_rabbitmq(work, ours, theirs, 8, 20),
        Figure(
            work,
            words_of(ours),
            f"{number(ours['pub_rate'])} msg/s published",
            "delivered by published",
            step,
            0.98,
        ),
    ]


def fanout(bench: Bench) -> list[Figure]:
    options = ["--fanout", "10", "--ackevery", "0", "--exchange", bench.queue()]
    return compare(bench, "fan-out to 10 queues, transient, delivered", 9, 18, *options)


def _topic(bench: Bench, work: str, keys: int, must: float, aim: float) -> list[Figure]:
    """Bindings `bNNN.*` to one queue, of which a key meets exactly one."""
    name = bench.queue()
    with bench.leveret() as broker:
        for each in [broker, bench.rival()]:
            if each is not None:
                client = Client(each.port)
                client.declare_exchange(name, "topic")
                client.declare_queue(name)
                for i in range(TOPIC_BINDINGS):
                    client.bind(name, name, f"b{i:03d}.*")
                client.close()
        options = ["--queue", name, "--exchange", name, "--keys", str(keys), "--ackevery", "0"]
        ours, theirs = bench.versus(broker, *options, own=True)
        rival = bench.rival()
        if rival is not None:
            client = Client(rival.port)
            client.delete_queue(name)
            client.delete_exchange(name)
            client.close()
    return [beside_rabbitmq(work, ours, theirs, must, aim)]


def topic_one(bench: Bench) -> list[Figure]:
    return _topic(bench, "topic exchange, 1,000 bindings, one key", 1, 12, 25)


def topic_many(bench: Bench) -> list[Figure]:
    return _topic(bench, "topic exchange, 1,000 bindings, 100,000 keys", TOPIC_KEYS, 4, 10)


def confirm_one(bench: Bench) -> list[Figure]:
    work = "confirm window 1, persistent, consumer attached"
    before = bench.disk()
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, "--durable", "--persistent", "--confirm", "1")
    after = bench.disk()
    syncs = (before.syncs_per_s + after.syncs_per_s) / 2
    sync_ms = (before.sync_p50_ms + after.sync_p50_ms) / 2
    disk = f"fdatasync of 4 KB: {number(syncs)} /s, p50 {number(sync_ms)} ms"
    rate, p50 = ours["confirm_rate"], ours["conf_p50_ms"]
    words = _confirms(ours)
    rival_rate = theirs.get("confirm_rate", 0.0)
    beside = _confirms(theirs) if theirs else "not measured"
    return [
        Figure(work, words, beside, "x RabbitMQ", ratio(rate, rival_rate), 1.5),
        Figure(work, words, disk, "p50 beyond the disk's, ms", p50 - sync_ms, 0.2, at_most=True),
        Figure(work, words, disk, "x the disk's rate", ratio(rate, syncs), None, 0.6),
    ]


def confirm_hundred(bench: Bench) -> list[Figure]:
    options = ["--durable", "--persistent", "--confirm", "1", "--pubs", "100"]
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, *options)
    words = _confirms(ours)
    beside = _confirms(theirs) if theirs else "not measured"
    work = "confirm window 1, 100 publishers"
    return [Figure(work, words, beside, "confirms/s", ours["confirm_rate"], 30_000, 60_000)]


def megabyte(bench: Bench) -> list[Figure]:
    options = ["--durable", "--persistent", "--confirm", "32", "--prefetch", "32", "--ackevery", "8"]
    before = bench.disk()
    with bench.leveret() as broker:
        ours, theirs = bench.versus(broker, *options, "--size", str(1 << 20))
    stream = (before.stream_mb_per_s + bench.disk().stream_mb_per_s) / 2
    rate = rate_of(ours) * (1 << 20) / 1e6
    rival = f"RabbitMQ {number(rate_of(theirs) * (1 << 20) / 1e6)} MB/s; " if theirs else ""
    beside = f"{rival}synced writes of 4 MB: {number(stream)} MB/s"
    # 600 MB/s will do where the disk is faster than that asks for.
    bound = min(stream, 1000.0)
    work = "1 MB messages, persistent"
    return [
        Figure(
            work,
            f"{number(rate)} MB/s",
            beside,
            "x the disk (of at most 1,000 MB/s)",
            ratio(rate, bound),
            0.6,
            0.8,
        )
    ]


LINES = [
    Line("first", "durable 100 B, confirmed, acked: rate and CPU", first),
    Line(
        "variants",
        "the first line acked singly, with Celery's headers, with other channels and frame-max",
        variants,
    ),
    Line("kilobyte", "the first line with 1 KB", kilobyte),
    Line("eight", "the first line with 8 publishers, consumers and queues", eight),
    Line("uncompiled", "the first line, uncompiled", uncompiled),
    Line("transient", "transient, no confirms, no acks", transient),
    Line("fanout", "fan-out to 10 queues", fanout),
    Line("topic-one", "topic exchange with 1,000 bindings, one key", topic_one),
    Line("topic-many", "topic exchange with 1,000 bindings, 100,000 keys", topic_many),
    Line("confirm-one", "confirm window 1, beside the disk's fdatasync", confirm_one),
    Line("confirm-hundred", "100 publishers with confirm window 1", confirm_hundred),
    Line("megabyte", "1 MB messages, beside the disk's sequential rate", megabyte),
]
