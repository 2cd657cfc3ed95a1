"""The pool of threads: results, errors, time limits, closing; and that what it reports is told once, on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from leveret.errors import Closed, ConfigError
from leveret.worker.interfaces import JobTimeout, LostJob
from leveret.worker.pools import ThreadPool

WAIT_S = 20.0


class Results:
    """What a pool told, in order; `until` waits for so many."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, BaseException | None]] = []
        self.threads: set[int] = set()
        self.changed = asyncio.Event()

    def __call__(self, result: Any, error: BaseException | None) -> None:
        self.threads.add(threading.get_ident())
        self.told.append((result, error))
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()

    @property
    def errors(self) -> list[str]:
        return [str(error) for _, error in self.told if error is not None]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(3 * WAIT_S):
            await test()

    asyncio.run(limited())


def test_jobs_are_done_by_threads_and_told_on_the_loop() -> None:
    async def test() -> None:
        used: set[int] = set()

        def double(job: int) -> int:
            used.add(threading.get_ident())
            return 2 * job

        pool, results = ThreadPool(double, 3), Results()
        await pool.open()
        for number in range(5000):
            pool.submit(number, results)
        await results.until(5000)
        assert sorted(result for result, _ in results.told) == [2 * n for n in range(5000)]
        assert results.threads == {threading.get_ident()}
        assert threading.get_ident() not in used
        assert pool.outstanding == 0
        await pool.close(1.0)

    run(test)


def test_all_threads_work_at_once() -> None:
    async def test() -> None:
        together = threading.Barrier(4)
        pool, results = ThreadPool(lambda _: together.wait(WAIT_S), 4), Results()
        await pool.open()
        for number in range(4):
            pool.submit(number, results)
        await results.until(4)
        assert results.errors == []
        await pool.close(1.0)

    run(test)


def test_an_exception_is_told_and_the_thread_goes_on() -> None:
    async def test() -> None:
        def divide(job: int) -> float:
            return 1 / job

        pool, results = ThreadPool(divide, 1), Results()
        await pool.open()
        for number in (0, 2):
            pool.submit(number, results)
        await results.until(2)
        assert isinstance(results.told[0][1], ZeroDivisionError)
        assert results.told[1] == (0.5, None)
        await pool.close(1.0)

    run(test)


def test_what_context_a_job_was_given_in_is_there_in_the_thread() -> None:
    async def test() -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        pool, results = ThreadPool(lambda _: variable.get(), 1), Results()
        await pool.open()
        for text in ("a", "b"):
            variable.set(text)
            pool.submit(None, results)
        await results.until(2)
        assert [result for result, _ in results.told] == ["a", "b"]
        await pool.close(1.0)

    run(test)


def test_short_jobs_are_wanted_by_the_dozen_and_long_ones_one_a_thread() -> None:
    async def test() -> None:
        now = 0.0

        def handler(took_s: float) -> None:
            nonlocal now
            now += took_s

        pool, results = ThreadPool(handler, 1, clock=lambda: now), Results()
        await pool.open()
        assert pool.wanted == 1  # it may be a long one
        pool.submit(0.00001, results)
        await results.until(1)
        assert pool.wanted == 64
        for _ in range(20):
            pool.submit(0.5, results)
        await results.until(21)
        assert pool.wanted == 1
        await pool.close(1.0)

    run(test)


def test_a_job_over_its_limit_is_told_once_and_its_thread_replaced() -> None:
    async def test() -> None:
        now = 0.0
        hold, entered = threading.Semaphore(0), threading.Semaphore(0)

        def handler(job: str) -> str:
            if job == "stuck":
                entered.release()
                hold.acquire()
            return job

        pool, results = ThreadPool(handler, 1, timeout_s=100.0, name="resize", clock=lambda: now), Results()
        await pool.open()
        pool.submit("stuck", results)
        assert await asyncio.to_thread(entered.acquire, True, WAIT_S)
        now = 99.0
        pool.look()
        assert results.told == []
        now = 101.0
        pool.look()
        assert isinstance(results.told[0][1], JobTimeout)
        assert results.errors == ["resize: the job ran for more than 100 s"]
        pool.submit("next", results)
        await results.until(2)
        assert results.told[1] == ("next", None)
        hold.release()
        pool.submit("last", results)
        await results.until(3)
        assert [result for result, _ in results.told] == [None, "next", "last"]
        assert pool.abandoned == 1
        await pool.close(1.0)

    run(test)


def test_python_code_over_its_limit_is_interrupted() -> None:
    async def test() -> None:
        ended = threading.Event()

        def endless(_: object) -> None:
            try:
                while True:
                    pass
            finally:
                ended.set()

        pool, results = ThreadPool(endless, 1, timeout_s=0.02), Results()
        await pool.open()
        pool.submit(None, results)
        await results.until(1)
        assert isinstance(results.told[0][1], JobTimeout)
        assert await asyncio.to_thread(ended.wait, WAIT_S)
        await pool.close(1.0)

    run(test)


def test_closing_waits_for_what_runs_and_tells_of_what_did_not_begin() -> None:
    async def test() -> None:
        hold, entered = threading.Event(), threading.Event()

        def handler(job: str) -> str:
            entered.set()
            hold.wait(WAIT_S)
            return job

        pool, results = ThreadPool(handler, 1), Results()
        await pool.open()
        pool.submit("runs", results)
        assert await asyncio.to_thread(entered.wait, WAIT_S)
        pool.submit("waits", results)
        closing = asyncio.create_task(pool.close(WAIT_S))
        await results.until(1)
        lost = results.told[0][1]
        assert isinstance(lost, LostJob) and not lost.started
        with pytest.raises(Closed):
            pool.submit("late", results)
        hold.set()
        await closing
        assert results.told[1] == ("runs", None)

    run(test)


def test_closing_gives_up_what_does_not_end_within_the_grace() -> None:
    async def test() -> None:
        hold, entered = threading.Event(), threading.Event()

        def handler(_: object) -> None:
            entered.set()
            hold.wait(WAIT_S)

        pool, results = ThreadPool(handler, 1), Results()
        await pool.open()
        pool.submit(None, results)
        assert await asyncio.to_thread(entered.wait, WAIT_S)
        await pool.close(0.0)
        lost = results.told[0][1]
        assert isinstance(lost, LostJob) and lost.started
        assert "did not end within 0 s" in str(lost)
        hold.set()

    run(test)


def test_an_error_of_who_is_told_does_not_keep_others_from_being_told() -> None:
    async def test() -> None:
        seen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))

        def bad(*_: object) -> None:
            raise ValueError("not mine")

        pool, results = ThreadPool(lambda job: job, 1), Results()
        await pool.open()
        pool.submit(1, bad)
        pool.submit(2, results)
        await results.until(1)
        assert isinstance(seen[0]["exception"], ValueError)
        await pool.close(1.0)

    run(test)


def test_a_pool_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        ThreadPool(print, 0)
    with pytest.raises(ConfigError, match="more than 0"):
        ThreadPool(print, 1, timeout_s=0)
