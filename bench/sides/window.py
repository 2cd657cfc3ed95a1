"""What the programs share: their options, a warm-up with a window behind it, and figures as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

LOOK_EVERY = 64  # messages between two looks at the clock


class Window:
    """Counts what is done from the end of the warm-up to the end of the window."""

    def __init__(self, warmup_s: float, seconds: float, expected: int = 0) -> None:
        """`expected`: so many messages there are; when all are done the window ends. 0: no end."""
        self.opens = time.perf_counter() + warmup_s
        self.closes = self.opens + seconds
        self.expected = expected
        self.done = 0
        self.first = -1
        self.opened = self.closed = 0.0

    def step(self, count: int = 1) -> bool:
        """So many more are done. Returns whether to go on; looks at the clock now and then."""
        before = self.done
        self.done += count
        if before // LOOK_EVERY == self.done // LOOK_EVERY and self.done != self.expected:
            return True
        return self.look()

    def look(self) -> bool:
        now = time.perf_counter()
        if self.first < 0 and now >= self.opens:
            self.first, self.opened = self.done, now
        if now >= self.closes or (self.expected and self.done >= self.expected):
            self.closed = now
            return False
        return True

    def figures(self) -> dict[str, float]:
        if self.first < 0 or self.closed <= self.opened:
            raise SystemExit(f"all {self.done} messages were done before the window opened: give it more")
        return {"messages": self.done - self.first, "seconds": self.closed - self.opened}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser()
    p.add_argument("mode")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--queue", required=True)
    p.add_argument("--size", type=int, default=100)
    p.add_argument("--seconds", type=float, default=5.0)
    p.add_argument("--warmup", type=float, default=1.0)
    p.add_argument("--window", type=int, default=1000, help="messages without a confirm at a time, prefetch")
    p.add_argument("--expected", type=int, default=0, help="messages that wait in the queue")
    p.add_argument("--transient", action="store_true")
    p.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    p.add_argument("--path", default="")
    return p


def say(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


def said(word: str) -> None:
    """Tell whoever started this how far it is."""
    print(word, flush=True)


def run(main: Callable[[], Coroutine[Any, Any, None]], loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


def choose(modes: dict[str, Callable[[argparse.Namespace], None]]) -> None:
    """Run the mode that the command line names."""
    arguments = parser().parse_args()
    if arguments.mode not in modes:
        sys.exit(f"no mode {arguments.mode}; there are: {', '.join(modes)}")
    modes[arguments.mode](arguments)
