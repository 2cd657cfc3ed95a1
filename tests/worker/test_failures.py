"""What becomes of what failed, what is written down of it, and how it is slowed down."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from leveret.client.topology import Retry
from leveret.errors import Reject, RetryLater
from leveret.worker import failures
from leveret.worker.arguments import BadArguments
from leveret.worker.failures import Brake, FailureLog, Lost, RemoteFailure

POLICY = Retry(max=2)


@pytest.mark.parametrize(
    ("error", "attempts", "retry", "verdict"),
    [
        (ValueError(), 1, POLICY, "retried"),
        (ValueError(), 2, POLICY, "retried"),
        (ValueError(), 3, POLICY, "dead"),
        (ValueError(), 1, None, "dead"),
        (RetryLater(), 1, POLICY, "retried"),
        (RetryLater(), 3, POLICY, "dead"),
        (RetryLater(), 9, None, "retried"),
        (Reject("never"), 1, POLICY, "rejected"),
        (BadArguments("bad"), 1, POLICY, "rejected"),
        (Lost("stopped"), 3, POLICY, "released"),
        (asyncio.CancelledError(), 1, POLICY, "retried"),
    ],
)
def test_verdicts(error: BaseException, attempts: int, retry: Retry | None, verdict: str) -> None:
    most = failures.most_attempts(retry, {})
    assert failures.verdict_on(error, attempts, most, retry) == verdict


@pytest.mark.parametrize(
    ("header", "most"),
    [
        ("exponential;max=7", 8),
        ("fixed; max=0", 1),
        ({"max": 3}, 4),
        ({"max": "3"}, 4),
        ("fixed", 11),
        ({}, 11),
    ],
)
def test_a_policy_of_its_own_wins(header: Any, most: int) -> None:
    assert failures.most_attempts(POLICY, {"x-retry": header}) == most


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_headers_of_a_dead_letter_are_bounded() -> None:
    found = failures.dead_letter_headers(raised("x" * 100_000), 3, "jobs")
    assert found["x-exception-type"] == "ValueError"
    assert (found["x-attempts"], found["x-failed-queue"]) == (3, "jobs")
    assert len(str(found["x-exception"])) <= failures.TEXT_BYTES + 3
    assert len(str(found["x-traceback"]).encode()) <= failures.TRACEBACK_BYTES + 4


def test_types_are_named_with_their_module() -> None:
    assert failures.kind_of(Reject("x")) == "leveret.errors.Reject"
    assert failures.kind_of(RemoteFailure("shop.Empty", "x")) == "shop.Empty"


def test_the_brake_is_off_until_failures_follow_each_other() -> None:
    brake = Brake(clock=lambda: 100.0)
    pauses = []
    for _ in range(40):
        brake.failed(brake.round)
        pauses.append(round(brake.left_s, 6))
    assert pauses[: failures.PAUSE_AFTER - 1] == [0.0] * (failures.PAUSE_AFTER - 1)
    assert pauses[failures.PAUSE_AFTER - 1] == failures.PAUSE_FIRST_S
    assert pauses[failures.PAUSE_AFTER] == 2 * failures.PAUSE_FIRST_S
    assert pauses[-1] == failures.PAUSE_MAX_S
    assert failures.PAUSE_MAX_S <= 5
    brake.succeeded()
    assert brake.left_s == 0.0


def test_jobs_that_were_at_work_together_fail_as_one() -> None:
    brake = Brake(clock=lambda: 100.0)
    together = brake.round
    for _ in range(100):
        brake.failed(together)
    assert (brake.in_a_row, brake.left_s) == (1, 0.0)
    brake.failed(brake.round)
    assert brake.in_a_row == 2


def test_a_pause_is_over_in_time() -> None:
    now = 100.0
    brake = Brake(clock=lambda: now)
    for _ in range(failures.PAUSE_AFTER):
        brake.failed(brake.round)
    assert brake.left_s > 0
    now += failures.PAUSE_FIRST_S
    assert brake.left_s == 0


def test_the_first_failure_of_a_kind_is_logged_and_others_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = FailureLog()
        for number in range(100):
            log.add("resize", raised(f"number {number}"), "retried", 1)
        log.add("resize", KeyError("other"), "retried", 1)
        assert [record.exc_info is not None for record in caplog.records] == [True, True]
        log.flush()
        assert caplog.messages[2:] == [
            "resize: 99 more failures of ValueError (retried), the last: number 99"
        ]
        log.flush()  # it was quiet
        log.add("resize", raised("again"), "retried", 1)
        assert caplog.records[-1].exc_info
        log.close()

    with caplog.at_level(logging.ERROR, "leveret.worker"):
        asyncio.run(main())


def test_decisions_are_logged_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = FailureLog()
        log.add("resize", Reject("never"), "rejected", 1)
        log.add("resize", RemoteFailure("shop.Empty", "no", "Traceback of there\n"), "dead, in dead", 1, "m1")
        log.add("resize", RetryLater(delay_s=1), "retried", 2)
        log.close()

    with caplog.at_level(logging.WARNING, "leveret.worker"):
        asyncio.run(main())
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.ERROR, logging.WARNING]
    assert caplog.messages[1] == (
        "resize: attempt 1 of message m1 failed, and it is dead, in dead: shop.Empty: no\nTraceback of there"
    )
    assert caplog.messages[2].endswith("it is retried: leveret.errors.RetryLater")
    assert all(record.exc_info is None for record in caplog.records)
    assert "Traceback of there" in caplog.messages[1]
