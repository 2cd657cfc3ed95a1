"""A fuzzer for the AMQP 0-9-1 peer: what has to hold is in tests/protocol/hostile.py.

An input is an octet that says how it is fed, and bytes: behind an open connection with channels, or from the first
octet on; in pieces of some size; with the disk keeping up or not.
"""

from __future__ import annotations

from typing import Final

from tests.protocol.hostile import frames, survive

OPENED: Final = 1  # bits of the first octet: behind an open connection
SYNCED: Final = 2  # the disk keeps up
STEPS: Final = (0, 1, 3, 7, 20, 100, 1_000, 4_096)  # sizes of pieces, by the next three bits; 0: one piece
LARGEST_BYTES: Final = 65_536

_CONVERSATION: Final = frames()
_OPENING: Final = b"".join(_CONVERSATION[:3])


def one_input(data: bytes) -> None:
    """Raises where something does not hold."""
    if not data:
        return
    how, said = data[0], data[1 : LARGEST_BYTES + 1]
    step = STEPS[how >> 2 & 7] or max(len(said), 1)
    pieces = [said[at : at + step] for at in range(0, len(said), step)]
    survive([_OPENING, *pieces] if how & OPENED else pieces, bool(how & SYNCED))


def seeds() -> list[bytes]:
    """Inputs to begin with: the whole conversation, and pieces of it."""
    found = [bytes([SYNCED]) + b"".join(_CONVERSATION)]
    found.append(bytes([OPENED | SYNCED]) + b"".join(_CONVERSATION[3:]))
    found.append(bytes([OPENED | (4 << 2)]) + b"".join(_CONVERSATION[3:]))
    for at in range(3, len(_CONVERSATION)):
        found.append(bytes([OPENED | SYNCED]) + b"".join(_CONVERSATION[at : at + 4]))
    return found
