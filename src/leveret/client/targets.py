"""Where a message goes, and what it may say of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

TOPICS = "amq.topic"


@dataclass(frozen=True)
class Target:
    """An exchange and a routing key. The default exchange, '', takes the key for the name of a queue."""

    exchange: str
    key: str = ""

    def __str__(self) -> str:
        return f"queue {self.key!r}" if not self.exchange else f"exchange {self.exchange!r}, key {self.key!r}"


def topic(key: str, exchange: str = TOPICS) -> Target:
    """To whoever has subscribed to this topic: `topic("orders.eu.created")`."""
    return Target(exchange, key)


def exchange(name: str, key: str = "") -> Target:
    """To an exchange by its name."""
    return Target(name, key)


def target(to: str | Target) -> Target:
    """A text is the name of a queue."""
    return to if isinstance(to, Target) else Target("", to)


class Options(TypedDict, total=False):
    """What may be said of a message that is sent.

    persistent: kept on disk (the default). delay_s or at: not to be delivered before. expires_s: how long it may wait.
    group: which group it belongs to. unique: the key that no other waiting message has. mandatory: a message that no
    queue gets is an error; the default for queues. serializer: a content type of the registry. compress: an encoding.
    """

    headers: Mapping[str, object] | None
    persistent: bool
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    content_type: str | None
    type: str | None
    priority: int | None
    expires_s: float | None
    delay_s: float | None
    at: datetime | None
    group: str | None
    unique: str | None
    app_id: str | None
    timestamp: int | None
    mandatory: bool | None
    serializer: str | None
    compress: str | None
