"""A queue's arguments as rules: read once, when the queue is made. A queue whose arguments ask for nothing has none.

Values have been checked (arguments.py); this file only knows what they mean.
"""

from __future__ import annotations

from typing import Final, final

from leveret.core.arguments import QUORUM
from leveret.core.dedup import UNIQUE, WINDOW
from leveret.core.destination import Table
from leveret.core.retry import RetryPolicy, policy_of
from leveret.native import i64

DROP_HEAD: Final[i64] = 0
REJECT: Final[i64] = 1
REJECT_DLX: Final[i64] = 2
OVERFLOW: Final = {"drop-head": 0, "reject-publish": 1, "reject-publish-dlx": 2}
DELAY_NONE: Final[i64] = 0  # which returned messages wait before they are ready again
DELAY_ALL: Final[i64] = 1
DELAY_FAILED: Final[i64] = 2
DELAY_RETURNED: Final[i64] = 3
RETURN_DELAYS: Final = {"all": 1, "failed": 2, "returned": 3}
QUORUM_DELIVERY_LIMIT: Final = 20  # rabbit_quorum_queue, since 4.0


@final
class Rules:
    """Numbers are -1 where there is no limit."""

    def __init__(self, arguments: Table, queue_type: str) -> None:
        self.ttl_ms: i64 = _number(arguments, "x-message-ttl")
        self.expires_ms: i64 = _number(arguments, "x-expires")
        self.dlx: str | None = _text(arguments, "x-dead-letter-exchange")
        self.dlx_key: str | None = _text(arguments, "x-dead-letter-routing-key")
        self.max_length: i64 = _number(arguments, "x-max-length")
        self.max_bytes: i64 = _number(arguments, "x-max-length-bytes")
        self.overflow: i64 = OVERFLOW.get(_text(arguments, "x-overflow") or "drop-head", 0)
        self.at_least_once = (
            _text(arguments, "x-dead-letter-strategy") == "at-least-once"
            and self.dlx is not None
            and self.overflow == REJECT
        )
        self.priorities: i64 = max(_number(arguments, "x-max-priority"), 0)
        # A quorum queue orders by priority unasked, 4 where a message has none (rabbit_fifo, since 4.3).
        self.ranks = queue_type == QUORUM and "x-group-header" not in arguments
        self.single_active = arguments.get("x-single-active-consumer") is True
        self.delivery_limit: i64 = -1
        if queue_type == QUORUM:
            self.delivery_limit = QUORUM_DELIVERY_LIMIT
            if _is_integer(arguments.get("x-delivery-limit")):
                self.delivery_limit = _number(arguments, "x-delivery-limit")
        self.retry: RetryPolicy | None = policy_of(arguments.get("x-retry"))
        self._read_return_delay(arguments)
        self.counts = queue_type == QUORUM  # deliveries have x-delivery-count
        self.consumer_timeout_ms: i64 = _number(arguments, "x-consumer-timeout")
        self.group_header = group_header(arguments.get("x-group-header"))
        self.keyed = WINDOW in arguments or UNIQUE in arguments  # messages may be duplicates
        self.limits = self.max_length >= 0 or self.max_bytes >= 0
        self.stamps = self.ttl_ms >= 0  # its messages need to know when they came
        # A message needs no more than to be appended to the ordinary lane.
        self.plain_in = not self.limits and not self.stamps and self.priorities == 0 and not self.keyed
        if self.retry is not None:
            self.plain_in = False  # what a message says of its retries is checked

    def _read_return_delay(self, arguments: Table) -> None:
        """RabbitMQ's delayed retries of quorum queues. What makes no sense is no delay
        (rabbit_quorum_queue:get_delayed_retry_config)."""
        self.return_delay: i64 = RETURN_DELAYS.get(_text(arguments, "x-delayed-retry-type") or "", DELAY_NONE)
        self.return_delay_min_ms: i64 = _number(arguments, "x-delayed-retry-min")
        self.return_delay_max_ms: i64 = _number(arguments, "x-delayed-retry-max")
        if self.return_delay_min_ms <= 0:
            self.return_delay = DELAY_NONE
        if self.return_delay_max_ms <= 0:
            self.return_delay_max_ms = self.return_delay_min_ms


def rules_of(arguments: Table, queue_type: str) -> Rules | None:
    if queue_type != QUORUM and not arguments:
        return None
    return Rules(arguments, queue_type)


def group_header(value: object) -> str:
    """The header that has a message's group; empty: the queue has no groups."""
    if value is True:
        return "x-group-id"
    return value if isinstance(value, str) else ""


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(arguments: Table, name: str) -> i64:
    value = arguments.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _text(arguments: Table, name: str) -> str | None:
    value = arguments.get(name)
    return value if isinstance(value, str) else None
