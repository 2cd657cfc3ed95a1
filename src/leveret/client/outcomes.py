"""What became of a message that was sent, and who is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from leveret.client.engine.outbox import CONFIRMED, REFUSED, Done
from leveret.client.targets import Target, target
from leveret.errors import LeveretError, NotConfirmed, Unroutable


@dataclass(frozen=True)
class Outcome:
    """What became of a posted message. `error` is None for one that the broker has."""

    message_id: str
    to: str | Target
    body: object
    error: LeveretError | None

    @property
    def ok(self) -> bool:
        return self.error is None


OnOutcome = Callable[[Outcome], None]


class Waiter(Protocol):
    """Who is told of the end of a message."""

    def finish(self, done: Done) -> None: ...

    def fail(self, error: LeveretError) -> None: ...


class Posted:
    """A posted message whose end is to be told."""

    __slots__ = ("_body", "_message_id", "_tell", "_to")

    def __init__(self, tell: OnOutcome, message_id: str, to: str | Target, body: object) -> None:
        self._tell = tell
        self._message_id = message_id
        self._to = to
        self._body = body

    def finish(self, done: Done) -> None:
        self._tell(Outcome(self._message_id, self._to, self._body, error_of(done, self._to)))

    def fail(self, error: LeveretError) -> None:
        self._tell(Outcome(self._message_id, self._to, self._body, error))


class Awaited:
    """A message, or several, that somebody waits for. The first error is the one that is told."""

    __slots__ = ("_error", "_left", "_to")

    def __init__(self, to: str | Target, left: int) -> None:
        self._to = to
        self._left = left
        self._error: LeveretError | None = None

    def finish(self, done: Done) -> None:
        if done.verdict != CONFIRMED and self._error is None:
            self._error = error_of(done, self._to)
        self.more(-1)

    def fail(self, error: LeveretError) -> None:
        self._error = self._error or error
        self.more(-1)

    def more(self, count: int) -> None:
        """So many more of them, or fewer; at none it is over."""
        self._left += count
        if self._left == 0:
            self.over(self._error)

    def over(self, error: LeveretError | None) -> None:
        raise NotImplementedError


class Published(Awaited):
    """By a coroutine."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None], to: str | Target, left: int) -> None:
        super().__init__(to, left)
        self._future = future

    def over(self, error: LeveretError | None) -> None:
        settle(self._future, error)


def error_of(done: Done, to: str | Target) -> LeveretError | None:
    if done.verdict == CONFIRMED:
        return None
    where = target(to)
    if done.verdict == REFUSED:
        return NotConfirmed(
            f"the broker did not take a message to {where}: the queue is full or has it already, or the broker failed"
        )
    advice = ": declare the queue first" if not where.exchange else ""
    return Unroutable(f"no queue gets a message to {where} ({done.text}){advice}")


def settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
