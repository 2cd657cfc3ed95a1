"""Time as an argument. The server reads the system's clock once a turn; tests move a fake one by hand.

Nothing below `server` asks for the time: it is handed `now_ms` by `tick(now_ms)` and answers with its next deadline.
"""

from __future__ import annotations

import time
from typing import Final

from leveret.native import i64, mypyc_attr

NEVER: Final[i64] = 1 << 62


@mypyc_attr(allow_interpreted_subclasses=True)
class Clock:
    """The system's clocks, in milliseconds."""

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class FakeClock(Clock):
    """Stands still until moved. For tests."""

    def __init__(self, now_ms: int = 0) -> None:
        self.now_ms = now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms
