"""The seams: what one side of the broker asks of another that it must not import.

Each is a base class of few verbs; whoever implements it derives from it. Nothing here knows an implementation.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class TopologyJournal:
    """Where a virtual host writes the changes of what is durable in it."""

    def topology(self, op: bytes) -> i64:
        """Take one change down. Returns the position that an answer has to wait for; 0 waits for nothing."""
        raise NotImplementedError
