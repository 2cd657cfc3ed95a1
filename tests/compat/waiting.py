"""Waiting without sleeping blindly: ask until the answer is there, or fail at a deadline with what was last seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 10.0
_STEP_S = 0.01


def eventually(ask: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first answer of `ask` that is true, asked again and again until `deadline_s` has passed."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s} s still not: {what} (last answer: {answer!r})")
        time.sleep(_STEP_S)


async def eventually_async(ask: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The same without stopping the loop that the test runs in."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s} s still not: {what} (last answer: {answer!r})")
        await asyncio.sleep(_STEP_S)
