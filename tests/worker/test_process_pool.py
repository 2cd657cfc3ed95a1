"""The pool of processes: jobs and results, deaths, time and memory limits, recycling, fairness, closing.

What is waited for is an event of the pool, or a named pipe that a job reads; nothing waits for a time to pass, but for
limits that are to pass.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from leveret.errors import Closed, ConfigError
from leveret.worker.interfaces import JobTimeout, LostJob, Target
from leveret.worker.process_link import hello, how_ended
from leveret.worker.process_pool import ProcessPool
from tests.worker.test_pools import WAIT_S, Results, run

JOBS = "tests.worker.process_jobs"


def with_pool(
    test: Callable[[ProcessPool, Results], Awaitable[None]],
    handler: str = "act",
    workers: int = 1,
    **options: Any,
) -> None:
    async def whole() -> None:
        pool = ProcessPool(Target(JOBS, handler), workers, name="resize", **options)
        await pool.open()
        try:
            await test(pool, Results())
        finally:
            await pool.close(0.0)

    run(whole)


def pids(results: Results) -> list[int]:
    return [result for result, _ in results.told]


# ---- jobs and results


def test_jobs_go_out_and_results_come_back() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        jobs = [
            number if number % 3 else [number, "text", b"\x00bytes", None, 1.5, {"a": [True]}]
            for number in range(3000)
        ]
        for job in jobs:
            pool.submit(job, results)
        await results.until(len(jobs))
        assert results.errors == []
        key = str
        assert sorted((result for result, _ in results.told), key=key) == sorted(jobs, key=key)
        assert pool.outstanding == 0

    with_pool(test, "echo", 2)


def test_one_process_does_jobs_in_order() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        for number in range(1, 1000):
            pool.submit(number, results)
        await results.until(999)
        assert [result for result, _ in results.told] == list(range(1, 1000))

    with_pool(test, "echo")


def test_short_jobs_are_wanted_by_the_dozen_and_long_ones_one_by_one() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        assert pool.wanted == 2 * 4
        for _ in range(200):
            pool.submit(["fine", 0], results)
        await results.until(200)
        assert pool.wanted > 2 * 4
        pool._job_ns = 1e9
        assert pool.wanted == 2 * 2

    with_pool(test, workers=2)


def test_large_jobs_do_not_block_the_loop() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        job = os.urandom(16 << 20)
        for _ in range(3):
            pool.submit(job, results)
        await results.until(3)
        assert all(result == job for result, _ in results.told)

    with_pool(test, "echo")


def test_what_cannot_be_sent_is_told_and_the_rest_goes_on() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        for job in (
            ["pid", 0],
            [object(), 0],
            ["unsendable", 0],
            ["raise", "no runner does this"],
            ["pid", 0],
        ):
            pool.submit(job, results)
        await results.until(5)
        errors = sorted(results.errors)
        assert len(errors) == 3
        assert "resize: the handler's runner failed: ValueError: no runner does this" in errors[0]
        assert "resize: the job cannot be sent to a process: TypeError" in errors[1]
        assert "resize: the result cannot be sent from the process" in errors[2]

    with_pool(test)


# ---- deaths


def test_a_process_that_dies_takes_its_job_with_it_and_no_other() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["a", 1], results)
        await results.until(1)
        for job in (["kill", 9], ["b", 2], ["c", 3]):
            pool.submit(job, results)
        await results.until(4)
        assert sorted(result for result, error in results.told if error is None) == [1, 2, 3]
        (lost,) = [error for _, error in results.told if error is not None]
        assert isinstance(lost, LostJob) and lost.started
        assert str(lost) == "resize: the process died with signal 9 (SIGKILL) while it did this job"
        assert pool.died == 1

    with_pool(test)


def test_what_was_done_just_before_a_death_is_known() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        for job in (["with a result", 1], ["nothing", 0], ["nothing", 0], ["kill", 9]):
            pool.submit(job, results)
        await results.until(4)
        errors = [error for _, error in results.told if error is not None]
        assert len(errors) in (1, 2)  # its result may have been sent before
        assert [error.started for error in errors if isinstance(error, LostJob)] == [False, True][
            -len(errors) :
        ]
        assert results.told[1:3] == [(None, None), (None, None)]

    with_pool(test)


def test_a_handler_that_kills_every_process_is_told_each_time() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        for _ in range(3):
            pool.submit(["exit", 3], results)
        pool.submit(["fine", 1], results)
        await results.until(4)
        assert results.errors == ["resize: the process ended with exit code 3 while it did this job"] * 3
        assert pool.died == 3

    with_pool(test)


def test_an_idle_process_that_is_killed_is_replaced() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["pid", 0], results)
        await results.until(1)
        os.kill(pids(results)[0], signal.SIGKILL)
        pool.submit(["pid", 0], results)
        await results.until(2)
        assert results.errors == [] or "SIGKILL" in results.errors[0]

    with_pool(test)


# ---- limits


def test_a_job_over_its_limit_is_killed_with_the_programs_it_started(tmp_path: Path) -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        file = tmp_path / "pid"
        pool.submit(["program", str(file)], results)
        pool.submit(["fine", 1], results)
        await results.until(2)
        assert isinstance(results.told[0][1], JobTimeout)
        assert str(results.told[0][1]) == "resize: the job ran for more than 2 s"
        assert results.told[1] == (1, None)
        descriptor = None
        try:
            descriptor = os.pidfd_open(int(file.read_text()))
        except ProcessLookupError:
            return  # gone, and waited for
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, gone.set)
        async with asyncio.timeout(WAIT_S):
            await gone.wait()
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    with_pool(test, timeout_s=2.0)


def test_a_process_is_replaced_after_so_many_jobs() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        for _ in range(10):
            pool.submit(["pid", 0], results)
        await results.until(10)
        counts = {pid: pids(results).count(pid) for pid in pids(results)}
        assert list(counts.values()) == [4, 4, 2]
        assert pool.recycled == 2 and pool.died == 0

    with_pool(test, recycle_after=4)


def test_a_process_with_too_much_memory_is_replaced() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["pid", 0], results)
        pool.submit(["allocate", 100 << 20], results)
        await results.until(2)
        while pool.recycled == 0:
            pool.submit(["fine", 0], results)
            await results.until(len(results.told) + 1)
        pool.submit(["pid", 0], results)
        await results.until(len(results.told) + 1)
        assert results.errors == []
        assert results.told[0] != results.told[-1]

    with_pool(test, memory_limit_bytes=100 << 20)


def test_a_job_that_takes_far_too_much_memory_is_ended() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["allocate forever", 300 << 20], results)
        pool.submit(["fine", 1], results)
        await results.until(2)
        (lost,) = results.errors
        assert "MiB of memory; its limit is 100" in lost

    with_pool(test, memory_limit_bytes=100 << 20)


# ---- fairness


def test_what_waits_behind_a_long_job_is_done_by_an_idle_process(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def test(pool: ProcessPool, results: Results) -> None:
        for number in range(1000):  # short ones: a process has many in hand
            pool.submit(["fine", number], results)
        await results.until(1000)
        pool.submit(["hold", str(pipe)], results)
        for number in range(200):
            pool.submit(["fine", number], results)
        await results.until(1200)
        assert pool.outstanding == 1
        await asyncio.to_thread(pipe.write_text, "done")
        await results.until(1201)
        assert results.told[-1] == ("done", None)

    with_pool(test, workers=2)


def test_a_result_does_not_wait_for_the_long_job_behind_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["fine", 1], results)
        pool.submit(["hold", str(pipe)], results)
        await results.until(1)
        assert results.told == [(1, None)]
        await asyncio.to_thread(pipe.write_text, "done")
        await results.until(2)

    with_pool(test)


# ---- opening and closing


def test_what_did_not_begin_can_be_dropped_without_closing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["hold", str(pipe)], results)
        for number in range(10):
            pool.submit(["fine", number], results)
        end = await asyncio.to_thread(pipe.open, "w")  # the job has it open: it runs
        pool.drop_waiting()
        await results.until(10)
        assert all(isinstance(error, LostJob) and not error.started for _, error in results.told)
        pool.submit(["fine", "later"], results)
        end.write("finished")
        end.close()
        await results.until(12)
        assert results.told[10:] == [("finished", None), ("later", None)]

    with_pool(test)


def test_closing_lets_what_runs_finish_and_tells_of_the_rest(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["hold", str(pipe)], results)
        for number in range(10):
            pool.submit(["fine", number], results)
        write = asyncio.create_task(asyncio.to_thread(pipe.open, "w"))
        end = await write  # the job has it open: it runs
        closing = asyncio.create_task(pool.close(WAIT_S))
        await results.until(10)
        assert all(isinstance(error, LostJob) and not error.started for _, error in results.told)
        with pytest.raises(Closed):
            pool.submit(["late", 0], results)
        end.write("finished")
        end.close()
        await closing
        assert results.told[10] == ("finished", None)

    with_pool(test)


def test_a_process_without_a_job_has_time_to_close_whatever_the_grace(tmp_path: Path) -> None:
    file = tmp_path / "closed"

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(str(file), results)
        await results.until(1)
        await pool.close(0.0)
        assert file.read_text() == "closed"

    with_pool(test, "echo")


def test_closing_kills_what_does_not_end() -> None:
    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["pid", 0], results)
        await results.until(1)
        pool.submit(["forever", 0], results)
        await asyncio.sleep(0)  # it is handed over
        await pool.close(0.1)
        (error,) = [error for _, error in results.told if error is not None]
        assert isinstance(error, LostJob)

    with_pool(test)


@pytest.mark.parametrize(
    ("module", "handler", "said"),
    [
        (
            "tests.worker.no_such_module",
            "x",
            "ModuleNotFoundError: No module named 'tests.worker.no_such_module'",
        ),
        (JOBS, "not_there", "is not a declared handler"),
        (JOBS, "not_opening", "RuntimeError: the database is not there"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_told_at_opening(module: str, handler: str, said: str) -> None:
    async def test() -> None:
        pool = ProcessPool(Target(module, handler), 2, name="resize")
        with pytest.raises(ConfigError) as error:
            await pool.open()
        assert said in error.value.text
        assert f"could not load {module}.{handler}" in error.value.text

    run(test)


def test_processes_end_when_their_parent_is_gone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["hold", str(pipe)], results)
        end = await asyncio.to_thread(pipe.open, "w")  # the job has it open: it runs
        (link,) = pool._processes
        link._socket.shutdown(socket.SHUT_WR)  # all that the process would see of our end
        await results.until(1)
        assert results.errors == ["resize: the process died with signal 9 (SIGKILL) while it did this job"]
        end.close()

    with_pool(test)


def test_options_that_make_no_sense_are_refused() -> None:
    target = Target(JOBS, "nothing")
    for options in ({"timeout_s": 0.0}, {"recycle_after": 0}, {"memory_limit_bytes": -1}):
        with pytest.raises(ConfigError, match=rf"{next(iter(options))}=.*must be more than 0"):
            ProcessPool(target, 1, **options)


def test_a_handler_of_the_program_itself_is_found_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        __spec__ = None
        __file__ = "shop.py"

    monkeypatch.setitem(__import__("sys").modules, "__main__", Program)
    assert hello(Target("__main__", "resize"))["main"] == os.path.abspath("shop.py")
    monkeypatch.delattr(Program, "__file__")
    with pytest.raises(ConfigError, match="interactive session"):
        hello(Target("__main__", "resize"))


def test_a_process_logs_as_its_parent_does(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s of %(name)s: %(message)s"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["log", "resized"], results)
        await results.until(1)

    with_pool(test)
    assert "INFO of shop: resized" in capfd.readouterr().err


def test_deaths_are_noticed_where_no_descriptor_tells_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "memfd_create")

    async def test(pool: ProcessPool, results: Results) -> None:
        pool.submit(["exit", 3], results)
        pool.submit(["fine", 1], results)
        await results.until(2)
        assert results.told[1] == (1, None)
        assert results.errors == ["resize: the process ended with exit code 3 while it did this job"]

    with_pool(test)


def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def test() -> None:
        pool, results = ProcessPool(Target(JOBS, "act"), 2), Results()
        await pool.open()
        for number in range(100):
            pool.submit(["fine", number], results)
        await results.until(100)
        pool.submit(["kill", 9], results)
        pool.submit(["large", b"x" * (4 << 20)], results)
        await results.until(102)
        await pool.close(1.0)
        assert results.errors == ["leveret: the process died with signal 9 (SIGKILL) while it did this job"]

    uvloop.run(test())


def test_how_a_process_ended_is_said_in_words() -> None:
    assert how_ended(3) == "the process ended with exit code 3"
    assert how_ended(-11) == "the process died with signal 11 (SIGSEGV)"
    assert how_ended(-99) == "the process died with signal 99"
