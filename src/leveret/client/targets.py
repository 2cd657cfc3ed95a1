"""Where a message goes, and what it may say of itself."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict

from leveret.errors import InvalidMessage

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
    """A text is the name of a queue. Raises InvalidMessage for what is neither."""
    if isinstance(to, Target):
        return to
    if not isinstance(to, str):
        raise InvalidMessage(
            f"a message goes to the name of a queue (a str), or to topic(...) or exchange(...), not to {_shown(to)}"
        )
    return Target("", to)


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


_TEXT: Final = ((str,), "a text (str)")
_FLAG: Final = ((bool,), "True or False")
_WHOLE: Final = ((int,), "a whole number (int)")
_SECONDS: Final = ((int, float), "a number of seconds")
_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "headers": ((Mapping,), "a mapping of texts to values"),
    "persistent": _FLAG,
    "message_id": _TEXT,
    "correlation_id": _TEXT,
    "reply_to": _TEXT,
    "content_type": _TEXT,
    "type": _TEXT,
    "priority": _WHOLE,
    "expires_s": _SECONDS,
    "delay_s": _SECONDS,
    "at": ((datetime,), "a datetime"),
    "group": _TEXT,
    "unique": _TEXT,
    "app_id": _TEXT,
    "timestamp": ((int,), "whole seconds since 1970 (int)"),
    "mandatory": _FLAG,
    "serializer": _TEXT,
    "compress": ((object,), ""),  # compression() says what it takes
}


def check_options(options: Mapping[str, object]) -> None:
    """Raises TypeError for an option that there is not, as Python does, and InvalidMessage for a value that is none."""
    for name, value in options.items():
        kind = _KINDS.get(name)
        if kind is None:
            near = difflib.get_close_matches(name, _KINDS, 1, 0.5)
            raise TypeError(
                f"a message has no option {name!r}"
                + (f"; {near[0]!r} is meant?" if near else f"; there are {', '.join(_KINDS)}")
            )
        if value is None:
            continue
        if not isinstance(value, kind[0]) or (isinstance(value, bool) and kind in (_WHOLE, _SECONDS)):
            raise InvalidMessage(f"{name} is {kind[1]}, not {_shown(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidMessage(f"{name} is {kind[1]}, not {value!r}")
    headers = options.get("headers")
    if isinstance(headers, Mapping):
        for key in headers:
            if not isinstance(key, str):
                raise InvalidMessage(f"the name of a header is a text (str), not {_shown(key)}")


def _shown(value: object) -> str:
    return f"{value!r:.60} ({type(value).__name__})"
