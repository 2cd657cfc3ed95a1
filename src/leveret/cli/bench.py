"""`leveret bench`: put load on a broker and say what came of it; on one of its own when none is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from leveret.cli import exits
from leveret.cli.client import CommandFailed

if TYPE_CHECKING:
    from leveret.benchmark.plan import Plan
    from leveret.benchmark.result import Result

START_S: Final = 30.0
FREE_BYTES: Final = 512 << 20  # on the disk of a broker of our own, besides what is to be stored
OVERHEAD_BYTES: Final = 100  # a message on disk, besides its body
Decorated = Callable[..., Any]

SHARED: Final[dict[str, Any]] = {
    "connections": 1, "queues": 1, "processes": 1, "size_bytes": 100, "persistent": True, "window": 1000,
    "prefetch": 1000, "ack_every": 50, "rate": 0.0, "messages": 0, "duration_s": 10.0, "warmup_s": 1.0,
}  # fmt: skip
# scenario -> options that have no meaning for it
UNUSED: Final = {"backlog": ("duration_s", "warmup_s"), "rpc": ("ack_every",)}
# scenario -> what differs
DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "throughput": {},
    "latency": {"rate": 1000.0, "ack_every": 1},
    "fanout": {"queues": 10, "persistent": False},
    "backlog": {"messages": 1_000_000},
    "rpc": {"window": 1, "persistent": False},
}


@click.group()
def bench() -> None:
    """Measure a broker: --url names one, otherwise a Leveret is started for it, in a temporary directory.

    All processes of the load run on this machine. Queues have names of their own and are deleted afterwards.
    """


def shared(scenario: str) -> Callable[[Decorated], click.Command]:
    """The options of every scenario, with the defaults of this one, and what runs it."""
    default = {**SHARED, **DEFAULTS[scenario]}
    number, real, path = click.IntRange, click.FloatRange, click.Path(path_type=Path)

    def made(function: Decorated) -> click.Command:
        def command(**options: Any) -> int:
            return _bench(scenario, **options)

        command.__doc__ = function.__doc__
        given: list[Any] = [
            click.option("--url", metavar="URL", help="The broker; without it one is started."),
            click.option("--compare", metavar="URL", help="Another broker that gets the same, in turns; ratios."),
            click.option("--rounds", type=number(1), default=2, show_default=True, help="Turns, with --compare."),
            _amount("connections", 1, default, "Connections that publish."),
            click.option("--consumers", type=number(0), help="Consumers (default: one a connection or queue)."),
            _amount("queues", 1, default, "Queues, which connections and consumers share out."),
            _amount("processes", 1, default, "Processes that carry the load."),
            _amount("size", 0, default, "Bytes of a body; below 16 nothing is timed.", "size_bytes"),
            click.option(
                "--persistent/--transient", default=default["persistent"], show_default=True,
                help="Persistent messages in durable queues, or neither.",
            ),
            _amount("window", 0, default, "Messages (rpc: calls) of a connection under way; 0: no confirms."),
            _amount("prefetch", 0, default, "Messages of a consumer under way; 0: no limit."),
            _amount("ack-every", 0, default, "Messages that one ack is for; 0: none are acked.", "ack_every"),
            click.option(
                "--rate", type=real(0), default=default["rate"], show_default=True,
                help="Messages a second of all connections together; 0: as fast as it goes.",
            ),
            _amount("messages", 0, default, "So many, from first to last; 0: for a duration."),
            click.option(
                "--duration", "duration_s", type=real(0.1), default=default["duration_s"], show_default=True,
                help="Seconds that are measured.",
            ),
            click.option(
                "--warmup", "warmup_s", type=real(0), default=default["warmup_s"], show_default=True,
                help="Seconds before them.",
            ),
            click.option("--dir", "folder", type=path, help="Where a broker of our own keeps its data."),
            click.option("--plot", type=path, help="Draw rates and times into this file (.svg, .png, .pdf)."),
            click.option("--json", "as_json", is_flag=True, help="JSON, for scripts."),
        ]  # fmt: skip
        decorated: Decorated = command
        for option in reversed(given):
            decorated = option(decorated)
        found = bench.command(scenario)(decorated)
        found.params = [each for each in found.params if each.name not in UNUSED.get(scenario, ())]
        return found

    return made


def _amount(name: str, least: int, default: dict[str, Any], text: str, field: str = "") -> Any:
    field = field or name
    return click.option(
        f"--{name}", field, type=click.IntRange(least), default=default[field], show_default=True, help=text
    )


@shared("throughput")
def throughput() -> None:
    """How many messages a second are published, confirmed and delivered."""


@shared("latency")
def latency() -> None:
    """How long messages take at a steady rate, from the moment at which each is due: none is left out because the one
    before it was late."""


@shared("fanout")
def fanout() -> None:
    """The same for a fanout exchange with many queues."""


@shared("backlog")
def backlog() -> None:
    """How fast queues are filled while nobody consumes, and then drained."""


@shared("rpc")
def rpc() -> None:
    """How many calls a second are answered, and how long each takes, with leveret.client on both sides."""


# ---- running


def _bench(
    scenario: str,
    url: str | None,
    compare: str | None,
    rounds: int,
    consumers: int | None,
    folder: Path | None,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    from leveret.benchmark import plot as plots
    from leveret.benchmark.histogram import Times
    from leveret.benchmark.plan import Plan, Senseless
    from leveret.errors import ConnectFailed, InvalidAddress

    _check_given(compare, options["messages"])
    plan = Plan(scenario=scenario, **options)
    least = plan.queues if scenario == "fanout" else max(plan.connections, plan.queues)
    plan.consumers = least if consumers is None else consumers
    try:
        plan.check()
        Times()
        if plot is not None:
            plots.check(plot)
        with contextlib.ExitStack() as stack:
            plan.url = url or stack.enter_context(_own_broker(plan, folder))
            results = _measure(plan, compare, rounds if compare else 1)
    except (Senseless, InvalidAddress) as error:
        raise click.UsageError(error.text) from None
    except ConnectFailed as error:
        code = exits.of_code(error.code)
        raise CommandFailed(error.text, code if code == exits.REFUSED else exits.NO_BROKER) from None
    _tell(results, as_json)
    if plot is not None:
        plots.draw([result for turn in results for result in turn], plot)
    return exits.OK


def _check_given(compare: str | None, messages: int) -> None:
    """Raises UsageError for options that would have no effect beside others."""
    context = click.get_current_context()

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE

    if given("rounds") and not compare:
        raise click.UsageError("--rounds is for --compare: without it there is one run")
    if messages and (given("duration_s") or given("warmup_s")):
        raise click.UsageError(
            "--messages says when it is over: --duration and --warmup are for a run without"
        )


def _measure(plan: Plan, compare: str | None, rounds: int) -> list[list[Result]]:
    """A list for each round: the result of the one broker, and of the other if there is one."""
    from leveret.benchmark.run import measure

    found: list[list[Result]] = []
    for number in range(rounds):
        turn: list[Result] = []
        for url in [plan.url, *([compare] if compare else [])]:
            if compare:
                click.echo(
                    f"round {number + 1} of {rounds}, {'second' if turn else 'first'} broker", err=True
                )
            turn.append(asyncio.run(measure(type(plan)(**{**vars(plan), "url": url}), _show)))
        found.append(turn)
    return found


def _show(entry: dict[str, float]) -> None:
    """A line a second."""
    names = {"sent_per_s": "published", "confirmed_per_s": "confirmed", "delivered_per_s": "delivered"}
    text = ", ".join(f"{text} {entry[name]:,.0f}/s" for name, text in names.items())
    click.echo(f"{entry['second']:4.0f} s  {text}", err=True)


def _tell(results: list[list[Result]], as_json: bool) -> None:
    from leveret.benchmark.result import RATES, compared, shown

    first, second = [turn[0] for turn in results], [turn[1] for turn in results if len(turn) > 1]
    ratios = compared(first, second) if second else {}
    if as_json:
        runs = [result.as_json() for turn in results for result in turn]
        click.echo(json.dumps({"runs": runs, "compared": ratios} if second else runs[0], indent=2))
        return
    for result in (result for turn in results for result in turn):
        click.echo("\n".join(result.lines()))
    if second:
        rounds = f"the median of {len(first)} rounds" if len(first) > 1 else "one round"
        click.echo(f"{first[0].broker} by {second[0].broker} (of times the other way round), {rounds}:")
        for name, values in ratios.items():
            what = RATES.get(name, name)
            one, other = shown(values["first"]), shown(values["second"])
            click.echo(f"  {what:<20} {one:>12} {other:>12} {shown(values['ratio']):>8} x")


# ---- a broker of our own


@contextlib.contextmanager
def _own_broker(plan: Plan, folder: Path | None) -> Iterator[str]:
    """A `leveret serve` on a free port and a temporary directory, as long as the context lasts. Its URL."""
    with tempfile.TemporaryDirectory(prefix="leveret-bench-", dir=folder) as name:
        _check_disk(plan, Path(name))
        log = Path(name, "log")
        words = [sys.executable, "-m", "leveret", "serve", "--data", str(Path(name, "data"))]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*words, "--amqp-port", "0", "--log-format", "json"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            yield f"amqp://{_wait_for_ready(process, log)}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _check_disk(plan: Plan, folder: Path) -> None:
    stored = plan.messages * plan.queues * (plan.size_bytes + OVERHEAD_BYTES) if plan.persistent else 0
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES + stored:
        raise CommandFailed(
            f"the disk of {folder.parent} has {free >> 20} MiB left, and this needs {(FREE_BYTES + stored) >> 20} MiB:"
            " name another with --dir, or ask for fewer --messages"
        )


def _wait_for_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Host and port of the AMQP listener. Raises CommandFailed with the broker's last words."""
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        for line in log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "ready":
                    return str(entry["addresses"]["amqp"])
        time.sleep(0.01)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise CommandFailed(f"a broker of our own did not start: {' '.join(last)}")


COMMANDS: Final[dict[str, click.Command]] = {"bench": bench}
