"""Who has lanes: a queue, or an exchange that delays. What recovery, checkpoints and the journal ask of such a one.

Its lanes have numbers: 0 is the ordinary one, 1 to 255 are priorities, from 256 on is what is not due (delays.py).
"""

from __future__ import annotations

from mypy_extensions import trait

from leveret.core.lane import Lane
from leveret.journal import FIRST_DELAYED, ORDINARY, StateSink
from leveret.message import Message
from leveret.native import i64


@trait
class Holder:
    def lane_at(self, index: i64) -> Lane:
        """The lane of this number, made if there is none yet."""
        raise NotImplementedError

    def all_lanes(self) -> list[Lane]:
        """Those there are."""
        raise NotImplementedError

    def keeps(self) -> bool:
        """What is in it outlives the process."""
        raise NotImplementedError

    def due(self, lane: Lane, seq: i64, m: Message) -> None:
        """A message that was delayed, asleep in `lane`, is to go where it belongs."""
        raise NotImplementedError

    def notes(self, lane: Lane, out: StateSink) -> None:
        """Give a checkpoint what else is known of the lane's messages."""
        raise NotImplementedError

    def facts(self, out: StateSink) -> None:
        """Give a checkpoint what else is to be known of the holder."""
        raise NotImplementedError

    def restored_note(self, lane: Lane, seq: i64, note: bytes) -> None:
        raise NotImplementedError

    def restored_fact(self, fact: bytes) -> None:
        raise NotImplementedError

    def restored(self) -> None:
        """All of its lanes are back."""
        raise NotImplementedError


__all__ = ["FIRST_DELAYED", "ORDINARY", "Holder"]
