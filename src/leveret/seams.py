"""The seams: what one side of the broker asks of another that it must not import.

Each is a base class of few verbs; whoever implements it derives from it. Nothing here knows an implementation.
"""

from __future__ import annotations

from leveret.native import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class TopologyJournal:
    """Where a virtual host writes the changes of what is durable in it."""

    def topology(self, op: bytes) -> i64:
        """Take one change down. Returns the position that an answer has to wait for; 0 waits for nothing."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Blocks:
    """The blocks of one segment, verified and in order, looked at one at a time."""

    def count(self) -> int:
        raise NotImplementedError

    def block(self, i: int) -> tuple[int, int, bytes]:
        """(seq, flags, payload)"""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Log:
    """A write-ahead log: segments, named by rising numbers, of blocks, numbered without a gap."""

    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        """Write one block; durable on return. Begins `segment` if it is not the last one. After a StoreError
        nothing more is taken."""
        raise NotImplementedError

    def segments(self) -> list[int]:
        """The segments there are, oldest first."""
        raise NotImplementedError

    def blocks(self, segment: int, known: int) -> Blocks:
        """Its blocks, verified; `known`: how many there are, if that is known (else -1), from reading them before:
        then nothing is verified again. Raises Damaged."""
        raise NotImplementedError

    def trim(self, keep_from: int) -> None:
        """Segments before this one are not needed."""
        raise NotImplementedError

    def prepare(self) -> bool:
        """Make room for what will be appended; from another thread. True while there is more to do."""
        raise NotImplementedError

    def close(self) -> None:
        """A clean stop. Nothing more is taken."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Pages:
    """Pages of messages that wait, by queue and first sequence number: opaque bytes, written once, read whole."""

    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        """Write a page: durable on return with `sync`, else after `sync_directories`."""
        raise NotImplementedError

    def get(self, queue: int, base: int) -> bytes:
        """Raises Damaged, or StoreError if it is not there."""
        raise NotImplementedError

    def delete(self, queue: int, base: int) -> None:
        """None there is fine. A deleted page may come back after a crash."""
        raise NotImplementedError

    def delete_queue(self, queue: int) -> None:
        raise NotImplementedError

    def sync_directories(self) -> None:
        raise NotImplementedError

    def list(self) -> list[tuple[int, int]]:
        """(queue, base) of every page, in order."""
        raise NotImplementedError
