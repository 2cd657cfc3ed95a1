"""`leveret publish`, `get`, `purge` and `delete`: small changes to a running broker, for people and scripts."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any, Final

import click

from leveret.cli import exits, options
from leveret.cli.client import Client

TEXT_PROPERTIES: Final = (
    "content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "message_id", "type", "app_id",
)  # fmt: skip
NUMBER_PROPERTIES: Final = ("priority", "timestamp")


def _properties(pairs: tuple[str, ...], headers: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in TEXT_PROPERTIES + NUMBER_PROPERTIES:
            known = ", ".join(TEXT_PROPERTIES + NUMBER_PROPERTIES)
            raise click.UsageError(f"--property {pair}: it takes NAME=VALUE; names: {known}")
        if name in NUMBER_PROPERTIES and not (value.isascii() and value.isdigit()):
            raise click.UsageError(f"--property {pair}: {name} is a whole number")
        found[name] = int(value) if name in NUMBER_PROPERTIES else value
    table: dict[str, Any] = {}
    for header in headers:
        name, equals, value = header.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--header {header}: it takes NAME=VALUE")
        table[name] = value
    if table:
        found["headers"] = table
    return found


@click.command()
@click.argument("routing_key")
@click.argument("body", required=False)
@options.broker
@options.vhost
@click.option("--exchange", default="", help="Exchange; without it the routing key is the name of a queue.")
@click.option("--transient", is_flag=True, help="Do not keep it over a restart of the broker.")
@click.option(
    "--property", "pairs", multiple=True, metavar="NAME=VALUE", help="A property, such as content-type."
)
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header.")
def publish(
    client: Client,
    routing_key: str,
    body: str | None,
    vhost: str,
    exchange: str,
    transient: bool,
    pairs: tuple[str, ...],
    headers: tuple[str, ...],
) -> None:
    """Publish a message: BODY, or what is on stdin. Returns when it is on disk.

    A message that no queue takes is an error.
    """
    properties = _properties(pairs, headers)
    content = sys.stdin.buffer.read() if body is None else body.encode("utf-8", "surrogateescape")
    client.ask(
        "publish",
        vhost=vhost,
        exchange=exchange,
        routing_key=routing_key,
        body=base64.b64encode(content).decode(),
        persistent=not transient,
        properties=properties,
    )


@click.command()
@click.argument("queue")
@options.broker
@options.vhost
@options.as_json
@click.option(
    "--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many, at most."
)
@click.option(
    "--ack", is_flag=True, help="Take them out of the queue; without it they go back to their places."
)
def get(client: Client, queue: str, vhost: str, as_json: bool, count: int, ack: bool) -> int:
    """Get messages from a queue and put them back, or take them out with --ack.

    Bodies are written to stdout as they are, a line each; --json has properties and a body in base64 unless it is
    UTF-8. What was put back is delivered with the redelivered flag.
    """
    messages: list[dict[str, Any]] = client.ask("get", vhost=vhost, queue=queue, count=count, ack=ack)
    if as_json:
        click.echo(json.dumps([_readable(message) for message in messages], indent=2))
    else:
        for message in messages:
            sys.stdout.buffer.write(base64.b64decode(message["body"]) + b"\n")
        sys.stdout.buffer.flush()
    return exits.OK if messages else exits.EMPTY


def _readable(message: dict[str, Any]) -> dict[str, Any]:
    try:
        text = base64.b64decode(message["body"]).decode()
    except UnicodeDecodeError:
        return {**message, "body_encoding": "base64"}
    return {**message, "body": text, "body_encoding": "utf-8"}


@click.command()
@click.argument("queue")
@options.broker
@options.vhost
def purge(client: Client, queue: str, vhost: str) -> None:
    """Drop the messages that are ready in a queue or wait for a retry.

    Those that are delivered and unacknowledged stay, and those that are not due: see `leveret scheduled`.
    """
    click.echo(f"{client.ask('purge', vhost=vhost, queue=queue)['messages']} messages dropped")


@click.group()
def delete() -> None:
    """Delete a queue or an exchange."""


@delete.command(name="queue")
@click.argument("name")
@options.broker
@options.vhost
@click.option("--if-unused", is_flag=True, help="Only if it has no consumers.")
@click.option("--if-empty", is_flag=True, help="Only if it has no messages that are ready.")
def delete_queue(client: Client, name: str, vhost: str, if_unused: bool, if_empty: bool) -> None:
    """Delete a queue and its messages."""
    result = client.ask("delete_queue", vhost=vhost, queue=name, if_unused=if_unused, if_empty=if_empty)
    click.echo(f"queue deleted, and {result['messages']} messages with it")


@delete.command(name="exchange")
@click.argument("name")
@options.broker
@options.vhost
@click.option("--if-unused", is_flag=True, help="Only if nothing is bound to it.")
def delete_exchange(client: Client, name: str, vhost: str, if_unused: bool) -> None:
    """Delete an exchange and its bindings."""
    client.ask("delete_exchange", vhost=vhost, exchange=name, if_unused=if_unused)
    click.echo("exchange deleted")


COMMANDS: Final[dict[str, click.Command]] = {"publish": publish, "get": get, "purge": purge, "delete": delete}
