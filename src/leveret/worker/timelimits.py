"""Time limits that are not a handler's own: one for all async handlers, and one for messages that have become too old.

A handler's `timeout_s` is the worker's matter, with or without this. Time is injected where it is compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from leveret.errors import ConfigError, Reject
from leveret.worker.failures import HandlerTimeout
from leveret.worker.interfaces import ConsumerInfo, Job
from leveret.worker.middleware import Middleware


class TimeLimit(Middleware):
    """Cancels async handlers that run for longer than `default_s`, where they have no `timeout_s`. Options of handlers:

    `time_limit_s`, in place of the default, None for no limit; `max_age_s`: a message that was published longer ago, as
    its timestamp says, is rejected and not worked on. Messages without a timestamp are of any age.
    """

    options: ClassVar[Mapping[str, Any]] = {"time_limit_s": float | None, "max_age_s": float | None}

    def __init__(self, default_s: float | None = None, *, clock: Callable[[], float] = time.time) -> None:
        if default_s is not None and default_s <= 0:
            raise ConfigError(f"a time limit of {default_s} s; it must be more than 0")
        self._default_s = default_s
        self._clock = clock
        self._limits: dict[str, tuple[float | None, float | None]] = {}

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if value is not None and value <= 0:
                raise ConfigError(f"{consumer.name}: {name}={value}; it must be more than 0")
        limit_s = options.get("time_limit_s")
        if limit_s is not None and (consumer.pool != "async" or consumer.timeout_s is not None):
            raise ConfigError(
                f"{consumer.name}: time_limit_s is for async handlers without a timeout_s; give it timeout_s={limit_s}"
            )
        if "time_limit_s" not in options and consumer.pool == "async" and consumer.timeout_s is None:
            limit_s = self._default_s
        if limit_s is not None or options.get("max_age_s") is not None:
            self._limits[consumer.name] = (limit_s, options.get("max_age_s"))

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        limit_s, max_age_s = self._limits.get(job.consumer.name, (None, None))
        if max_age_s is not None and job.message.timestamp is not None:
            age_s = self._clock() - job.message.timestamp
            if age_s > max_age_s:
                raise Reject(f"the message is {age_s:.0f} s old; {max_age_s:g} s are allowed")
        if limit_s is None:
            return await handle()
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                return await handle()
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(f"no end within {limit_s:g} s") from None
            raise  # the handler's own
