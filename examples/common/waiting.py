"""Wait for something to become true, for as long as anything happens at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

STALLED_S = 30.0


class Stalled(Exception):
    """Nothing has happened for a long time."""


class Watch:
    """Whoever learns something calls `touch`; whoever waits looks again then."""

    def __init__(self, stalled_s: float = STALLED_S) -> None:
        self.stalled_s = stalled_s
        self._changed = asyncio.Event()
        self._last_s = time.monotonic()

    def touch(self, progress: bool = True) -> None:
        """Something has changed. Without `progress` it is no sign that things go on."""
        if progress:
            self._last_s = time.monotonic()
        self._changed.set()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when `condition()` is true. Raises `Stalled` when there was no progress for `stalled_s`."""
        while not condition():
            self._changed.clear()
            left_s = self._last_s + self.stalled_s - time.monotonic()
            if left_s <= 0:
                raise Stalled(f"nothing has happened for {self.stalled_s:.0f} s while waiting for {what}")
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                continue
