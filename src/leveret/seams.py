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


class Log:
    """Segments of blocks, each block durable when `append` returns."""

    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        raise NotImplementedError

    def segments(self) -> list[int]:
        raise NotImplementedError

    def read(self, segment: int) -> list[tuple[int, int, bytes]]:
        raise NotImplementedError

    def trim(self, keep_from: int) -> None:
        raise NotImplementedError

    def prepare(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Pages:
    """Page files, by queue and first sequence number."""

    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        raise NotImplementedError

    def get(self, queue: int, base: int) -> bytes:
        raise NotImplementedError

    def delete(self, queue: int, base: int) -> None:
        raise NotImplementedError

    def delete_queue(self, queue: int) -> None:
        raise NotImplementedError

    def list(self) -> list[tuple[int, int]]:
        raise NotImplementedError
