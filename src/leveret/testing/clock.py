"""The time of a test's broker, to be moved ahead: what `leveret_clock` is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from leveret.embed.thread import ThreadedBroker


class BrokerClock:
    """Moves the time that messages expire, fall due and are retried by. What is due is done when a move returns."""

    def __init__(self, broker: ThreadedBroker) -> None:
        self._broker = broker

    def now(self) -> datetime:
        """The broker's time, in UTC."""
        return datetime.fromtimestamp(self._broker.broker.clock.wall_ms() / 1000, UTC)

    def advance(
        self, seconds: float | timedelta = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
    ) -> None:
        """Go ahead by so much. Raises ValueError for going back."""
        ahead = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        ahead += timedelta(minutes=minutes, hours=hours, days=days)
        if ahead < timedelta(0):
            raise ValueError(f"time goes forward only: {ahead.total_seconds():g} s is below 0")
        self._broker.advance(ahead.total_seconds())

    def move_to(self, when: datetime) -> None:
        """Go ahead to a time, which has a time zone. Raises ValueError if it is past, or has none."""
        if when.tzinfo is None:
            raise ValueError(f"{when} has no time zone: add one, such as tzinfo=UTC")
        self.advance(when - self.now())
