"""Writes the parts of the reference that are made of tables in the code, between markers in the pages.

    <!-- generated: NAME -->
    ...
    <!-- end -->

`python docs/generate.py` renews them, `python docs/generate.py --check` says which pages are stale (exit code 1).
What stands outside the markers is written by hand and left alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from leveret import config, limits
from leveret.cli import exits
from leveret.cli.main import COMMANDS, leveret
from leveret.core import arguments, attempts, death, hashing, laned, retry

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
SECTION: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
STATUS: Final = {
    arguments.HONOURED: "as RabbitMQ",
    arguments.OWN: "Leveret's own",
    arguments.NO_EFFECT: "accepted, checked as RabbitMQ checks it, without effect",
    arguments.REFUSED: "refused",
}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def configuration() -> str:
    rows = []
    for key in config.table():
        default = json.dumps(key.kind.show(key.default)) if key.name != "data_dir" else "the platform's"
        option = f"`{key.option}`" if key.option else ""
        rows.append(
            (f"`{key.name}`", f"`{key.variable}`", option, f"`{default}`", key.kind.allowed, key.help)
        )
    return table(("key", "variable", "option", "default", "allowed", "what for"), rows)


def exit_codes() -> str:
    return table(("code", "meaning"), [(str(code), text) for code, text in exits.MEANING.items()])


def commands() -> str:
    return "\n\n".join(text for name in COMMANDS for text in command_pages(name))


def command_pages(name: str) -> Iterator[str]:
    """A command and, if it is a group, those in it."""
    top = click.Context(leveret, info_name="leveret")
    found = leveret.get_command(top, name)
    assert found is not None
    yield command_page(found, click.Context(found, info_name=name, parent=top), "##")
    if isinstance(found, click.Group):
        group = click.Context(found, info_name=name, parent=top)
        for sub in found.list_commands(group):
            command = found.get_command(group, sub)
            assert command is not None
            yield command_page(command, click.Context(command, info_name=sub, parent=group), "###")


def command_page(command: click.Command, context: click.Context, level: str) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"{level} {context.command_path}", f"    {usage}", click_text(command.help or "")]
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            # The default data directory is the platform's and would differ from machine to machine.
            what = record[1].replace(str(config.default_data_dir()), "the platform's")
            rows.append((f"`{record[0]}`", what))
    if rows:
        parts.append(table(("option", "what for"), rows))
    return "\n\n".join(parts)


def click_text(text: str) -> str:
    """A docstring as paragraphs of one line each."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part)


def rows_of(known: Sequence[arguments.Argument]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in known:
        types = ", ".join(name for name in ("classic", "quorum", "stream") if name in each.types)
        rows.append((f"`{each.name}`", types, each.value, each.default, each.meaning, STATUS[each.status]))
    return rows


ARGUMENT_HEAD: Final = ("argument", "of types", "value", "default", "what it does", "here")


def queue_arguments() -> str:
    return table(ARGUMENT_HEAD, rows_of(arguments.ARGUMENTS))


def consumer_arguments() -> str:
    return table(ARGUMENT_HEAD, rows_of(arguments.CONSUMER_ARGUMENTS))


def bounds() -> str:
    years = f"{limits.DELAY_MAX_MS // 31_536_000_000} years"
    rows: list[tuple[str, str, str]] = [
        ("a time to live, an expiry of a queue, a delay, a window, a delay before a retry", years, "refused"),
        ("`x-max-priority`", f"{arguments.PRIORITY_MAX}", "refused"),
        (
            "`priority` of a message in a queue declared `quorum`",
            f"{laned.RANK_MAX}, and {laned.DEFAULT_RANK} where it has none",
            "counts as the highest",
        ),
        ("retries of one message (`max`)", f"{retry.TRIES_MAX:,}", "refused"),
        ("`multiplier` of a retry policy", f"{retry.MULTIPLIER_MAX:,.0f}", "refused"),
        ("failures that `x-retry-history` tells", f"the last {attempts.HISTORY}", "the oldest are forgotten"),
        ("`x-death`", f"{death.HISTORY_BYTES // 1_024} KiB", "the oldest deaths are left out"),
        (
            "keys of a deduplication window",
            f"{limits.DEDUPLICATION_KEYS:,} unless `size` says otherwise, {limits.DEDUPLICATION_KEYS_MAX:,} at most",
            "the oldest are forgotten; a larger `size` is refused",
        ),
        (
            "messages of a queue with groups that are looked at ahead",
            f"{limits.GROUP_WINDOW:,}",
            "what is behind waits until some of these are settled",
        ),
        ("weight of a binding of `x-consistent-hash`", f"1 to {hashing.WEIGHT_MAX:,}", "refused"),
        (
            "direct replies that a client has not read",
            f"{limits.REPLIES_UNSENT_BYTES // 1_048_576} MiB",
            "more are dropped, and counted",
        ),
        (
            "runs of overdue deliveries of a channel that count against its prefetch",
            f"{limits.LATE_RUNS:,}",
            "the oldest count no more",
        ),
    ]
    return table(("of what", "bound", "beyond it"), rows)


SECTIONS: Final[dict[str, Callable[[], str]]] = {
    "configuration": configuration,
    "exit-codes": exit_codes,
    "commands": commands,
    "queue-arguments": queue_arguments,
    "consumer-arguments": consumer_arguments,
    "bounds": bounds,
}


def renewed(text: str) -> str:
    """A page with its generated sections as they should be."""
    return SECTION.sub(lambda found: f"{found[1]}\n{SECTIONS[found[2]]()}\n\n{found[3]}", text)


def main(args: list[str]) -> int:
    stale = []
    for page in sorted(REFERENCE.glob("*.md")):
        old = page.read_text()
        new = renewed(old)
        if new != old:
            stale.append(page.name)
            if "--check" not in args:
                page.write_text(new)
    for name in stale:
        print(f"{name}: {'stale; run python docs/generate.py' if '--check' in args else 'written'}")
    return 1 if stale and "--check" in args else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
