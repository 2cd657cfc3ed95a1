"""How long to wait before the next try: longer each time, up to a bound, with jitter.

Knows numbers only: no clock, no loop. Random numbers can be injected, so that tests are exact.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

Jitter = Literal["full", "equal", "none"]


class Backoff:
    """A series of delays: `first_s`, times `multiplier` each time, at most `max_s`.

    `jitter` spreads those who lost the same broker: "full" draws each delay between 0 and its bound, "equal" between
    half of it and all of it, "none" takes the bound. `random` gives numbers from 0 up to 1. Raises ValueError.
    """

    def __init__(
        self,
        first_s: float = 0.2,
        max_s: float = 10.0,
        multiplier: float = 2.0,
        jitter: Jitter = "full",
        random: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < first_s <= max_s:
            raise ValueError(f"first_s is above 0 and at most max_s: not {first_s} and {max_s}")
        if not multiplier >= 1:
            raise ValueError(f"multiplier is at least 1, not {multiplier}")
        if jitter not in ("full", "equal", "none"):
            raise ValueError(f"jitter is full, equal or none, not {jitter!r}")
        self.first_s = first_s
        self.max_s = max_s
        self.multiplier = multiplier
        self.jitter = jitter
        self.tries = 0  # delays taken since the last reset
        self._random = random
        self._bound_s = first_s

    def next_s(self) -> float:
        """The next delay, in seconds."""
        bound_s = self._bound_s
        self.tries += 1
        self._bound_s = min(bound_s * self.multiplier, self.max_s)
        if self.jitter == "none":
            return bound_s
        if self.jitter == "equal":
            return bound_s / 2 + self._random() * bound_s / 2
        return self._random() * bound_s

    def reset(self) -> None:
        """It worked: begin with `first_s` again."""
        self.tries = 0
        self._bound_s = self.first_s

    def fresh(self) -> Backoff:
        """One of the same settings at its beginning: a client has its own, however many share the settings."""
        return Backoff(self.first_s, self.max_s, self.multiplier, self.jitter, self._random)

    def __repr__(self) -> str:
        return f"Backoff({self.first_s}, {self.max_s}, {self.multiplier}, {self.jitter!r})"
