"""When a message wants to be delivered: what its headers `x-deliver-at`, `x-deliver-after` and `x-delay` say.

Pure: headers and the time in, a time out (ms since 1970), or an error that says what is allowed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from leveret.core.destination import Table
from leveret.core.spans import EXPECTED, span_ms
from leveret.core.values import brief
from leveret.errors import PreconditionFailed
from leveret.native import i64
from leveret.wire.field import Timestamp

FARTHEST_MS: Final = 3_653 * 86_400_000
MILLISECONDS_ABOVE: Final = 100_000_000_000  # as seconds that would be the year 5138
DELAY: Final = re.compile(r"-?[0-9]{1,18}")
SINCE_1970: Final = re.compile(r"[0-9]{9,18}")  # as a text: shorter ones are dates, such as 20300101
AT: Final = "an AMQP timestamp, a whole number (of seconds since 1970, of milliseconds above 10^11), or a time in ISO 8601"


def due_ms(headers: Table, delays: bool, now_ms: i64) -> i64:
    """When a message with these headers is due; 0: at once. delays: its exchange honours `x-delay`.

    Raises PreconditionFailed.
    """
    due = 0
    at = headers.get("x-deliver-at")
    after = headers.get("x-deliver-after")
    now = int(now_ms)
    if at is not None:
        if after is not None:
            raise PreconditionFailed("a message has x-deliver-at or x-deliver-after, not both")
        due = _checked("x-deliver-at", at, _time(at), now)
    elif after is not None:
        due = _checked("x-deliver-after", after, now + _span(after), now)
    if delays:
        value = headers.get("x-delay")
        if value is not None:
            due = max(due, _checked("x-delay", value, now + _delay(value), now))
    return due if due > now else 0


def _checked(name: str, value: object, due: int, now: int) -> int:
    if due - now > FARTHEST_MS:
        raise PreconditionFailed(f"invalid {name} {shown(value)}: that is more than 10 years ahead")
    return due


def _time(value: object) -> int:
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if value >= 0:
            return _of_number(value)
    elif isinstance(value, Timestamp):
        return _of_number(value.seconds)
    elif isinstance(value, datetime):
        return _of_datetime(value)
    elif isinstance(value, str):
        if SINCE_1970.fullmatch(value):
            return _of_number(int(value))
        try:
            return _of_datetime(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            pass
    raise PreconditionFailed(f"invalid x-deliver-at {shown(value)}: it is {AT}")


def _of_number(since_1970: int) -> int:
    return since_1970 if since_1970 > MILLISECONDS_ABOVE else since_1970 * 1_000


def _of_datetime(time: datetime) -> int:
    """Without a zone it is in UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _span(value: object) -> int:
    ms = span_ms(value)
    if ms < 0:
        raise PreconditionFailed(f"invalid x-deliver-after {shown(value)}: it is {EXPECTED}")
    return ms


def _delay(value: object) -> int:
    """As the plugin has it (rabbit_delayed_message_utils): numbers lose what is behind the point, what is neither a
    number nor a text asks for nothing, and the past is now."""
    if isinstance(value, str):
        if DELAY.fullmatch(value):
            return int(value)
        raise PreconditionFailed(f"invalid x-delay {shown(value)}: it is a whole number of milliseconds")
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return int(value)
    return 0


def shown(value: object) -> str:
    return brief(value.seconds if isinstance(value, Timestamp) else value, 60)
