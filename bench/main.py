"""The command line: which lines, with which brokers, and where results go."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path

from bench import backlogs, clients, features, generators, latencies, rates, sizes, stomp, workers
from bench.bench import Bench, Line, Options
from bench.brokers import StartFailed, Usage, port_and_pid
from bench.client import Refused
from bench.figures import HEAD, Figure, merge

LINES: list[Line] = [
    *rates.LINES,
    *latencies.LINES,
    *features.LINES,
    *stomp.LINES,
    *backlogs.LINES,
    *sizes.LINES,
    *clients.LINES,
    *workers.LINES,
]
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
FAULTS = (StartFailed, Refused, generators.GeneratorFailed, OSError)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench/run.py", description="Measure Leveret, beside RabbitMQ where it is installed."
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="lines to measure, or `all`")
    p.add_argument("--list", action="store_true", help="list the lines")
    p.add_argument(
        "--leveret",
        default="leveret",
        metavar="CMD",
        help="what stands before `serve`, or a command with {port} and {data}",
    )
    p.add_argument("--leveret-options", default="", metavar="OPTIONS", help="options behind `serve`")
    p.add_argument(
        "--uncompiled", default="", metavar="CMD", help="an uncompiled Leveret, for the line of that name"
    )
    p.add_argument(
        "--apps", default="", metavar="PYTHON", help="the interpreter that has Celery and Dramatiq"
    )
    p.add_argument(
        "--rabbitmq",
        default="",
        metavar="PORT[,PID]",
        help="a running RabbitMQ (its amqp:// URL will do), or `none`",
    )
    p.add_argument(
        "--rabbitmq-stomp",
        default="",
        metavar="PORT",
        help="where the RabbitMQ of --rabbitmq speaks STOMP",
    )
    p.add_argument(
        "--amqpload", type=Path, metavar="PATH", help="amqpload, built; else it is built from AMQPLOAD_SRC"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    p.add_argument("--docs", metavar="SECTION", help="put the rows into that section of docs/performance.md")
    p.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="where data directories go: the disk that is measured (default: TMPDIR)",
    )
    for name, kind, default, text in (
        ("seconds", float, Options.seconds, "measured window"),
        ("warmup", float, Options.warmup, "seconds before it"),
        ("pairs", int, Options.pairs, "how often each is measured, in turns"),
        ("backlog", int, Options.backlog, "messages that wait"),
        ("backlog-large", int, Options.backlog_large, "messages that wait, the second time"),
        ("waiting", int, Options.waiting, "messages that wait for their time"),
        ("idle", int, Options.idle, "idle connections, idle queues"),
        ("log-bytes", int, Options.log_bytes, "size of the broker's log: its segments together"),
    ):
        p.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{text} (default {default})"
        )
    return p


def chosen(names: list[str]) -> list[Line]:
    """Raises Usage for a name that is none."""
    if "all" in names:
        return LINES
    known = {line.name: line for line in LINES}
    for name in names:
        if name not in known:
            raise Usage(f"no line '{name}'; there are: {', '.join(known)}")
    return [known[name] for name in names]


def amqpload(path: Path | None, into: Path) -> Path:
    if path is not None:
        return path.resolve()
    source = os.environ.get("AMQPLOAD_SRC")
    if not source:
        raise Usage("say where amqpload is: --amqpload PATH (built), or AMQPLOAD_SRC=DIR with its Makefile")
    return generators.build_amqpload(Path(source), into)


def measure(bench: Bench, lines: list[Line]) -> tuple[list[Figure], list[str]]:
    """All figures, and what could not be measured."""
    figures: list[Figure] = []
    failures: list[str] = []
    print(HEAD, flush=True)
    for line in lines:
        began = time.monotonic()
        try:
            found = line.run(bench)
        except FAULTS as error:
            failures.append(f"{line.name}: {error}")
            print(f"| {line.name} | failed: {str(error).splitlines()[0]} |", flush=True)
            continue
        figures += found
        for figure in found:
            print(figure.row(), flush=True)
        print(f"{line.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return figures, failures


def about(options: Options, argv: list[str]) -> dict[str, object]:
    return {
        "command": shlex.join(["python", "bench/run.py", *argv]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "seconds": options.seconds,
        "pairs": options.pairs,
    }


def main(argv: list[str]) -> int:
    """Exit code: 0; 1 a bound was missed; 2 something could not be measured; 64 usage."""
    arguments = parser().parse_args(argv)
    if arguments.list or not arguments.names:
        print("\n".join(f"{line.name:<16} {line.text}" for line in LINES))
        return 0
    options = Options(
        **{name: getattr(arguments, name) for name in Options.__dataclass_fields__}  # the names are the same
    )
    try:
        lines = chosen(arguments.names)
        if options.rabbitmq not in ("", "none"):
            port_and_pid(options.rabbitmq)
        if options.rabbitmq_stomp:
            port_and_pid(options.rabbitmq_stomp)
        if arguments.docs:
            merge(DOCUMENT.read_text(), arguments.docs, [])
        with tempfile.TemporaryDirectory(prefix="leveret-bench-", dir=arguments.dir) as name:
            into = Path(name)
            loads = not all(line.programs for line in lines)
            load = amqpload(arguments.amqpload, into) if loads else into
            own = generators.build_own("pairload", into) if loads else into
            stompload = generators.build_own("stompload", into) if loads else into
            bench = Bench(options, into, load, own, stompload)
            try:
                figures, failures = measure(bench, lines)
            finally:
                bench.close()
    except Usage as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 64
    if arguments.json:
        results = {
            "about": about(options, argv),
            "figures": [f.as_json() for f in figures],
            "failures": failures,
        }
        arguments.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if arguments.docs:
        DOCUMENT.write_text(merge(DOCUMENT.read_text(), arguments.docs, [f.row() for f in figures]))
    for failure in failures:
        print(f"\nnot measured: {failure}", file=sys.stderr)
    if failures:
        return 2
    return 1 if any(f.verdict == "MISSED" for f in figures) else 0
