"""The differences that are meant, or are RabbitMQ's own between its versions. Each is as narrow as can be said, and
stands in docs/reference/compatibility.md by the word in `row`.

An entry that `ends` a scenario's comparison does so because the states of the brokers are not the same after it;
the run counts how often, so that nothing hides behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import Difference


@dataclass(frozen=True)
class Known:
    id: str
    reason: str
    row: str
    test: Callable[[Difference], bool]
    versions: tuple[str, ...] = ("3.10", "4.3")
    ends: bool = True

    def matches(self, difference: Difference) -> bool:
        return self.test(difference)


def close_texts(difference: Difference) -> tuple[str, str]:
    """The texts of the closes on the left and on the right, "" where there is none."""
    return _close_text(difference.left), _close_text(difference.right)


def _close_text(events: list[Any] | None) -> str:
    for event in events or []:
        if event.get("method") in ("channel.close", "connection.close"):
            return str(event["reply_text"])
    return ""


def _not_built(difference: Difference) -> bool:
    return any("not supported by this version of Leveret" in text for text in close_texts(difference))


KNOWN: list[Known] = [
    Known("not built", "refused until it is there", "refused", _not_built),
]


def known_for(version: str) -> list[Known]:
    """The entries that are about RabbitMQ of `version` ("3.10.8")."""
    return [each for each in KNOWN if any(version.startswith(known) for known in each.versions)]
