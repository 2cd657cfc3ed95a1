"""`leveret`: the command line. Finds the command, runs it, and turns what went wrong into a line and an exit code.

Commands live in modules of their own that are imported when they are used: `leveret serve` must not pay for the
others. The codes are in `exits`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from leveret.cli import exits
from leveret.cli.client import CommandFailed
from leveret.errors import Bug, LeveretError

# name -> module, and what it does in a line (so that the list of commands imports none of them)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("leveret.cli.serve", "Run a broker until it is told to stop."),
    "config": (
        "leveret.cli.configuration",
        "Show the effective configuration, or the reference of all keys.",
    ),
    "status": ("leveret.cli.look", "How the running broker is."),
    "queues": ("leveret.cli.look", "List queues."),
    "exchanges": ("leveret.cli.look", "List exchanges."),
    "bindings": ("leveret.cli.look", "List bindings."),
    "connections": ("leveret.cli.look", "List connections."),
    "channels": ("leveret.cli.look", "List channels."),
    "consumers": ("leveret.cli.look", "List consumers."),
    "publish": ("leveret.cli.act", "Publish a message."),
    "get": ("leveret.cli.act", "Get messages from a queue."),
    "purge": ("leveret.cli.act", "Drop the messages that are ready in a queue."),
    "delete": ("leveret.cli.act", "Delete a queue or an exchange."),
    "scheduled": ("leveret.cli.scheduled", "List messages that are not due yet, or cancel one."),
    "worker": ("leveret.cli.worker", "Run the handlers of an application."),
    "drain": ("leveret.cli.drain", "Handle what waits in a queue, then leave."),
    "bench": ("leveret.cli.bench", "Measure a broker: rates, latencies, backlogs, calls."),
    "store": ("leveret.cli.store", "Check, dump or back up a data directory."),
}
EPILOG: Final = (
    "Exit codes: "
    + "; ".join(f"{code} {text}" for code, text in exits.MEANING.items())
    + '.\n\nShell completion: eval "$(_LEVERET_COMPLETE=bash_source leveret)" in ~/.bashrc (zsh_source, fish_source).'
)


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        commands: dict[str, click.Command] = module.COMMANDS
        return commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from leveret import build

        click.echo(build.describe())
        ctx.exit()


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
    help="Version, how it was built, Python and event loop.",
)  # fmt: skip
def leveret() -> None:
    """Leveret, a message broker that speaks AMQP 0-9-1 and STOMP."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Never lets a traceback out, but for a bug."""
    try:
        result: Any = leveret.main(
            args=None if args is None else list(args), prog_name="leveret", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else exits.OK
    except click.ClickException as error:
        error.show()
        return exits.USAGE
    except CommandFailed as error:
        return _failed(error.text, error.code)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", exits.FAILED)
    except BrokenPipeError:
        # whoever read our output has seen enough; keep the interpreter from saying so again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Bug:
        raise
    except LeveretError as error:
        return _failed(error.text, exits.of(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", exits.of(error))


def _failed(text: str, code: int) -> int:
    click.echo(f"leveret: {text}", err=True)
    return code
