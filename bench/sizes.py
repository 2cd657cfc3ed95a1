"""Lines of being small: the start, and what connections and queues cost that do nothing."""

from __future__ import annotations

import resource
import time

from bench.bench import DURABLE, Bench, Line
from bench.brokers import Broker, Leveret, RabbitMq310
from bench.client import Client
from bench.figures import Figure, median, number, ratio

SETTLE_S = 1.5


def start(bench: Bench) -> list[Figure]:
    """From the start of the process to an answer, each time in an empty directory."""
    ours, theirs = [], []
    for _ in range(bench.options.pairs):
        broker = Leveret(bench.fresh("start"), bench.options.leveret, bench.options.leveret_options)
        try:
            ours.append(broker.start())
        finally:
            broker.stop()
    if bench.options.rabbitmq == "" and RabbitMq310.installed():
        rival = RabbitMq310(bench.fresh("start"))
        try:
            theirs.append(rival.start())
        finally:
            rival.stop()
    beside = f"{number(median(theirs))} s" if theirs else "not measured"
    value = median(ours)
    return [
        Figure(
            "empty start to accepting connections",
            f"{number(value)} s",
            beside,
            "s",
            value,
            0.4,
            0.2,
            at_most=True,
        )
    ]


def _allow_files(wanted: int) -> None:
    """Before the broker starts, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _settled_kb(broker: Broker) -> int:
    time.sleep(SETTLE_S)
    return broker.rss_kb()


def connections(bench: Bench) -> list[Figure]:
    count = bench.options.idle
    _allow_files(count + 1_000)
    with bench.leveret() as broker:
        before_rate = median(
            [bench.load(broker, *DURABLE)["deliver_rate"] for _ in range(bench.options.pairs)]
        )
        empty = _settled_kb(broker)
        held = [Client(broker.port, channel=False) for _ in range(count)]
        each = (_settled_kb(broker) - empty) / count
        for client in held:
            client.open_channel()
        with_channel = (_settled_kb(broker) - empty) / count
        rate = median([bench.load(broker, *DURABLE)["deliver_rate"] for _ in range(bench.options.pairs)])
        for client in held:
            client.socket.close()
    work = f"{number(count)} idle connections"
    words = f"{number(each)} KB each, {number(with_channel)} KB with a channel"
    return [
        Figure(work, words, "", "KB each", each, 12, 5, at_most=True),
        Figure(
            work,
            f"{number(rate)} msg/s",
            f"{number(before_rate)} msg/s",
            "x the first line without",
            ratio(rate, before_rate),
            0.95,
        ),
    ]


def queues(bench: Bench) -> list[Figure]:
    count = bench.options.idle
    with bench.leveret() as broker:
        before_rate = median(
            [bench.load(broker, *DURABLE)["deliver_rate"] for _ in range(bench.options.pairs)]
        )
        empty = _settled_kb(broker)
        client = Client(broker.port)
        for i in range(count):
            client.declare_queue(f"idle-{i}", durable=True)
        each = (_settled_kb(broker) - empty) / count
        rate = median([bench.load(broker, *DURABLE)["deliver_rate"] for _ in range(bench.options.pairs)])
        client.close()
    work = f"{number(count)} idle queues"
    return [
        Figure(work, f"{number(each)} KB each", "", "KB each", each, 3, 1.5, at_most=True),
        Figure(
            work,
            f"{number(rate)} msg/s",
            f"{number(before_rate)} msg/s",
            "x the first line without",
            ratio(rate, before_rate),
            0.95,
        ),
    ]


LINES = [
    Line("start", "empty start to accepting connections", start),
    Line("connections", "10,000 idle connections: memory, and the first line meanwhile", connections),
    Line("queues", "10,000 idle queues: memory, and the first line meanwhile", queues),
]
