"""Schedules: what comes next, hours that are missing or come twice, what was missed, and what is said of a bad one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.worker.schedule import Cron, Every, Runs, ScheduleError, schedule_of

pytest.importorskip("cronsim")

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone or UTC)).timestamp()


def points(cron: Cron, start: float, count: int) -> list[str]:
    found = []
    for _ in range(count):
        start = cron.next_after(start)
        found.append(datetime.fromtimestamp(start, cron.zone).isoformat())
    return found


class Clock:
    def __init__(self, text: str = "2026-03-02T12:00:00") -> None:
        self.now = at(text)

    def __call__(self) -> float:
        return self.now


# ---- what comes next


def test_a_run_in_a_zone_is_at_its_wall_clock_time_in_summer_and_winter() -> None:
    cron = Cron("30 6 * * *", "Europe/Berlin")
    assert datetime.fromtimestamp(cron.next_after(at("2026-01-10T00:00")), UTC).hour == 5
    assert datetime.fromtimestamp(cron.next_after(at("2026-07-10T00:00")), UTC).hour == 4


def test_without_a_zone_it_is_utc() -> None:
    assert points(Cron("0 12 * * MON"), at("2026-03-03T00:00"), 1) == ["2026-03-09T12:00:00+00:00"]


def test_an_hour_that_is_missing_runs_when_the_clock_has_gone_forward() -> None:
    cron = Cron("30 2 * * *", BERLIN)
    assert points(cron, at("2026-03-28T12:00", BERLIN), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_an_hour_that_comes_twice_runs_what_is_fixed_once() -> None:
    cron = Cron("30 2 * * *", BERLIN)
    assert points(cron, at("2026-10-24T12:00", BERLIN), 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_started_in_the_second_of_two_hours_it_does_not_go_back() -> None:
    cron = Cron("30 2 * * *", BERLIN)
    second = at("2026-10-25T02:10:00+01:00")
    assert points(cron, second, 1) == ["2026-10-26T02:30:00+01:00"]


def test_what_runs_all_day_goes_on_in_real_time() -> None:
    cron = Cron("*/30 * * * *", BERLIN)
    start = at("2026-10-25T01:40:00+02:00")
    assert points(cron, start, 5) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_seconds_and_aliases() -> None:
    assert points(Cron("*/20 * * * * *"), at("2026-03-02T12:00:05"), 2) == [
        "2026-03-02T12:00:20+00:00",
        "2026-03-02T12:00:40+00:00",
    ]
    assert points(Cron("@Daily"), at("2026-03-02T12:00"), 1) == ["2026-03-03T00:00:00+00:00"]


@given(
    st.sampled_from(
        ["*/7 * * * *", "15 2 * * *", "0 */3 1 * *", "0 0 29 2 *", "5,35 1-3 * * SUN", "0 3 L * *"]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.integers(min_value=1_577_836_800, max_value=2_051_222_400),
)
def test_what_comes_next_is_later_and_nothing_is_between(text: str, zone: str, start: int) -> None:
    cron = Cron(text, zone)
    first = cron.next_after(start)
    assert first > start
    assert cron.next_after(first - 1) == first
    assert cron.next_after(first) > first


@given(st.floats(min_value=0.001, max_value=1e6), st.floats(min_value=0, max_value=4e9))
def test_intervals_are_in_step_with_the_epoch(interval_s: float, after: float) -> None:
    every = Every(interval_s)
    point = every.next_after(after)
    assert after < point <= after + interval_s * 1.001 + 1e-3
    assert math.isclose(point / interval_s, round(point / interval_s), rel_tol=1e-9)


def test_a_schedule_from_what_is_given() -> None:
    assert schedule_of(30).text == "every 30 s"
    assert schedule_of(timedelta(minutes=5)).next_after(1.0) == 300.0
    assert isinstance(schedule_of("@hourly"), Cron)
    every = Every(5)
    assert schedule_of(every) is every


# ---- what is said of a bad one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("61 * * * *", "'61' is no minute; allowed are 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * * * * 8", "'8' is no day-of-week"),
        ("60 * * * * *", "'60' is no second"),
        ("* * * FOO *", "'FOO' is no month; allowed are 1 to 12 or JAN to DEC"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("* * *", "has 3 fields; it needs 5"),
        ("", "has 0 fields"),
        ("@dayly", "'@dayly' is not one of @yearly"),
        ("0 0 0 2 *", "'0' is no day-of-month"),
        ("0 0 31 2,4 *", "never comes: no month of '2,4' has a day '31'"),
    ],
)
def test_a_bad_expression_is_explained(text: str, said: str) -> None:
    with pytest.raises(ScheduleError) as error:
        Cron(text)
    assert said in error.value.text


@given(st.text(alphabet="0123456789*/,-L#WMONJAN ", max_size=20))
def test_any_text_is_read_or_explained(text: str) -> None:
    try:
        cron = Cron(text)
    except ScheduleError as error:
        assert repr(text) in error.text
    else:
        assert cron.next_after(0.0) > 0.0


def test_bad_zones_and_intervals_are_explained() -> None:
    with pytest.raises(ScheduleError, match="no time zone 'Europe/Berln'"):
        Cron("* * * * *", "Europe/Berln")
    with pytest.raises(ScheduleError, match="more than 0"):
        Every(0)
    with pytest.raises(ScheduleError, match="an interval has no time zone"):
        schedule_of(5, "UTC")


# ---- runs


def test_a_run_begins_when_it_is_due() -> None:
    clock = Clock()
    runs = Runs(Cron("*/5 * * * *"), clock)
    assert runs.begin() is None
    assert runs.wait_s() == 60.0
    clock.now += 270
    assert runs.wait_s() == 30.0
    clock.now += 30.01
    run = runs.begin()
    assert run is not None and not run.missed and run.planned_at == at("2026-03-02T12:05")
    assert runs.begin() is None


def test_runs_do_not_overlap_and_what_was_missed_meanwhile_is_one_run() -> None:
    clock = Clock()
    runs = Runs(Every(60), clock)
    clock.now += 60
    assert runs.begin()
    clock.now += 600
    assert runs.begin() is None
    assert runs.wait_s() == math.inf
    runs.end()
    assert runs.wait_s() == 0.0
    run = runs.begin()
    assert run is not None and run.missed
    runs.end()
    assert runs.begin() is None
    assert 0 < runs.wait_s() <= 60


def test_runs_may_overlap() -> None:
    clock = Clock()
    runs = Runs(Every(60), clock, overlap=True)
    clock.now += 60
    assert runs.begin()
    clock.now += 60
    assert runs.begin()
    assert runs.running == 2


def test_without_catching_up_a_late_run_is_left_out() -> None:
    clock = Clock()
    runs = Runs(Every(3600), clock, catch_up=False)
    clock.now += 3600 + 61
    assert runs.begin() is None
    assert runs.skipped == 1
    assert runs.next_at == at("2026-03-02T14:00")
    clock.now = runs.next_at + 59
    assert runs.begin()


def test_what_was_missed_while_no_worker_was_there_is_run_once() -> None:
    clock = Clock()
    runs = Runs(Cron("0 0 * * *"), clock, last_at=at("2026-03-01T00:00"))
    assert runs.wait_s() == 0.0
    run = runs.begin()
    assert run is not None and run.missed
    assert run.planned_at == at("2026-03-02T00:00")
    runs.end()
    assert runs.begin() is None


def test_a_clock_that_is_set_back_is_noticed_and_a_small_step_runs_nothing_twice() -> None:
    clock = Clock()
    runs = Runs(Every(60), clock)
    clock.now += 60
    assert runs.begin()
    runs.end()
    clock.now -= 0.5
    assert runs.begin() is None
    clock.now -= 86_400
    assert runs.wait_s() <= 60
    clock.now += 60
    assert runs.begin()


def test_a_last_run_in_the_future_does_not_hold_runs_back() -> None:
    clock = Clock()
    runs = Runs(Every(60), clock, last_at=clock.now + 1e6)
    clock.now += 60
    assert runs.begin()
