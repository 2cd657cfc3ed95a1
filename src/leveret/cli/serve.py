"""`leveret serve`: reads the configuration and hands it to the server. Its options are rows of the table of keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from leveret import config, logs

Decorated = Callable[..., Any]


def from_table(function: Decorated) -> Decorated:
    """An option for each key that has one; any other key with --set."""
    rows = [row for row in config.table() if row.option]
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set any other key of the configuration.",
    )(function)
    function = click.option(
        "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file (TOML)."
    )(function)
    for row in reversed(rows):
        default = "none" if row.kind.show(row.default) == "" else row.kind.show(row.default)
        text = f"{row.help[0].upper()}{row.help[1:]} (default {default}; {row.variable})."
        if isinstance(row.default, bool):
            function = click.option(row.option, row.name, is_flag=True, default=None, help=text)(function)
        else:
            hint = "|".join(row.kind.choices) or row.option.rsplit("-", 1)[-1].upper()
            function = click.option(row.option, row.name, metavar=hint, help=text)(function)
    return function


def effective(file: Path | None, settings: tuple[str, ...], options: dict[str, Any]) -> config.Config:
    """The configuration that the options of a command mean."""
    names = {row.name for row in config.table()}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: it takes KEY=VALUE; keys: {', '.join(sorted(names))}")
        if name not in names:
            raise click.UsageError(f"--set {setting}: {config.unknown_key(name)}")
        options[name] = value
    if options.get("memory") and options.get("data_dir") is not None:
        raise click.UsageError("--memory keeps nothing on disk: leave out --data, or leave out --memory")
    return config.load(file, options=options)


@click.command()
@from_table
def serve(file: Path | None, settings: tuple[str, ...], **options: Any) -> int:
    """Run a broker until it is told to stop.

    A line that says `ready`, with the address of every listener, is written to stderr when everything accepts
    connections. SIGTERM ends it: connections are closed, the store is synced, the exit code is 0.
    """
    found = effective(file, settings, options)
    logs.set_up(found.log_format, found.log_level)
    logs.banner(data="in memory" if found.memory else str(found.data_dir))
    from leveret.server.run import run  # the server, asyncio with it, is for this command alone

    return run(found)


COMMANDS = {"serve": serve}
