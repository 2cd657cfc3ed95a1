"""A plain client's look at what the applications leave in queues."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.compat.waiting import eventually


class Taken(NamedTuple):
    headers: dict[str, Any]
    properties: Any
    body: bytes


def waiting(conn: Any, queue: str) -> int:
    """How many messages are ready in `queue`."""
    count: int = conn.channel().queue_declare(queue, passive=True).method.message_count
    return count


def take(conn: Any, queue: str) -> Taken:
    """The next message of `queue`, waited for and acknowledged."""
    channel = conn.channel()

    def ask() -> Taken | None:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        return Taken(properties.headers or {}, properties, body) if method else None

    return eventually(ask, f"a message is in {queue}")
