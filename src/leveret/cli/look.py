"""`leveret status` and the listings: what a running broker has, as tables for people or JSON for scripts."""

from __future__ import annotations

from typing import Any, Final

import click

from leveret.cli import options
from leveret.cli.client import Client

# listing -> columns of the table (JSON has every field), and whether it is of one virtual host
LISTINGS: Final[dict[str, tuple[tuple[str, ...], bool]]] = {
    "queues": (
        (
            "name", "type", "ready", "unacknowledged", "delayed", "waiting_for_retry", "consumers", "dead_lettered",
            "expired", "durable", "exclusive", "auto_delete", "arguments",
        ),
        True,
    ),
    "exchanges": (("name", "type", "durable", "auto_delete", "internal", "arguments"), True),
    "bindings": (("source", "destination", "destination_kind", "routing_key", "arguments"), True),
    "connections": (("name", "user", "vhost", "state", "channels", "client", "blocked"), False),
    "channels": (
        ("connection", "number", "consumers", "unacknowledged", "prefetch", "confirm", "transactional"),
        False,
    ),
    "consumers": (
        ("queue", "tag", "connection", "channel", "active", "priority", "ack_required", "prefetch", "unacknowledged"),
        True,
    ),
}  # fmt: skip


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
        options.show_rows(columns, client.ask(name, vhost=vhost), as_json)

    callback: Any = in_vhost if of_vhost else everywhere
    callback.__doc__ = f"List {name}."
    decorated = options.as_json(options.broker(callback))
    return click.command(name=name)(options.vhost(decorated) if of_vhost else decorated)


COMMANDS: Final[dict[str, click.Command]] = {"status": status, **{name: _listing(name) for name in LISTINGS}}
