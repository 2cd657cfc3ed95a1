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

from leveret import config
from leveret.cli import exits
from leveret.cli.main import COMMANDS, leveret
from leveret.core import arguments

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
SECTION: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
STATUS: Final = {
    arguments.HONOURED: "as RabbitMQ",
    arguments.OWN: "Leveret's own",
    arguments.NO_EFFECT: "accepted, checked as RabbitMQ checks it, without effect",
    arguments.NOT_YET: "refused",
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
        status = STATUS[each.status]
        if each.status == arguments.NOT_YET and each.default is not None:
            status += f"; `{json.dumps(each.default)}`, which asks for nothing, is accepted"
        types = ", ".join(name for name in ("classic", "quorum", "stream") if name in each.types)
        rows.append((f"`{each.name}`", types, each.meaning, status))
    return rows


def queue_arguments() -> str:
    return table(("argument", "of types", "what it asks for", "here"), rows_of(arguments.ARGUMENTS))


def consumer_arguments() -> str:
    return table(("argument", "of types", "what it asks for", "here"), rows_of(arguments.CONSUMER_ARGUMENTS))


SECTIONS: Final[dict[str, Callable[[], str]]] = {
    "configuration": configuration,
    "exit-codes": exit_codes,
    "commands": commands,
    "queue-arguments": queue_arguments,
    "consumer-arguments": consumer_arguments,
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
