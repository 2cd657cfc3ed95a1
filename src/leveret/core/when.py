"""When a message wants to be delivered: what its headers `x-deliver-at`, `x-deliver-after` and `x-delay` say.

Pure: headers and the time in, a time out (ms since 1970), or an error that says what is allowed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from leveret.core.destination import Table
from leveret.errors import PreconditionFailed
from leveret.native import i64
from leveret.wire.field import Timestamp

FARTHEST_MS: Final = 3_653 * 86_400_000
MILLISECONDS_ABOVE: Final = 100_000_000_000  # as seconds that would be the year 5138
UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PART: Final = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
PARTS: Final = re.compile(r"(?:[0-9]{1,15}(?:ms|s|m|h|d))+")
NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
AT: Final = "an AMQP timestamp, a whole number (of seconds since 1970, of milliseconds above 10^11), or a time in ISO 8601"
AFTER: Final = (
    "a whole number of milliseconds, or a text such as '10s', '5m' or '1h30m' (units ms, s, m, h, d)"
)


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
            return value if value > MILLISECONDS_ABOVE else value * 1_000
    elif isinstance(value, Timestamp):
        return value.seconds if value.seconds > MILLISECONDS_ABOVE else value.seconds * 1_000
    elif isinstance(value, datetime):
        return _of_datetime(value)
    elif isinstance(value, str):
        try:
            return _of_datetime(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            pass
    raise PreconditionFailed(f"invalid x-deliver-at {shown(value)}: it is {AT}")


def _of_datetime(time: datetime) -> int:
    """Without a zone it is in UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _span(value: object) -> int:
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if value >= 0:
            return value
    elif isinstance(value, str):
        if PARTS.fullmatch(value):
            return sum(int(n) * UNITS[unit] for n, unit in PART.findall(value))
        if NUMBER.fullmatch(value) and not value.startswith("-"):
            return int(value)
    raise PreconditionFailed(f"invalid x-deliver-after {shown(value)}: it is {AFTER}")


def _delay(value: object) -> int:
    """As the plugin has it (rabbit_delayed_message_utils): numbers lose what is behind the point, what is neither a
    number nor a text asks for nothing, and the past is now."""
    if isinstance(value, str):
        if NUMBER.fullmatch(value):
            return int(value)
        raise PreconditionFailed(f"invalid x-delay {shown(value)}: it is a whole number of milliseconds")
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return int(value)
    return 0


def shown(value: object) -> str:
    """A value in an error that has to fit a reply's short string."""
    text = repr(value.seconds) if isinstance(value, Timestamp) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
