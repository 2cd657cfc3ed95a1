"""When something that runs by the clock is due: cron expressions in a time zone, intervals, and what was missed.

Expressions are read by `cronsim` (extra `cron`); what an hour that is missing or comes twice does to them is decided
there, as Debian's cron does it, and held by our tests. Knows nothing of brokers, loops or timers: whoever runs it asks
`wait_s`, waits, and asks `begin`. Times are seconds since the epoch; the clock is injected.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from leveret.errors import ClientError

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
ALLOWED: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (the last day) or LW (the last working day)",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 (0 and 7 are Sunday) or SUN to SAT, with #2 for the second or L for the last of a month",
}
LOOK_AGAIN_S: Final = 60.0  # the longest wait, so that a clock that is set is noticed


class ScheduleError(ClientError):
    """A schedule that cannot be read, or never comes. The text names the field, what it is and what is allowed."""


class Schedule(ABC):
    """Points in time. `text` is the schedule as it was given."""

    text: str

    @abstractmethod
    def next_after(self, after: float) -> float:
        """The first point later than `after` (both seconds since the epoch)."""


class Every(Schedule):
    """Every `interval_s` seconds, in step with the epoch: all workers have the same points, whenever they started."""

    def __init__(self, interval_s: float) -> None:
        if not (math.isfinite(interval_s) and interval_s > 0):
            raise ScheduleError(f"an interval of {interval_s} seconds: it must be more than 0")
        self.interval_s = interval_s
        self.text = f"every {interval_s:g} s"

    def next_after(self, after: float) -> float:
        point = (math.floor(after / self.interval_s) + 1) * self.interval_s
        return point if point > after else point + self.interval_s


class Cron(Schedule):
    """A cron expression: five fields, six with seconds in front, or one of `@hourly`, `@daily`...

    In `timezone` (a name such as Europe/Berlin, or a tzinfo; UTC if None). Where the clock goes forward, a run at a time
    that is missing is made as soon as the clock has gone forward; where it goes back, a run at a fixed time is made once,
    and one with `*` in its minutes or hours goes on in real time.
    """

    def __init__(self, expression: str, timezone: str | tzinfo | None = None) -> None:
        self.text = expression
        self.zone = zone_of(timezone)
        self._expression = _checked(expression)

    def next_after(self, after: float) -> float:
        from cronsim import CronSim

        start = datetime.fromtimestamp(after, self.zone)
        for point in CronSim(self._expression, start):
            # The second time an hour comes, what is fixed within it was already run the first time.
            if point.timestamp() > after:
                return point.timestamp()
        raise ScheduleError(f"{self.text!r} never comes: no date of the next 50 years fits")


def zone_of(timezone: str | tzinfo | None) -> tzinfo:
    """The time zone of that name; UTC for None. Raises ScheduleError."""
    if timezone is None:
        return UTC
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"no time zone {timezone!r} is known here: give a name such as Europe/Berlin"
            " (a machine without a database of them needs the package tzdata)"
        ) from None


def _checked(expression: str) -> str:
    """The expression with its alias resolved, known to be readable and to come at some time. Raises ScheduleError."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ScheduleError(
            "cron expressions need the package cronsim: pip install 'leveret[cron]'; intervals work without"
        ) from None
    words = expression.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in ALIASES:
            raise ScheduleError(f"{expression!r} is not one of {', '.join(ALIASES)}")
        return ALIASES[words[0].lower()]
    if len(words) not in (5, 6):
        raise ScheduleError(
            f"{expression!r} has {len(words)} fields; it needs 5 (minute hour day-of-month month day-of-week),"
            " or 6 with seconds in front"
        )
    try:
        start = datetime(2024, 1, 1, tzinfo=UTC)
        if next(CronSim(expression, start), None) is None:
            raise ScheduleError(f"{expression!r} never comes: no date of the next 50 years fits")
    except CronSimError as error:
        raise ScheduleError(_explained(expression, words, str(error))) from None
    return expression


def _explained(expression: str, words: list[str], said: str) -> str:
    """What is wrong, in words: the library says no more than `Bad minute`."""
    field = said.removeprefix("Bad ")
    if field not in FIELDS:
        return f"{expression!r}: {said}"
    value = words[FIELDS.index(field) + len(words) - len(FIELDS)]
    if field == "day-of-month" and _readable([*words[:-2], "*", words[-1]]):
        return f"{expression!r} never comes: no month of {words[-2]!r} has a day {value!r}"
    return (
        f"{expression!r}: {value!r} is no {field}; allowed are {ALLOWED[field]},"
        " and lists (1,5), ranges (1-5) and steps (*/5) of them"
    )


def _readable(words: list[str]) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join(words), datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def schedule_of(given: str | float | timedelta | Schedule, timezone: str | tzinfo | None = None) -> Schedule:
    """A schedule from a cron expression, a number of seconds or a timedelta. Raises ScheduleError."""
    if isinstance(given, Schedule):
        return given
    if isinstance(given, str):
        return Cron(given, timezone)
    if timezone is not None:
        raise ScheduleError(
            "an interval has no time zone: give a cron expression, or leave the time zone out"
        )
    return Every(given.total_seconds() if isinstance(given, timedelta) else float(given))


@dataclass(frozen=True)
class Run:
    """A run that has begun. `planned_at`: the point of the schedule that it stands for; `missed`: it comes late."""

    planned_at: float
    began_at: float
    missed: bool


class Runs:
    """What is due of one schedule.

    However many points went by while nothing could run (the machine slept, the run before took too long), they are one
    run; with `catch_up` False none, if it would be more than `late_s` late. Runs do not overlap unless `overlap`.
    `last_at`: when the last run of an earlier process was planned, None if that is not known (then nothing was missed).
    """

    def __init__(
        self,
        schedule: Schedule,
        clock: Callable[[], float] = time.time,
        *,
        catch_up: bool = True,
        overlap: bool = False,
        late_s: float = 60.0,
        last_at: float | None = None,
    ) -> None:
        self.schedule = schedule
        self.catch_up = catch_up
        self.overlap = overlap
        self.late_s = late_s
        self.running = 0
        self.skipped = 0  # points that nothing was run for
        self._clock = clock
        self._seen_at = now = clock()
        self._last_at = min(last_at, now) if last_at is not None else now
        self.next_at = schedule.next_after(self._last_at)

    def wait_s(self) -> float:
        """Seconds until `begin` is to be asked (at most a minute); infinity while a run goes on that must end first."""
        if self.running and not self.overlap:
            return math.inf
        return min(max(0.0, self.next_at - self._now()), LOOK_AGAIN_S)

    def begin(self) -> Run | None:
        """The run that is due, None if none is. Whoever is given one calls `end`."""
        now = self._now()
        if now < self.next_at or (self.running and not self.overlap):
            return None
        planned_at = self.next_at
        self._last_at = now
        self.next_at = self.schedule.next_after(now)
        missed = now - planned_at > self.late_s
        if missed and not self.catch_up:
            self.skipped += 1
            return None
        self.running += 1
        return Run(planned_at, now, missed)

    def end(self) -> None:
        """A run is over, however it ended."""
        self.running -= 1

    def _now(self) -> float:
        now = self._clock()
        if now < self._seen_at - LOOK_AGAIN_S:
            # The clock was set back: what was next may be days off now. A small step back must not run a point twice.
            self._last_at = now
            self.next_at = self.schedule.next_after(now)
        self._seen_at = now
        return now
