"""What tests of deliveries that fail do and ask: the last delivery, one more failure, what is dead."""

from __future__ import annotations

from leveret.message import ACCEPTED, REJECTED
from tests.rig import Hand, Rig, body_of, headers_of

DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


def last(hand: Hand) -> tuple[int, bytes, dict[str, object]]:
    """The last delivery: tag, body, headers."""
    tag, data, _ = hand.got[-1]
    return tag, body_of(data), headers_of(data)


def fail_once(rig: Rig, hand: Hand, outcome: int = REJECTED) -> None:
    hand.settle(hand.got[-1][0], outcome)
    rig.settle_down()


def dead(rig: Rig) -> list[tuple[bytes, dict[str, object]]]:
    hand = Hand(rig, rig.queue("dead"), name="undertaker")
    rig.settle_down()
    found = [(body_of(data), headers_of(data)) for _, data, _ in hand.got]
    hand.settle(0, ACCEPTED, True)
    hand.leave()
    rig.settle_down()
    return found
