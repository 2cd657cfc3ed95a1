"""One message of a group at a time, in the order they came; those behind it wait here, and hold no place of work.

The broker gives a group to one consumer at a time, and as many of its messages as that takes ahead: that a worker does not
run them side by side is its own affair. A message that goes back to its queue takes those behind it along: its group is
held until it comes again. Knows nothing of how messages are run or settled.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

logger = logging.getLogger("leveret.worker")

GROUP_ID: Final = "x-group-id"
FIRST: Final = "x-group-first"  # the broker: this consumer had nothing of the group just before
MOST_HELD: Final = 10_000  # groups; one that went to another worker never says that it is over


class Lanes:
    """By the group that the header `name` tells; True is x-group-id. A message without it is a group of its own."""

    def __init__(self, name: str | bool) -> None:
        self._name = name if isinstance(name, str) else GROUP_ID
        self._warned = False
        self._running: dict[str, Any] = {}
        self._waiting: dict[str, deque[Any]] = {}
        self._held: dict[str, set[int]] = {}  # by group: what was given back of it

    def enter(self, message: Any) -> bool:
        """Whether it may run now; if not, `leave` gives it in its turn."""
        key = self._key(message)
        if key is None:
            if not self._warned:
                self._warned = True
                logger.warning("a message without the header %r came: it is in no group's order", self._name)
            return True
        if key in self._running:
            self._waiting.setdefault(key, deque()).append(message)
            return False
        self._running[key] = message
        return True

    def leave(self, message: Any) -> Any:
        """It has ended: the next of its group, which may run now, or None. Telling it twice does nothing."""
        key = self._key(message)
        if key is None or self._running.get(key) is not message:
            return None
        waiting = self._waiting.get(key)
        if not waiting:
            del self._running[key]
            return None
        following = self._running[key] = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        return following

    def hold(self, message: Any) -> list[Any]:
        """It ran, and went back to its queue: what waits behind it, which is to be given back in this order."""
        key = self._key(message)
        if key is None or self._running.get(key) is not message:
            return []
        del self._running[key]
        waiting = list(self._waiting.pop(key, ()))
        self._held[key] = {_same(one) for one in (message, *waiting)}
        if len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]
        return waiting

    def holds(self, message: Any) -> bool:
        """Whether this was on its way when one before it went back, so that it has to be given back, too.

        What was given back comes again behind all that was on its way, and the broker keeps the order of the rest.
        """
        if not self._held:
            return False
        key = self._key(message)
        if key is None or key not in self._held:
            return False
        given_back = self._held[key]
        if message.headers.get(FIRST) or _same(message) in given_back:
            del self._held[key]
            return False
        given_back.add(_same(message))
        return True

    def clear(self) -> list[Any]:
        """All that waits, which is not to run any more."""
        found = [message for waiting in self._waiting.values() for message in waiting]
        self._waiting.clear()
        return found

    def _key(self, message: Any) -> str | None:
        value = message.headers.get(self._name)
        return None if value is None else repr(value)  # as values: 1 is not the text '1'


def _same(message: Any) -> int:
    """By what a message is known when it comes again. Its headers tell of deliveries, and may be others then."""
    return hash((message.message_id, message.raw))
