"""Lines of what waits: memory, filling and draining of millions, the start after SIGKILL, and write amplification."""

from __future__ import annotations

import time

from bench.bench import DURABLE, Bench, Line
from bench.brokers import Leveret
from bench.client import Client
from bench.figures import Figure, median, number, ratio
from bench.procfs import device_written_bytes

HEADER_BYTES = 8 + 15
BODY_FRAME_BYTES = 8
SETTLE_S = 2.0


def wire_bytes(queue: str, body: int) -> int:
    """Bytes of one persistent publish to the default exchange, as amqpload writes it."""
    method = 8 + 4 + 2 + 1 + 1 + len(queue) + 1
    return method + HEADER_BYTES + BODY_FRAME_BYTES + body


def _fill(bench: Bench, broker: Leveret, queue: str, count: int) -> float:
    """Returns messages a second."""
    options = ["--queue", queue, *DURABLE, "--fill", "--count", str(count), "--secs", "3600"]
    return bench.start_load(broker, *options, count=True).figures()["pub_rate"]


def _drain(bench: Bench, broker: Leveret, queue: str) -> float:
    options = ["--queue", queue, "--durable", "--drain", "--secs", "3600"]
    return bench.start_load(broker, *options, count=True).figures()["deliver_rate"]


def _first_line(bench: Bench, broker: Leveret) -> float:
    return median([bench.load(broker, *DURABLE)["deliver_rate"] for _ in range(bench.options.pairs)])


def restart_s(broker: Leveret, queue: str) -> float:
    """SIGKILL, then the seconds from the start of the process to the first message in a consumer's hands."""
    broker.kill()
    began = time.perf_counter()
    broker.start()
    client = Client(broker.port)
    client.first_delivery(queue)
    taken = time.perf_counter() - began
    client.close()
    return taken


def backlog(bench: Bench) -> list[Figure]:
    small, large, queue = bench.options.backlog, bench.options.backlog_large, "backlog"
    with bench.leveret() as broker:
        base = _first_line(bench, broker)
        empty = broker.rss_kb()
        fill = _fill(bench, broker, queue, small)
        time.sleep(SETTLE_S)
        grown = (broker.rss_kb() - empty) / 1024
        restart = restart_s(broker, queue)
        drain = _drain(bench, broker, queue)
        empty = broker.rss_kb()
        _fill(bench, broker, queue, large)
        time.sleep(SETTLE_S)
        grown_large = (broker.rss_kb() - empty) / 1024
    n, big, beside = number(small), number(large), f"the first line: {number(base)} msg/s"
    return [
        Figure(f"RSS with {n} waiting", f"+{number(grown)} MB", "", "MB", grown, 50, 15, at_most=True),
        Figure(
            f"RSS with {big} waiting",
            f"+{number(grown_large)} MB",
            f"+{number(grown)} MB with {n}",
            "x that",
            ratio(max(grown_large, 0.0), max(grown, 1.0)),
            1.5,
            at_most=True,
        ),
        Figure(
            f"filling {n}", f"{number(fill)} msg/s", beside, "x the first line", ratio(fill, base), 1, 1.5
        ),
        Figure(
            f"draining {n}", f"{number(drain)} msg/s", beside, "x the first line", ratio(drain, base), 0.7, 2
        ),
        Figure(
            f"SIGKILL with {n} waiting: start to first delivery",
            f"{number(restart)} s",
            "",
            "s",
            restart,
            1.5,
            0.4,
            at_most=True,
        ),
    ]


def turnover(bench: Bench) -> list[Figure]:
    """A standing queue, while the first line publishes ten times the log's size to another one."""
    standing, queue = bench.options.backlog, "turnover"
    size = wire_bytes(queue, 100)
    count = 10 * bench.options.log_bytes // size
    with bench.leveret() as broker:
        base = _first_line(bench, broker)
        _fill(bench, broker, "standing", standing)
        time.sleep(SETTLE_S)
        before = device_written_bytes(broker.directory)
        options = ["--queue", queue, *DURABLE, "--count", str(count), "--secs", "3600"]
        rate = bench.start_load(broker, *options, count=True).figures()["deliver_rate"]
        written = device_written_bytes(broker.directory) - before
        restart = restart_s(broker, "standing")
    work = f"{number(standing)} standing, others turn over ten times the log"
    amplified = f"{number(written / 1e6)} MB written for {number(count * size / 1e6)} MB published"
    return [
        Figure(work, amplified, "", "written by published", written / (count * size), 1.3, 1.1, at_most=True),
        Figure(
            work,
            f"{number(rate)} msg/s",
            f"{number(base)} msg/s",
            "x itself with nothing standing",
            ratio(rate, base),
            0.8,
            0.95,
        ),
        Figure(work, f"{number(restart)} s", "", "start after SIGKILL, s", restart, 2, 0.5, at_most=True),
    ]


LINES = [
    Line("backlog", "RSS with 5 M and 20 M waiting, filling, draining, SIGKILL to first delivery", backlog),
    Line("turnover", "5 M standing while others turn over ten times the log", turnover),
]
