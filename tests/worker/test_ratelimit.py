"""Rate limits: what a bucket gives, and what is done with a message that is too much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.errors import ConfigError, RetryLater
from leveret.worker.ratelimit import Buckets, Rate, RateLimit
from tests.worker.jobs import Clock, info, job


async def handle() -> str:
    return "done"


def test_rates_are_read() -> None:
    assert Rate.parse("100/s") == Rate(100, 1.0)
    assert Rate.parse(" 10 / m ") == Rate(10, 60.0)
    assert Rate.parse("5/30s") == Rate(5, 30.0)
    assert Rate.parse("1/1.5h") == Rate(1, 5400.0)


@pytest.mark.parametrize("text", ["", "10", "0/s", "10/y", "-1/s", "1/0s", "ten/s"])
def test_what_is_no_rate_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rate: write 100/s"):
        Rate.parse(text)


def test_a_burst_then_an_even_pace() -> None:
    clock = Clock()
    buckets = Buckets(Rate(3, 30.0), clock)
    assert [buckets.take("") for _ in range(5)] == [0, 0, 0, 10, 20]
    clock.now += 100
    assert [buckets.take("") for _ in range(4)] == [0, 0, 0, 10]
    assert buckets.take("other") == 0


@given(st.integers(1, 20), st.floats(0.1, 100), st.lists(st.floats(0, 50), min_size=1, max_size=60))
def test_never_more_than_twice_the_count_in_any_period(count: int, per_s: float, pauses: list[float]) -> None:
    clock = Clock(0.0)
    buckets = Buckets(Rate(count, per_s), clock)
    used: list[float] = []
    for pause in pauses:
        clock.now += pause
        used.append(clock.now + buckets.take(""))
    assert used == sorted(used)
    for at in used:
        assert sum(at <= other < at + per_s * 0.999 for other in used) <= 2 * count


def test_full_buckets_and_too_many_are_forgotten() -> None:
    clock = Clock()
    buckets = Buckets(Rate(1, 10.0), clock, most_keys=3)
    for number in range(5):
        buckets.take(str(number))
    assert len(buckets) == 3
    clock.now += 11
    buckets.take("new")
    assert len(buckets) == 1


def test_what_is_too_much_waits() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock, sleep=clock.sleep)
    limit.declared(info(), {"rate_limit": "2/s"})

    async def test() -> None:
        for _ in range(4):
            assert await limit.around(job(), handle) == "done"

    asyncio.run(test())
    assert clock.slept == [0.5, 0.5]


def test_what_would_wait_too_long_is_tried_later_and_takes_nothing() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock, sleep=clock.sleep)
    limit.declared(info(), {"rate_limit": "1/m", "rate_wait_s": 10.0, "rate_key": "customer"})

    async def test() -> None:
        one: dict[str, Any] = {"headers": {"customer": 12}}
        await limit.around(job(**one), handle)
        for _ in range(2):
            with pytest.raises(RetryLater) as error:
                await limit.around(job(**one), handle)
            assert error.value.delay_s == 60.0
        await limit.around(job(headers={"customer": 13}), handle)
        clock.now += 55
        await limit.around(job(**one), handle)

    asyncio.run(test())
    assert clock.slept == [5.0]


def test_a_cancelled_wait_gives_its_token_back() -> None:
    clock = Clock()

    async def cancelled(_: float) -> None:
        raise asyncio.CancelledError

    limit = RateLimit("1/s", clock=clock, sleep=cancelled)
    limit.declared(info(), {})

    async def test() -> None:
        await limit.around(job(), handle)
        with pytest.raises(asyncio.CancelledError):
            await limit.around(job(), handle)
        clock.now += 1.0
        await limit.around(job(), handle)

    asyncio.run(test())


def test_a_handler_without_a_limit_is_not_limited() -> None:
    limit = RateLimit("1/d")
    limit.declared(info(), {"rate_limit": None})
    assert asyncio.run(limit.around(job(), handle)) == "done"


def test_options_that_limit_nothing_or_cannot_be_read_are_refused() -> None:
    limit = RateLimit()
    with pytest.raises(ConfigError, match="send: rate_key without rate_limit"):
        limit.declared(info(), {"rate_key": "customer"})
    with pytest.raises(ConfigError, match="send: rate_limit: 'fast' is no rate"):
        limit.declared(info(), {"rate_limit": "fast"})
    with pytest.raises(ConfigError, match="'fast' is no rate"):
        RateLimit("fast")
