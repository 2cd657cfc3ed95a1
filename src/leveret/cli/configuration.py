"""`leveret config`: the effective configuration without its secrets, or the reference made of the table of keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from leveret import config
from leveret.cli import tables
from leveret.cli.serve import effective, from_table


def reference() -> str:
    """All keys as a Markdown table: what the documentation prints."""
    lines = ["| key | default | allowed | option | what for |", "| --- | --- | --- | --- | --- |"]
    for row in config.table():
        default = json.dumps(row.kind.show(row.default)) if row.name != "data_dir" else "the platform's"
        option = f"`{row.option}`" if row.option else ""
        allowed = row.kind.allowed.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {default} | {allowed} | {option} | {row.help} |")
    return "\n".join(lines)


@click.command(name="config")
@from_table
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--reference", "as_reference", is_flag=True, help="All keys, in Markdown.")
def command(
    file: Path | None, settings: tuple[str, ...], as_json: bool, as_reference: bool, **options: Any
) -> None:
    """Show the effective configuration and where each value comes from, without passwords.

    Takes the options of `leveret serve` and checks them as it does.
    """
    if as_reference:
        click.echo(reference())
        return
    found = effective(file, settings, options)
    values = found.public()
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    rows = [
        {"key": name, "value": json.dumps(value), "from": found.sources[name]}
        for name, value in values.items()
    ]
    click.echo(tables.table(("key", "value", "from"), rows))


COMMANDS = {"config": command}
