"""A clock that can be moved ahead: what a broker in a test takes for the time. It knows nothing of brokers."""

from __future__ import annotations

from collections.abc import Callable

from leveret.clock import Clock


class MovableClock(Clock):
    """Goes as the system's clocks do, ahead of them by `ahead_ms`."""

    def __init__(self, ahead_ms: int = 0) -> None:
        super().__init__()
        self.ahead_ms = ahead_ms
        self.watchers: set[Callable[[], None]] = set()  # called after each move, by the thread that moves

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms

    def move(self, ms: int) -> None:
        """Go ahead by so many milliseconds. Raises ValueError for going back."""
        if ms < 0:
            raise ValueError(f"time goes forward only: {ms} ms is below 0")
        self.ahead_ms += ms
        for watcher in list(self.watchers):
            watcher()
