"""Runs coroutines at once, and makes a task only of one that has to wait: a task costs more than a small handler.

A coroutine's first step is taken under a spare task and in that task's context, so that `asyncio.current_task`,
`asyncio.timeout` and context variables are as they would be. If it does not end there, the spare task carries it on.
Knows nothing of messages.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio.tasks import _enter_task, _leave_task  # documented: "Extending asyncio"
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

Ended = Callable[[Any, BaseException | None], None]


class Exited:
    """The result of a coroutine that raised SystemExit, which as a task's exception would end the loop."""

    __slots__ = ("error",)

    def __init__(self, error: SystemExit) -> None:
        self.error = error


class _Slot:
    """What a spare task is to carry on."""

    __slots__ = ("coroutine", "started", "waits_for", "wanted")

    def __init__(self, wanted: asyncio.Future[None]) -> None:
        self.wanted = wanted
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.waits_for: Any = None
        self.started = False


@types.coroutine
def _carry(slot: _Slot) -> Generator[Any, Any, Any]:
    """Wait until there is a coroutine that has taken its first step; go on where it waits."""
    slot.started = True
    thrown: BaseException | None = None
    try:
        yield from slot.wanted
    except asyncio.CancelledError as error:
        if slot.coroutine is None:
            raise
        thrown = error
    coroutine = slot.coroutine
    if coroutine is None:
        return None
    waits_for = slot.waits_for
    value: Any = None
    while True:
        if thrown is None:
            try:
                value = yield waits_for
            except BaseException as error:  # cancelled
                thrown = error
        try:
            if thrown is None:
                waits_for = coroutine.send(value)
            else:
                cause, thrown = thrown, None
                waits_for = coroutine.throw(cause)
        except StopIteration as stop:
            return stop.value
        except SystemExit as error:
            return Exited(error)


async def _guarded(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except SystemExit as error:
        return Exited(error)


async def _spare(slot: _Slot) -> Any:
    return await cast("Any", _carry(slot))


class Stepper:
    """Belongs to one task (the one that calls `enter`), which alone calls `run` between `enter` and `leave`; at other times
    `run` makes a task.

    `base` is the context that coroutines begin with: a copy of the current one when this is made.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()
        self.tasks = 0  # made because a coroutine had to wait
        self._owner: asyncio.Task[Any] | None = None
        self._new_spare()

    def _new_spare(self) -> None:
        self._slot = _Slot(self._loop.create_future())
        self._context = self._base.copy()
        self._task = self._loop.create_task(_spare(self._slot), context=self._context)

    def enter(self) -> None:
        """What runs from here on, without waiting, runs as the spare task."""
        self._owner = cast("asyncio.Task[Any]", asyncio.current_task(self._loop))
        _leave_task(self._loop, self._owner)
        _enter_task(self._loop, self._task)

    def leave(self) -> None:
        owner = self._owner
        assert owner is not None
        self._owner = None
        _leave_task(self._loop, self._task)
        _enter_task(self._loop, owner)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Take the first step: if it ends there, StopIteration with its result is raised, or what it raised.

        Else gives the task that carries it on; its result is `Exited` for SystemExit.
        """
        slot = self._slot
        if self._owner is None or not slot.started or slot.wanted.done():
            # Nobody has entered; or the spare is too young to be cancelled safely, or used up.
            return self._loop.create_task(_guarded(coroutine), context=self._base.copy())
        context = self._context
        waits_for = context.run(coroutine.send, None)
        slot.coroutine = coroutine
        slot.waits_for = waits_for
        if not slot.wanted.done():  # it may have cancelled its own task
            slot.wanted.set_result(None)
        return self._hand_over()

    def tidy(self) -> None:
        """After a coroutine that ended at once: the next one must not find its context variables, nor its cancellation."""
        if self._context != self._base or self._task.cancelling():
            slot = self._slot
            self._replace()
            slot.wanted.cancel()

    def _hand_over(self) -> asyncio.Task[Any]:
        task = self._task
        self.tasks += 1
        self._replace()
        return task

    def _replace(self) -> None:
        old = self._task
        self._new_spare()
        if self._owner is not None:
            _leave_task(self._loop, old)
            _enter_task(self._loop, self._task)

    def close(self) -> None:
        """No more is run; what is carried on goes on."""
        self._slot.wanted.cancel()
