"""`leveret drain`: handle what waits in a queue, then leave: for cron, or a Kubernetes CronJob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from leveret.cli import exits
from leveret.cli.client import CommandFailed
from leveret.cli.worker import LEVELS, failed, load, run_loop, set_up_logging
from leveret.errors import ClientError, ConfigError

if TYPE_CHECKING:
    from leveret.worker.draining import Drained


@click.command()
@click.argument("queue")
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Messages, at most.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Begin no more after so long; what is in work then is finished within the grace time.",
)
@click.option("--concurrency", type=click.IntRange(1, 65535), metavar="N", help="Messages in work at once.")
@click.option(
    "--grace-s",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long handlers may go on after SIGTERM, or after the timeout.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="The broker, instead of what the app says.",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="Least level."
)
def drain(
    queue: str,
    handler: str,
    limit: int | None,
    timeout_s: float | None,
    concurrency: int | None,
    grace_s: float,
    urls: tuple[str, ...],
    log_level: str,
) -> int:
    """Handle the messages that wait in QUEUE with a function, such as `shop.mail:send`, and leave.

    The function may be plain, or declared with @app.consumer, whose settings it has then. Failed messages are tried again
    later or are dead, as the queue or the handler has it; that some failed is the exit code 12, that the time was over
    before the queue was empty 13.
    """  # fmt: skip
    from leveret.worker.draining import drain as work

    function: Any = load(handler, function=True)
    set_up_logging(log_level)
    try:
        done: Drained = run_loop(
            work(
                queue,
                function,
                urls,
                limit=limit,
                timeout_s=timeout_s,
                concurrency=concurrency,
                grace_s=grace_s,
            )
        )
    except ConfigError:
        raise
    except (TimeoutError, ClientError) as error:
        raise failed(error) from error
    counts = done.counts
    click.echo(f"{counts.done} handled, {counts.failed} failed")
    if counts.failed:
        raise CommandFailed(
            f"{counts.retried} will be tried again, {counts.dead + counts.rejected} are dead",
            exits.HANDLER_FAILED,
        )
    if done.timed_out:
        raise CommandFailed("the time was over before the queue was empty", exits.TIMED_OUT)
    return exits.OK


COMMANDS: Final[dict[str, click.Command]] = {"drain": drain}
