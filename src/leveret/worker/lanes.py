"""One message of a group at a time, in the order they came; those behind it wait here, and hold no place of work.

The broker gives a group to one consumer at a time, and as many of its messages as that takes ahead: that a worker does not
run them side by side is its own affair. Knows nothing of how messages are run or settled.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

logger = logging.getLogger("leveret.worker")

GROUP_ID: Final = "x-group-id"


class Lanes:
    """By the group that the header `name` tells; True is x-group-id. A message without it is a group of its own."""

    def __init__(self, name: str | bool) -> None:
        self._name = name if isinstance(name, str) else GROUP_ID
        self._warned = False
        self._running: dict[str, Any] = {}
        self._waiting: dict[str, deque[Any]] = {}

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

    def clear(self) -> list[Any]:
        """All that waits, which is not to run any more."""
        found = [message for waiting in self._waiting.values() for message in waiting]
        self._waiting.clear()
        return found

    def _key(self, message: Any) -> str | None:
        value = message.headers.get(self._name)
        return None if value is None else repr(value)  # as values: 1 is not the text '1'
