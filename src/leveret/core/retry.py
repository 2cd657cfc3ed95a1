"""Retry policies: how often a message that failed is tried again, and after how long (`x-retry`).

Pure: a value of an argument or header in, a policy out, or what is wrong with it; and a policy's arithmetic. The forms
of a value are a table and a text of the same keys: `exponential;delay=1s;max-delay=1m;max=5;jitter=0.2`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, final

from leveret.core.spans import span_ms
from leveret.core.values import brief
from leveret.limits import DELAY_MAX_MS
from leveret.native import i64

FIXED: Final = "fixed"
LINEAR: Final = "linear"
EXPONENTIAL: Final = "exponential"
KINDS: Final = (FIXED, LINEAR, EXPONENTIAL)

DELAY_MS: Final = 1_000  # what a policy says that does not say more
LONGEST_MS: Final = 3_600_000
TRIES: Final = 10
MULTIPLIER: Final = 2.0

TRIES_MAX: Final = 1_000
MULTIPLIER_MAX: Final = 1_000.0

KEYS: Final = ("type", "delay", "max-delay", "multiplier", "jitter", "max")
NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


@final
class RetryPolicy:
    """delay_ms: before the first retry; longest_ms: no delay is longer; tries: how many retries at most; jitter: the
    part of a delay by which it is longer or shorter at random."""

    def __init__(self) -> None:
        self.kind = EXPONENTIAL
        self.delay_ms: i64 = DELAY_MS
        self.longest_ms: i64 = LONGEST_MS
        self.multiplier = MULTIPLIER
        self.jitter = 0.0
        self.tries: i64 = TRIES

    def delay_before(self, retry: i64, chance: float) -> i64:
        """How long to wait before the first, second ... retry. chance: a random number from 0 up to 1."""
        delay = float(self.delay_ms)
        longest = float(self.longest_ms)
        if self.kind == LINEAR:
            delay *= float(int(retry))
        elif self.kind == EXPONENTIAL:
            done: i64 = 1
            while done < retry and 0.0 < delay < longest:
                delay *= self.multiplier
                done += 1
        delay = min(delay, longest)
        if self.jitter > 0.0:
            delay *= 1.0 + self.jitter * (2.0 * chance - 1.0)
        return i64(int(min(delay, longest)))


@final
class Reading:
    """A value as it is read: the policy, and what is wrong (empty: nothing)."""

    def __init__(self) -> None:
        self.policy = RetryPolicy()
        self.wrong = ""


def read_policy(value: object) -> Reading:
    reading = Reading()
    if isinstance(value, str):
        fields = _fields_of(value, reading)
    elif isinstance(value, dict):
        fields = value
    else:
        reading.wrong = "expected a table, or a text such as exponential;delay=1s;max=5"
        return reading
    longest_said = False
    for key, given in fields.items():
        if reading.wrong:
            return reading
        longest_said = longest_said or key == "max-delay"
        _take(reading, key, given)
    policy = reading.policy
    if not reading.wrong and policy.longest_ms < policy.delay_ms:
        if longest_said:
            reading.wrong = "max-delay: less than delay"
        policy.longest_ms = policy.delay_ms
    return reading


def policy_of(value: object) -> RetryPolicy | None:
    """None if there is none, or none that can be understood."""
    if value is None:
        return None
    reading = read_policy(value)
    return None if reading.wrong else reading.policy


def _fields_of(text: str, reading: Reading) -> dict[str, object]:
    fields: dict[str, object] = {}
    for part in text.split(";"):
        name, equals, given = part.partition("=")
        key = name.strip()
        if not equals:
            if key in KEYS:
                reading.wrong = f"{key}: its value is missing, as in {key}=..."
                continue
            given = key
            key = "type"
        if key in fields:
            reading.wrong = f"{key}: said twice"
        fields[key] = given.strip()
    return fields


def _take(reading: Reading, key: str, given: object) -> None:
    policy = reading.policy
    if key == "type":
        if isinstance(given, str) and given in KINDS:
            policy.kind = given
        else:
            reading.wrong = f"type: expected {', '.join(KINDS)}, got {brief(given, 40)}"
    elif key == "delay" or key == "max-delay":
        ms = _milliseconds(given)
        if ms < 0 or ms > DELAY_MAX_MS:
            reading.wrong = (
                f"{key}: expected milliseconds or a text such as 1s, up to 10 years, got {brief(given, 40)}"
            )
        elif key == "delay":
            policy.delay_ms = ms
        else:
            policy.longest_ms = ms
    elif key == "max":
        tries = _number(given)
        if tries < 0.0 or tries > TRIES_MAX or tries != int(tries):
            reading.wrong = f"max: expected a whole number up to {TRIES_MAX}, got {brief(given, 40)}"
        else:
            policy.tries = int(tries)
    elif key == "multiplier":
        policy.multiplier = _number(given)
        if policy.multiplier < 1.0 or policy.multiplier > MULTIPLIER_MAX:
            reading.wrong = f"multiplier: expected 1 to {int(MULTIPLIER_MAX)}, got {brief(given, 40)}"
    elif key == "jitter":
        policy.jitter = _number(given)
        if policy.jitter < 0.0 or policy.jitter > 1.0:
            reading.wrong = f"jitter: expected 0 to 1, got {brief(given, 40)}"
    else:
        reading.wrong = f"unknown key {brief(key, 40)}, expected {', '.join(KEYS)}"


def _milliseconds(given: object) -> int:
    """-1 if it is none."""
    if isinstance(given, str):
        return span_ms(given)
    number = _number(given)
    return int(number) if number <= DELAY_MAX_MS else -1


def _number(given: object) -> float:
    """-1 if it is none."""
    if isinstance(given, (int, float, Decimal)) and not isinstance(given, bool):
        number = float(given)
        return number if 0.0 <= number < 1e18 else -1.0
    if isinstance(given, str) and NUMBER.fullmatch(given):
        return float(given)
    return -1.0
