"""Options that many commands share: which broker is meant, and tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from leveret.cli import tables
from leveret.cli.client import Client, find

Decorated = Callable[..., Any]


def broker(function: Decorated) -> Decorated:
    """--data, --socket and --amqp-port: where the running broker is. The command gets a `client`."""

    def connected(data: Path | None, socket: Path | None, amqp_port: int | None, **options: Any) -> Any:
        if sum(option is not None for option in (data, socket, amqp_port)) > 1:
            raise click.UsageError("--data, --socket and --amqp-port each name a broker: give one of them")
        with Client(find(data, socket, amqp_port)) as client:
            return function(client=client, **options)

    connected.__doc__ = function.__doc__
    connected.__name__ = function.__name__
    connected.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    path = click.Path(path_type=Path)
    decorated: Decorated = connected
    for option in (
        click.option(
            "--amqp-port",
            type=click.IntRange(1, 65535),
            help="Port of a broker that keeps everything in memory.",
        ),
        click.option("--socket", type=path, help="The admin socket itself."),
        click.option(
            "--data",
            type=path,
            help="Data directory of the broker (default: LEVERET_DATA_DIR, else the platform's).",
        ),
    ):
        decorated = option(decorated)
    return decorated


as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
vhost = click.option("--vhost", default="/", show_default=True, help="Virtual host.")


def show_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], json_wanted: bool) -> None:
    if json_wanted:
        click.echo(json.dumps(rows, indent=2))
    else:
        click.echo(tables.table(columns, rows))


def show_one(values: Mapping[str, Any], json_wanted: bool) -> None:
    click.echo(json.dumps(values, indent=2) if json_wanted else tables.pairs(values))
