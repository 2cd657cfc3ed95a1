"""Coroutines that are run at once: what they see of tasks, contexts and cancellation is what a task would show them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from leveret.worker.stepping import Stepper

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def with_stepper(body: Callable[[Stepper], Awaitable[None]]) -> None:
    stepper = Stepper()
    await asyncio.sleep(0)  # the spare task begins
    try:
        await body(stepper)
    finally:
        stepper.close()


def run(body: Callable[[Stepper], Awaitable[None]]) -> None:
    asyncio.run(with_stepper(body))


def step(stepper: Stepper, coroutine: Any) -> Any:
    """Its result if it ended at once, else its task."""
    stepper.enter()
    try:
        return stepper.run(coroutine)
    except StopIteration as stop:
        stepper.tidy()
        return stop.value
    finally:
        stepper.leave()


def test_what_does_not_wait_needs_no_task() -> None:
    async def body(stepper: Stepper) -> None:
        async def work() -> str:
            return "done"

        owner = asyncio.current_task()
        assert [step(stepper, work()) for _ in range(3)] == ["done"] * 3
        assert stepper.tasks == 0
        assert asyncio.current_task() is owner

    run(body)


def test_what_waits_goes_on_in_the_task_that_it_began_in() -> None:
    async def body(stepper: Stepper) -> None:
        seen: list[object] = []

        async def work() -> str:
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
            seen.append(asyncio.current_task())
            return "done"

        task = step(stepper, work())
        assert await task == "done"
        assert seen == [task] * 3

    run(body)


def test_errors_come_out_at_once_or_of_the_task() -> None:
    async def body(stepper: Stepper) -> None:
        async def at_once() -> None:
            raise ValueError("now")

        async def later() -> None:
            await asyncio.sleep(0)
            raise ValueError("later")

        with pytest.raises(ValueError, match="now"):
            step(stepper, at_once())
        with pytest.raises(ValueError, match="later"):
            await step(stepper, later())

    run(body)


def test_a_timeout_inside_cancels_the_coroutine_and_nothing_else() -> None:
    async def body(stepper: Stepper) -> None:
        async def work() -> str:
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "timed out"
            return "not reached"

        assert await step(stepper, work()) == "timed out"

    run(body)


def test_the_task_can_be_cancelled() -> None:
    async def body(stepper: Stepper) -> None:
        async def work() -> None:
            await asyncio.Event().wait()

        task = step(stepper, work())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body)


def test_one_that_cancels_itself_harms_only_itself() -> None:
    async def body(stepper: Stepper) -> None:
        async def ends() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        async def waits() -> None:
            await ends()
            await asyncio.sleep(0)

        async def innocent() -> str:
            await asyncio.sleep(0)
            return "done"

        assert step(stepper, ends()) is None
        assert await step(stepper, innocent()) == "done"
        await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await step(stepper, waits())
        assert await step(stepper, innocent()) == "done"

    run(body)


def test_context_variables_do_not_leak() -> None:
    async def body(stepper: Stepper) -> None:
        async def sets(wait: bool) -> str:
            before = VARIABLE.get()
            VARIABLE.set("set")
            if wait:
                await asyncio.sleep(0)
                assert VARIABLE.get() == "set"
            return before

        assert step(stepper, sets(False)) == "unset"
        assert VARIABLE.get() == "unset"
        await asyncio.sleep(0)
        assert await step(stepper, sets(True)) == "unset"
        await asyncio.sleep(0)
        assert step(stepper, sets(False)) == "unset"

    run(body)


def test_several_in_one_turn_of_the_loop() -> None:
    async def body(stepper: Stepper) -> None:
        async def work(number: int) -> int:
            await asyncio.sleep(0)
            return number

        stepper.enter()
        tasks = [stepper.run(work(number)) for number in range(5)]
        stepper.leave()
        assert await asyncio.gather(*[task for task in tasks if task]) == [0, 1, 2, 3, 4]

    run(body)


def test_a_task_group_inside_is_whole() -> None:
    async def body(stepper: Stepper) -> None:
        async def work() -> list[int]:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
            return [part.result() for part in parts]

        assert await step(stepper, work()) == [0, 1, 2]

    run(body)
