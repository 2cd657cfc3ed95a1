"""A stand-in for leveret.busypoll.BusyPoll, for whoever tells it when to stay awake."""

from __future__ import annotations


class Polling:
    """Counts the waits that began and ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def begin(self) -> None:
        self.begun += 1

    def over(self) -> None:
        self.ended += 1
