"""Dead letters: what a message becomes when it is rejected, expires, or is one too many."""

from __future__ import annotations

from typing import Final

from leveret.core.destination import Table
from leveret.core.view import view_of
from leveret.message import Message
from leveret.native import i64

REJECTED: Final[i64] = 1
EXPIRED: Final[i64] = 2
MAXLEN: Final[i64] = 3
DELIVERY_LIMIT: Final[i64] = 4
NAMES: Final = ("", "rejected", "expired", "maxlen", "delivery_limit")


def reason_name(reason: i64) -> str:
    return NAMES[reason]


class DeadMessage:
    def __init__(self, message: Message, exchange: str, keys: list[str], headers: Table) -> None:
        self.message = message
        self.exchange = exchange
        self.keys = keys
        self.headers = headers

    def circles(self, queue_name: str) -> bool:
        return False


def bury(m: Message, queue_name: str, reason: i64, dlx: str, dlx_key: str | None, now_ms: i64) -> DeadMessage:
    route = m.route
    at = 1 + route[0]
    key = route[at + 1 :].decode("utf-8", "surrogateescape") if dlx_key is None else dlx_key
    headers = view_of(m).headers(m)
    dead = view_of(m).with_headers(m, headers, True)
    return DeadMessage(dead, dlx, [key], headers)
