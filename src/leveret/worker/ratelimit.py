"""No more jobs of a handler than so many a second: what is above waits its turn, or is tried again later.

Limits are counted in each worker process by itself. Time is injected.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from leveret.errors import ConfigError, RetryLater
from leveret.worker.interfaces import ConsumerInfo, Job
from leveret.worker.middleware import Middleware

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RATE: Final = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([smhd])\s*")
MOST_KEYS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` at once, and `count` every `per_s` seconds."""

    count: int
    per_s: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From such as `100/s`, `10/m` or `5/30s`. Raises ConfigError."""
        found = RATE.fullmatch(text)
        if found is None or int(found[1]) == 0 or float(found[2] or 1) == 0:
            raise ConfigError(f"{text!r} is no rate: write 100/s, 10/m or 5/30s (units s, m, h, d)")
        return cls(int(found[1]), float(found[2] or 1) * UNITS[found[3]])


class Buckets:
    """A token bucket for each key. `take` gives the time after which the token may be used: it is taken then.

    A full bucket is not kept; if there are too many others, the ones that were used least recently are forgotten.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], most_keys: int = MOST_KEYS) -> None:
        self._every_s = rate.per_s / rate.count
        self._burst_s = rate.per_s - self._every_s
        self._clock = clock
        self._most_keys = most_keys
        self._next: OrderedDict[str, float] = OrderedDict()  # when the bucket would give at an even pace

    def __len__(self) -> int:
        return len(self._next)

    def take(self, key: str, most_s: float | None = None) -> float:
        """Seconds to wait. With more to wait than `most_s`, nothing is taken."""
        now = self._clock()
        due = max(self._next.get(key, 0.0), now)
        wait_s = max(0.0, due - self._burst_s - now)
        if most_s is None or wait_s <= most_s:
            self._next[key] = due + self._every_s
            self._next.move_to_end(key)
            self._tidy(now)
        return wait_s

    def give_back(self, key: str) -> None:
        """A token that was taken is not used."""
        if key in self._next:
            self._next[key] -= self._every_s

    def _tidy(self, now: float) -> None:
        while self._next:
            key, due = next(iter(self._next.items()))
            if due > now and len(self._next) <= self._most_keys:
                return
            del self._next[key]


class RateLimit(Middleware):
    """Limits how often handlers run in this process. Options of handlers:

    `rate_limit`, such as `100/s`; `rate_key`: the header by whose value the limit is counted, by default one for the
    handler; `rate_wait_s`: a message that had to wait for longer is tried again later, which its retry policy counts.
    Without it messages wait as long as it takes, and take up the handler's concurrency meanwhile.
    """

    options: ClassVar[Mapping[str, Any]] = {
        "rate_limit": str | None,
        "rate_key": str | None,
        "rate_wait_s": float | None,
    }

    def __init__(
        self,
        default: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`default`: the limit of handlers that have none of their own."""
        self._default = default
        self._clock = clock
        self._sleep = sleep
        self._limits: dict[str, tuple[Buckets, str | None, float | None]] = {}
        if default is not None:
            Rate.parse(default)

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        limit = options.get("rate_limit", self._default)
        if limit is None:
            for name in ("rate_key", "rate_wait_s"):
                if options.get(name) is not None:
                    raise ConfigError(f"{consumer.name}: {name} without rate_limit limits nothing")
            return
        try:
            buckets = Buckets(Rate.parse(limit), self._clock)
        except ConfigError as error:
            raise ConfigError(f"{consumer.name}: rate_limit: {error.text}") from None
        self._limits[consumer.name] = (buckets, options.get("rate_key"), options.get("rate_wait_s"))

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        found = self._limits.get(job.consumer.name)
        if found is None:
            return await handle()
        buckets, header, most_s = found
        key = "" if header is None else str(job.message.headers.get(header))
        wait_s = buckets.take(key, most_s)
        if wait_s > 0:
            if most_s is not None and wait_s > most_s:
                raise RetryLater(f"more than {job.consumer.name} may do now", wait_s)
            try:
                await self._sleep(wait_s)
            except BaseException:
                buckets.give_back(key)
                raise
        return await handle()
