"""Messages that are not due: held in lanes of their own until they are."""

from __future__ import annotations

from leveret.core.holder import Holder
from leveret.core.lane import Lane
from leveret.errors import NotSupported
from leveret.message import Message
from leveret.native import i64


def parse_terms(m: Message, delays: bool, now_ms: i64) -> i64:
    return 0


def hold(holder: Holder, m: Message) -> tuple[Lane, i64]:
    raise NotSupported("delays are not supported by this version of Leveret")
