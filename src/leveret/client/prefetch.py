"""How many messages a consumer asks for ahead: a number, or one that follows how fast they are worked through.

Too few, and a fast consumer waits for each round trip; too many, and messages wait with a slow one while its clones have
nothing to do. Aimed at: what is in work, and as much again as is worked through in a quarter of a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, Literal

FIRST: Final = 16
MOST: Final = 2_000
AHEAD_S: Final = 0.25
EARLY_S: Final = 0.05  # the first looks come quickly, later ones
LATE_S: Final = 1.0
GROWS: Final = 1.5  # by less it is not worth a round trip


class Prefetch:
    """`count` is what to ask for now; `taken` is counted up by the consumer."""

    def __init__(self, wanted: int | Literal["auto"], clock: Callable[[], float] = time.monotonic) -> None:
        if wanted != "auto" and not (isinstance(wanted, int) and 0 <= wanted <= 65_535):
            raise ValueError(f"prefetch is 'auto', or a number up to 65535 (0: no bound), not {wanted!r}")
        self.is_auto = wanted == "auto"
        self.count = FIRST if wanted == "auto" else wanted
        self.taken = 0
        self._clock = clock
        self._since_s = clock()
        self._every_s = EARLY_S
        self._before = 0

    def looks_due(self) -> bool:
        return self._clock() - self._since_s >= self._every_s

    def adapt(self, in_work: int) -> bool:
        """Whether `count` has changed. `in_work`: messages that were handed out and are not settled."""
        now = self._clock()
        passed_s = max(now - self._since_s, 1e-6)
        rate = (self.taken - self._before) / passed_s
        self._since_s, self._before = now, self.taken
        self._every_s = min(self._every_s * 2, LATE_S)
        aim = max(0, in_work) + math.ceil(rate * AHEAD_S)
        aim = max(1, min(MOST, aim))
        if aim > self.count * GROWS or aim < self.count / GROWS:
            self.count = aim
            return True
        return False

    def starves(self, in_work: int) -> bool:
        """Whether `count` has grown, since somebody who has all of it unsettled waits for more."""
        if not self.is_auto or in_work < self.count or self.count >= MOST:
            return False
        self.count = min(MOST, 2 * max(in_work, 1))
        return True
