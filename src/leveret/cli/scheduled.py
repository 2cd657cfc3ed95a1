"""`leveret scheduled`: messages that are not due yet, and taking one of them back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from leveret.cli import options
from leveret.cli.client import Client

COLUMNS: Final = ("id", "due", "held_by", "name", "message_id", "bytes")


def _alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run only where no subcommand is asked for."""

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        return function(**given) if click.get_current_context().invoked_subcommand is None else None

    return run


@click.group(invoke_without_command=True)
@_alone
@options.broker
@options.vhost
@options.as_json
@click.option("--queue", default="", help="Only what this queue holds.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many, at most."
)
def scheduled(client: Client, vhost: str, as_json: bool, queue: str, limit: int) -> None:
    """List messages that are not due yet, the next ones first.

    They were published with x-deliver-at or x-deliver-after, or to an exchange that delays. Of what is not in memory,
    size and message id are not shown; of what has not been read since the broker started, the time is the earliest
    that it can be due.
    """
    options.show_rows(COLUMNS, client.ask("scheduled", vhost=vhost, queue=queue, limit=limit), as_json)


@scheduled.command()
@click.argument("message", metavar="ID")
@options.broker
def cancel(client: Client, message: str) -> None:
    """Take a scheduled message back by its id: it is not delivered. Returns when that is on disk."""
    client.ask("cancel_scheduled", id=message)
    click.echo("message cancelled")


COMMANDS: Final[dict[str, click.Command]] = {"scheduled": scheduled}
