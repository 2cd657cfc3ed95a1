"""A record that is too large for a block, on its way in fragments, and what has to wait until it is written."""

from __future__ import annotations

from leveret.native import i64


class Chain:
    """One record on its way, a fragment in each block."""

    def __init__(self, number: i64, segment: i64, parts: list[bytes], size_bytes: i64) -> None:
        self.number: i64 = number
        self.segment: i64 = segment  # the one that was open when it came
        self.parts = parts
        self.left: i64 = size_bytes
        self.started = False
        self.at: i64 = 0  # in parts[0]


class StoredPage:
    def __init__(self, lane: i64, base: i64, entry: bytes) -> None:
        self.lane: i64 = lane
        self.base: i64 = base
        self.entry = entry


class Note:
    """One to be written again behind the chain of this number: a transaction in it may have an older one."""

    def __init__(self, lane: i64, seq: i64, behind: i64) -> None:
        self.lane: i64 = lane
        self.seq: i64 = seq
        self.behind: i64 = behind
