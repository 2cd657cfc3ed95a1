"""Whoever has to know what becomes of single messages of a lane: groups, attempts, unique keys. Most lanes have nobody.

A lane tells its watcher after it has changed its own state. Watchers know lanes; lanes know watchers only from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.page import Page
    from leveret.core.paging import PagedLane


class Watcher:
    """Whoever has to know what becomes of single messages of a lane: nobody, for an ordinary one."""

    def left(self, lane: PagedLane, seq: i64, m: Message | None) -> None:
        """A message is gone: settled, dropped or moved. It may not be in memory."""

    def came_back(self, lane: PagedLane, seq: i64) -> None:
        """A message that was out is ready again."""

    def slept(self, lane: PagedLane, seq: i64) -> None:
        """A message that was out, or ready, sleeps."""

    def dressed(self, lane: PagedLane, seq: i64, m: Message) -> Message:
        """How a message is to be handed out: asked if it was before, or is taken out of turn."""
        return m


class Both(Watcher):
    """Two that have to know."""

    def __init__(self, one: Watcher, other: Watcher) -> None:
        self.one = one
        self.other = other

    def left(self, lane: PagedLane, seq: i64, m: Message | None) -> None:
        self.one.left(lane, seq, m)
        self.other.left(lane, seq, m)

    def came_back(self, lane: PagedLane, seq: i64) -> None:
        self.one.came_back(lane, seq)
        self.other.came_back(lane, seq)

    def slept(self, lane: PagedLane, seq: i64) -> None:
        self.one.slept(lane, seq)
        self.other.slept(lane, seq)

    def dressed(self, lane: PagedLane, seq: i64, m: Message) -> Message:
        return self.other.dressed(lane, seq, self.one.dressed(lane, seq, m))


class Visitor:
    """Looks once at every page of a lane, after a restart."""

    def visit(self, page: Page, messages: list[Message | None]) -> None:
        """messages: by slot, None for what does not live."""
        raise NotImplementedError
