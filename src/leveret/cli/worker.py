"""`leveret worker`: finds the app, and runs it: in this process, or in several that are looked after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from leveret.cli import exits
from leveret.cli.client import CommandFailed
from leveret.errors import ClientError, ConfigError, ConnectFailed, Disconnected, InvalidAddress, Refused

if TYPE_CHECKING:
    from leveret.worker.app import App
    from leveret.worker.running import Running

T = TypeVar("T")

CHECK_TIMEOUT_S: Final = 10.0
LEAVE_S: Final = 3.0  # for what was cancelled when all is over
METRICS_PORTS: Final = 256  # as many as processes
LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the fastest loop that there is. Handlers that do not end when they are cancelled are left behind."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    runner = asyncio.Runner(loop_factory=factory)
    try:
        return runner.run(work)
    finally:
        if runner.run(end_tasks()):
            runner.close()  # which would wait for them for ever


async def end_tasks() -> bool:
    """Cancel all that still runs on this loop, and whether it has ended."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return True
    for task in left:
        task.cancel()
    _, left = await asyncio.wait(left, timeout=LEAVE_S)
    if left:
        logging.getLogger("leveret.worker").error(
            "%d handlers do not end though they were cancelled; leaving without them", len(left)
        )
    return not left


def set_up_logging(level: str) -> None:
    """Unless the application has done so when it was imported."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT)


def load(name: str, function: bool = False) -> Any:
    """The app, or the handler. What importing it raises is shown as it is; then CommandFailed is raised."""
    from leveret.worker.loading import load_app, load_function

    try:
        return load_function(name) if function else load_app(name)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise CommandFailed(f"importing {name} failed: {error!r}", exits.CONFIG) from None


def failed(error: BaseException) -> CommandFailed:
    """The end of a command for what the client or a handler's surroundings raised."""
    if isinstance(error, InvalidAddress):
        return CommandFailed(error.text, exits.CONFIG)
    if isinstance(error, ConnectFailed) and exits.of(error) == exits.REFUSED:
        return CommandFailed(error.text, exits.REFUSED)
    if isinstance(error, (ConnectFailed, Disconnected)):
        return CommandFailed(error.text, exits.NO_BROKER)
    if isinstance(error, Refused):
        return CommandFailed(error.text, exits.of(error))
    if isinstance(error, ClientError):
        return CommandFailed(error.text, exits.REFUSED)
    if isinstance(error, OSError):
        return CommandFailed(error.strerror or str(error), exits.FAILED)
    traceback.print_exception(error)  # of a resource, say: where it was raised is what one looks for
    return CommandFailed(f"{type(error).__name__}: {error}", exits.FAILED)


@click.command()
@click.argument("app", metavar="MODULE:APP")
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="So many worker processes; one that dies is started anew.",
)
@click.option("--watch", is_flag=True, help="Begin anew when a Python file below this folder changes.")
@click.option("--check", "only_check", is_flag=True, help="Look whether all is well, and change nothing.")
@click.option("--queues", metavar="A,B", help="Handle these queues only (of the app's handlers).")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Messages in work at once for each queue, instead of what handlers say.",
)
@click.option(
    "--grace-s",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long handlers may go on after SIGTERM (default: what the app says, 30).",
)
@click.option("--url", "urls", multiple=True, metavar="URL", help="The broker, instead of what the app says.")
@click.option("--no-wait", is_flag=True, help="End if no broker is there yet, instead of waiting for one.")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve metrics for Prometheus there; each further process at the next free port.",
)
@click.option(
    "--metrics-address",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where metrics are served; 0.0.0.0 for whoever can reach this host.",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Least level."
)
def worker(
    app: str,
    processes: int,
    watch: bool,
    only_check: bool,
    queues: str | None,
    concurrency: int | None,
    grace_s: float | None,
    urls: tuple[str, ...],
    no_wait: bool,
    metrics_port: int | None,
    metrics_address: str,
    log_level: str,
) -> int:
    """Run the handlers of an app, such as `shop.tasks:app`, until told to stop.

    While no broker is there yet, it waits for one. SIGTERM or Ctrl-C: takes nothing more, finishes what is in work within
    the grace time, gives the rest back, and ends with 0. A second one: leaves at once. What a worker had that is killed
    goes to another.
    """  # fmt: skip
    chosen = None if queues is None else [name.strip() for name in queues.split(",") if name.strip()]
    if only_check:
        return check(load(app), urls, chosen)
    if processes > 1 or watch:
        set_up_logging(log_level)
        return supervise(processes, watch, grace_s)
    found: App = load(app)
    set_up_logging(log_level)
    if urls:
        found.urls = urls
    if metrics_port is not None:
        serve_metrics(found, metrics_port, metrics_address)
    try:
        run_loop(run(found, chosen, concurrency, grace_s, not no_wait))
    except ConfigError:
        raise
    except Exception as error:
        raise failed(error) from error
    return exits.OK


def serve_metrics(app: App, port: int, address: str) -> None:
    """By the app's own Metrics if it has them and they are not served. Raises ConfigError."""
    from leveret.worker.metrics import Metrics

    for one in app.middleware:
        if isinstance(one, Metrics):
            if one.port is not None:
                raise ConfigError(
                    f"--metrics-port {port}: the app serves its metrics itself, at port {one.port}; leave one of them out"
                )
            one.port, one.ports, one.address = port, METRICS_PORTS, address
            return
    app.add_middleware(Metrics(port, ports=METRICS_PORTS, address=address))


async def run(
    app: App, queues: list[str] | None, concurrency: int | None, grace_s: float | None, wait: bool
) -> None:
    from leveret.worker.running import run_until_told
    from leveret.worker.supervisor import watch_leash

    watch_leash(asyncio.get_running_loop())
    log = logging.getLogger("leveret.worker")

    def ready(running: Running) -> None:
        log.info("ready: process %d handles %s", os.getpid(), ", ".join(running.queues))

    running = await run_until_told(
        app, queues=queues, concurrency=concurrency, grace_s=grace_s, wait=wait, ready=ready
    )
    counts = running.counts.values()
    log.info(
        "ended: %d done, %d failed, %d given back",
        sum(one.done for one in counts), sum(one.failed for one in counts), sum(one.released for one in counts),
    )  # fmt: skip


def supervise(processes: int, watch: bool, grace_s: float | None) -> int:
    """The same command for one process, several times."""
    from leveret.worker.supervisor import Supervisor

    command = [sys.executable, "-m", "leveret", "worker", *single(sys.argv[2:])]
    supervisor = Supervisor(
        command,
        processes,
        grace_s=grace_s,
        fatal={exits.USAGE, exits.CONFIG, exits.REFUSED},
        watch=Path.cwd() if watch else None,
    )
    return asyncio.run(supervisor.run())


def single(arguments: list[str]) -> list[str]:
    """The arguments without those of the supervisor."""
    found: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--processes":
            skip = True
        elif argument != "--watch" and not argument.startswith("--processes="):
            found.append(argument)
    return found


def check(app: App, urls: tuple[str, ...], queues: list[str] | None) -> int:
    """A line for each thing; the exit code is that of the worst."""
    from leveret.worker.checking import check as look

    if urls:
        app.urls = urls
    app.connect_options = {**app.connect_options, "reconnect": False}
    try:
        found = run_loop(look(app, queues, CHECK_TIMEOUT_S))
    except TimeoutError:
        raise CommandFailed(
            f"the broker did not answer within {CHECK_TIMEOUT_S:g} s", exits.NO_BROKER
        ) from None
    except ClientError as error:
        raise failed(error) from error
    code = exits.OK
    for one in found:
        click.echo(f"{'ok    ' if one.ok else 'FAILED'} {one.what}: {one.text}")
        if one.error is not None and code == exits.OK:
            code = exits.REFUSED if isinstance(one.error, ClientError) else exits.CONFIG
    return code


COMMANDS: Final[dict[str, click.Command]] = {"worker": worker}
