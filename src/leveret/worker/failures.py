"""What becomes of a job that failed, what its dead letter says, and how failures are logged and slowed down.

Knows exceptions and numbers; settles nothing and sends nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

from leveret.client.topology import Retry
from leveret.errors import Reject, RetryLater
from leveret.worker.arguments import BadArguments

logger = logging.getLogger("leveret.worker")

TRACEBACK_BYTES: Final = 8192
TEXT_BYTES: Final = 1024
LOG_EVERY_S: Final = 30.0
PAUSE_AFTER: Final = 5  # rounds of failures in a row
PAUSE_FIRST_S: Final = 0.05
PAUSE_MAX_S: Final = 5.0
_OWN_FOLDER: Final = os.path.dirname(__file__) + os.sep

RETRY: Final = "retried"
DEAD: Final = "dead"
REJECTED: Final = "rejected"
RELEASED: Final = "released"


class HandlerTimeout(Exception):
    """A handler took longer than its `timeout_s`."""


class UnknownTask(Exception):
    """A message names a task that this worker does not have. Another, newer one may."""


class RemoteFailure(Exception):
    """An exception of another process: `kind` is its type's name, `traceback_text` what it had there."""

    def __init__(self, kind: str, text: str, traceback_text: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.traceback_text = traceback_text


class Lost(Exception):
    """Nothing speaks against the job: it was not done. Back to the queue with it, uncounted."""


def kind_of(error: BaseException) -> str:
    """The name of its type, as in `shop.errors.OutOfStock`; without the module if it is built in."""
    if isinstance(error, RemoteFailure):
        return error.kind
    module = type(error).__module__
    return type(error).__qualname__ if module == "builtins" else f"{module}.{type(error).__qualname__}"


def text_of(error: BaseException) -> str:
    return _cut(str(error), TEXT_BYTES)


def worded(error: BaseException) -> str:
    """Type and text, as the last line of a traceback."""
    text = text_of(error)
    return f"{kind_of(error)}: {text}" if text else kind_of(error)


def trimmed(error: BaseException) -> TracebackType | None:
    """Its traceback without the worker's own frames above the handler."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        found = found.tb_next
    return found


def traceback_of(error: BaseException) -> str:
    """Its traceback, from the handler down; the end of it if it is long."""
    if isinstance(error, RemoteFailure):
        text = error.traceback_text
    else:
        text = "".join(traceback.format_exception(type(error), error, trimmed(error)))
    data = text.encode("utf-8", "replace")
    if len(data) <= TRACEBACK_BYTES:
        return text
    return "...\n" + data[-TRACEBACK_BYTES:].decode("utf-8", "ignore")


def _cut(text: str, size_bytes: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size_bytes else data[:size_bytes].decode("utf-8", "ignore") + "..."


def dead_letter_headers(error: BaseException, attempts: int, queue: str) -> dict[str, object]:
    return {
        "x-exception": text_of(error),
        "x-exception-type": kind_of(error),
        "x-traceback": traceback_of(error),
        "x-attempts": attempts,
        "x-failed-queue": queue,
    }


def attempts_of(headers: Mapping[str, Any]) -> int:
    """Which delivery this is, 1 for the first; one that was given back without having failed is not counted.

    `x-attempts` counts copies that a client has published again, the broker's headers the deliveries of this copy.
    """
    by_broker = max(_count(headers, "x-retry-count"), _count(headers, "x-delivery-count"))
    return _count(headers, "x-attempts") + by_broker + 1


def _count(headers: Mapping[str, Any], name: str) -> int:
    found = headers.get(name)
    return found if isinstance(found, int) and found > 0 else 0


def most_attempts(retry: Retry | None, headers: Mapping[str, Any]) -> int:
    """How many deliveries a message has. A policy of its own, in its header `x-retry`, wins as it does in the broker."""
    own = headers.get("x-retry")
    if own is not None:
        most = own.get("max") if isinstance(own, Mapping) else _max_in(str(own))
        if most is not None and str(most).isdigit():
            return int(most) + 1
        return 11  # the broker's own default
    return 1 if retry is None else retry.max + 1


def _max_in(text: str) -> str | None:
    found = re.search(r"(?:^|;)\s*max\s*=\s*(\d+)", text)
    return found[1] if found else None


def verdict_on(error: BaseException, attempts: int, most: int, retry: Retry | None) -> str:
    """What becomes of a message whose delivery number `attempts` failed so. RetryLater needs no policy."""
    if isinstance(error, Lost):
        return RELEASED
    if isinstance(error, (Reject, BadArguments)):
        return REJECTED
    if isinstance(error, RetryLater) and retry is None:
        return RETRY
    return DEAD if attempts >= most else RETRY


def is_meant(error: BaseException) -> bool:
    """It speaks of the message, not of a handler that does not work."""
    return isinstance(error, (Reject, BadArguments, RetryLater))


def level_of(error: BaseException) -> int:
    """Of the log: what a handler decides is no error."""
    return logging.WARNING if isinstance(error, (Reject, RetryLater)) else logging.ERROR


def delay_of(error: BaseException) -> float | None:
    """What RetryLater asks for; None: as the policy has it."""
    return error.delay_s if isinstance(error, RetryLater) else None


class Brake:
    """Slows down a handler that only fails: twice as long a pause after each round of failures, until one succeeds.

    Without it a handler that cannot work would take all messages of a queue through their retries as fast as it fails.
    Jobs that were at work beside each other tell the same thing when they fail: they are one round. So a job keeps the
    number of the `round` in which it began, and its failure counts if none has since.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.round = 0
        self.in_a_row = 0
        self._clock = clock
        self._until_s = 0.0

    def failed(self, began_in_round: int) -> None:
        if began_in_round != self.round:
            return
        self.round += 1
        self.in_a_row += 1
        beyond = self.in_a_row - PAUSE_AFTER
        if beyond >= 0:
            self._until_s = self._clock() + min(PAUSE_FIRST_S * 2.0 ** min(beyond, 30), PAUSE_MAX_S)

    def succeeded(self) -> None:
        self.in_a_row = 0
        self._until_s = 0.0

    @property
    def left_s(self) -> float:
        """How long to take nothing, from now on."""
        return max(0.0, self._until_s - self._clock()) if self._until_s else 0.0


class FailureLog:
    """The first failure of a kind with its traceback, then a count every `every_s`: a log that stays readable."""

    def __init__(self, every_s: float = LOG_EVERY_S) -> None:
        self._every_s = every_s
        self._more: dict[tuple[str, str, str], int] = {}
        self._last: dict[
            tuple[str, str, str], tuple[int, str]
        ] = {}  # level and text: an exception would keep its frames
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self, handler: str, error: BaseException, outcome: str, attempts: int, message_id: str | None = None
    ) -> None:
        """`outcome` says what becomes of the message, in words that follow "is"."""
        key = (handler, kind_of(error), outcome)
        if key in self._more:
            self._more[key] += 1
            self._last[key] = (level_of(error), text_of(error))
            return
        self._more[key] = 0
        remote = traceback_of(error).rstrip() if isinstance(error, RemoteFailure) else ""
        bare = isinstance(error, (RemoteFailure, UnknownTask, HandlerTimeout)) or is_meant(error)
        logger.log(
            level_of(error), "%s: attempt %d of message %s failed, and it is %s: %s%s",
            handler, attempts, message_id or "(no id)", outcome, worded(error), "\n" + remote if remote else "",
            exc_info=None if bare else (type(error), error, trimmed(error)),
        )  # fmt: skip
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._sum_up)

    def _sum_up(self) -> None:
        self._timer = None
        self.flush()
        if self._more:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._sum_up)

    def flush(self) -> None:
        """Log the counts. A kind that was quiet is logged with its traceback again next time."""
        for key, count in list(self._more.items()):
            if count == 0:
                del self._more[key]
                self._last.pop(key, None)
                continue
            self._more[key] = 0
            handler, kind, outcome = key
            level, text = self._last[key]
            logger.log(
                level, "%s: %d more failures of %s (%s), the last: %s", handler, count, kind, outcome, text
            )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
