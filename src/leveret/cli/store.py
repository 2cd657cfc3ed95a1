"""`leveret store`: read a data directory without changing it, and copy that of a running broker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from leveret.cli import exits, options
from leveret.cli.client import Client

DIRECTORY: Final = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def store() -> None:
    """Check, dump or back up a data directory."""


@store.command()
@click.argument("directory", type=DIRECTORY)
def check(directory: Path) -> int:
    """Read all of a data directory and say what is there and what is damaged. Changes nothing.

    The exit code is 10 if something is damaged.
    """
    from leveret.core.broker import Broker
    from leveret.core.restore import BrokerRestorer
    from leveret.journal import Journal, Pager
    from leveret.store.check import check as check_store

    report = check_store(directory, lambda: BrokerRestorer(Broker(Journal(), Pager())))
    for line in report.lines():
        click.echo(line)
    for line in report.damage:
        click.echo(line, err=True)
    return exits.DAMAGED if report.damage else exits.OK


@store.command()
@click.argument("directory", type=DIRECTORY)
def dump(directory: Path) -> int:
    """Print every record of the log and every page of a data directory, a line each. Changes nothing."""
    from leveret.store.check import dump as dump_store

    for line in dump_store(directory):
        sys.stdout.write(line + "\n")
    return exits.OK


@store.command()
@click.argument("destination", type=click.Path(path_type=Path))
@options.broker
def backup(client: Client, destination: Path) -> None:
    """Copy the store of the running broker to DESTINATION: a data directory that starts.

    DESTINATION must not exist or be empty; the broker writes it, as its own user.
    """
    client.ask("backup", destination=str(destination.absolute()))
    click.echo(f"backed up to {destination}")


COMMANDS: Final[dict[str, click.Command]] = {"store": store}
