"""How long: milliseconds, or a text such as `10s`, `1.5h` or `1h30m`. All that is Leveret's own takes it the same way.

Pure: a value of an argument or header in, milliseconds out. What is too long is the caller's to say.
"""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PART: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?(ms|s|m|h|d)")
PARTS: Final = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,6})?(?:ms|s|m|h|d))+")
NUMBER: Final = re.compile(r"[0-9]{1,18}")
EXPECTED: Final = (
    "a whole number of milliseconds, or a text such as '10s', '5m' or '1h30m' (units ms, s, m, h, d)"
)


def span_ms(value: object) -> int:
    """-1 for what is none."""
    if isinstance(value, bool):
        return -1
    if isinstance(value, int):
        return max(value, -1)
    if not isinstance(value, str):
        return -1
    if NUMBER.fullmatch(value):
        return int(value)
    if not PARTS.fullmatch(value):
        return -1
    ms = 0
    for whole, part, unit in PART.findall(value):
        ms += int(whole) * UNITS[unit]
        if part:
            ms += int(part) * UNITS[unit] // 10 ** len(part)
    return ms
