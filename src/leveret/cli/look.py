"""`leveret status` and the listings: what a running broker has, as tables for people or JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from leveret.cli import options
from leveret.cli.client import Client

# listing -> columns of the table (JSON has every field), and whether it is of one virtual host
LISTINGS: Final[dict[str, tuple[tuple[str, ...], bool]]] = {
    "queues": (
        (
            "name", "state", "type", "ready", "unacknowledged", "delayed", "waiting_for_retry", "consumers", "so_far",
            "kept", "arguments",
        ),
        True,
    ),
    "exchanges": (("name", "type", "durable", "auto_delete", "internal", "arguments"), True),
    "bindings": (("source", "destination", "destination_kind", "routing_key", "arguments"), True),
    "connections": (
        ("name", "protocol", "transport", "user", "vhost", "state", "channels", "client", "blocked"),
        False,
    ),
    "channels": (
        ("connection", "number", "consumers", "unacknowledged", "prefetch", "confirm", "transactional"),
        False,
    ),
    "consumers": (
        ("queue", "tag", "connection", "channel", "active", "priority", "ack_required", "prefetch", "unacknowledged"),
        True,
    ),
}  # fmt: skip


# Of the columns of queues these are shown only where there is something to be seen.
NOW_AND_THEN: Final = ("state", "delayed", "waiting_for_retry", "so_far")
# What became of messages since the broker was started.
COUNTERS: Final = (
    "expired", "dropped_from_head", "refused", "timed_out", "dead_lettered", "retried", "duplicates",
    "refused_as_not_unique", "replaced",
)  # fmt: skip
HELP: Final = {
    "queues": """List queues.

    delayed: not due yet; waiting for retry: failed, and asleep until they are tried again. Both are shown only if there
    are some. so far: what became of messages since the broker was started. --json has every count apart, and how the
    queue's rules stand: its groups, keys, priorities and active consumer.
    """,
}


def argument(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def queue_for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """Counts that are none are left out, and what is said twice."""
    happened = [f"{row[name]} {name.replace('_', ' ')}" for name in COUNTERS if row.get(name)]
    kept = ["durable" if row["durable"] else "transient"]
    kept += [name.replace("_", "-") for name in ("exclusive", "auto_delete") if row[name]]
    arguments = {name: value for name, value in row["arguments"].items() if name != "x-queue-type"}
    return {
        **row,
        "state": "" if row["state"] == "running" else row["state"],
        "so_far": ", ".join(happened),
        "kept": ", ".join(kept),
        "arguments": " ".join(f"{name}={argument(value)}" for name, value in arguments.items()),
    }


def show_queues(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        options.show_rows((), rows, True)
        return
    shown = [queue_for_people(row) for row in rows]
    columns = [c for c in LISTINGS["queues"][0] if c not in NOW_AND_THEN or any(row[c] for row in shown)]
    options.show_rows(columns, shown, False)


@click.command()
@options.broker
@options.as_json
def status(client: Client, as_json: bool) -> None:
    """How the running broker is: version and build, uptime, addresses, memory, counts, alarms."""
    options.show_one(client.ask("status"), as_json)


def _listing(name: str) -> click.Command:
    columns, of_vhost = LISTINGS[name]

    def everywhere(client: Client, as_json: bool) -> None:
        options.show_rows(columns, client.ask(name), as_json)

    def in_vhost(client: Client, as_json: bool, vhost: str) -> None:
        rows = client.ask(name, vhost=vhost)
        if name == "queues":
            show_queues(rows, as_json)
        else:
            options.show_rows(columns, rows, as_json)

    callback: Any = in_vhost if of_vhost else everywhere
    callback.__doc__ = HELP.get(name, f"List {name}.")
    decorated = options.as_json(options.broker(callback))
    return click.command(name=name)(options.vhost(decorated) if of_vhost else decorated)


COMMANDS: Final[dict[str, click.Command]] = {"status": status, **{name: _listing(name) for name in LISTINGS}}
