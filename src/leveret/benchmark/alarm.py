"""An alarm that is right to some microseconds, for loads at a rate: event loops wake up to a millisecond late.

It is Linux's timerfd, which Python has from 3.13 on only; elsewhere it is the loop's own timer.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from leveret.benchmark.content import now_ns

CLOCK_MONOTONIC: Final = 1
NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
ABSOLUTE: Final = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """`callback` is called by the loop when the time that was set last has come. To be closed."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._fd = self._libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCK_CLOEXEC) if self._libc else -1
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._rang)

    def set(self, at_ns: int) -> None:
        """By `now_ns`. A time that has passed is at once. In place of the time set before."""
        if self._fd < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(max(0, at_ns - now_ns()) / 1e9, self._callback)
            return
        seconds, ns = divmod(max(1, at_ns), 1_000_000_000)
        self._libc.timerfd_settime(self._fd, ABSOLUTE, ctypes.byref(_Itimerspec(0, 0, seconds, ns)), None)

    def _rang(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew meanwhile
        self._callback()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
