"""Busy polling: a loop that expects something within microseconds looks again instead of going to sleep.

To wake up a processor that sleeps takes 25 microseconds and more, about as long as all that a message costs on its way
between two processes. So a loop that has nothing to do stays awake for a moment, where what it waits for usually comes
within that moment; anything else that wants the processor goes first (`sched_yield`), and so do the loop's other
callbacks. Where it usually takes longer, as with a far peer, a disk or a quiet hour, it sleeps at once. How long it
usually takes is a moving average, as in the kernel's halt polling. It knows a loop's `call_soon`, and nothing of what comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

WEIGHT: Final = 1 / 8  # of the last wait in what is usual, as TCP does for round trips (RFC 6298)
LONG: Final = 4.0  # a wait of so many limits or more is as good as any: it is soon forgotten


class BusyPoll:
    """`limit_s`: how long to stay awake at most; 0 never does."""

    __slots__ = ("_call_soon", "_going", "_since_s", "limit_s", "usual_s")

    def __init__(self, call_soon: Callable[[Callable[[], None]], Any], limit_s: float) -> None:
        self.allow(limit_s)
        self.usual_s = 0.0  # until something comes
        self._call_soon = call_soon
        self._since_s = 0.0  # when the wait began; 0: nobody waits
        self._going = False

    def allow(self, limit_s: float) -> None:
        """From now on so long."""
        self.limit_s = limit_s if limit_s > 0 and is_possible() else 0.0

    def begin(self) -> None:
        """There is nothing to do until something comes."""
        if self.limit_s and not self._since_s:
            self._since_s = perf_counter()
            if self.usual_s < self.limit_s and not self._going:
                self._going = True
                self._call_soon(self._look)

    def over(self) -> None:
        """Something came."""
        if self._since_s:
            waited_s = min(perf_counter() - self._since_s, LONG * self.limit_s)
            self._since_s = 0.0
            self.usual_s += (waited_s - self.usual_s) * WEIGHT

    def _look(self) -> None:
        """Come back after the loop has looked at its sockets once more."""
        if self._since_s and perf_counter() - self._since_s < self.limit_s:
            os.sched_yield()
            self._call_soon(self._look)
        else:
            self._going = False


def is_possible() -> bool:
    """Another processor is there for whoever is to answer."""
    if not hasattr(os, "sched_yield"):
        return False
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) > 1
