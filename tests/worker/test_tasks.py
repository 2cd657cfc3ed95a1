"""Tasks: posted, called, later, unique, in groups, from code without a loop."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import msgspec
import pytest

import leveret
from leveret.client import Client
from leveret.client.topology import Retry
from leveret.errors import CallTimeout, ConfigError, InvalidMessage
from leveret.worker import App, Running
from leveret.worker.tasks import due

from ..client.inside import run_with_broker
from .inside import run_app, until


class Size(msgspec.Struct):
    width: int
    height: int


def make() -> tuple[App, list[Any], Any]:
    app = App()
    seen: list[Any] = []

    @app.task
    async def resize(path: str, size: Size, quality: float = 0.5) -> Size:
        seen.append((path, size, quality))
        return Size(size.height, size.width)

    return app, seen, resize


def test_a_call_gives_back_what_the_function_returned() -> None:
    app, seen, resize = make()

    async def body(client: Client, running: Running) -> None:
        assert await resize.call("a", Size(1, 2)) == Size(2, 1)
        assert await resize.call("a", size=Size(3, 4), quality=1.0) == Size(4, 3)
        assert seen == [("a", Size(1, 2), 0.5), ("a", Size(3, 4), 1.0)]

    run_app(app, body)


def test_posted_tasks_are_done() -> None:
    app, seen, resize = make()

    async def body(client: Client, running: Running) -> None:
        resize.post("a", Size(1, 2))
        await resize.options(priority=3, headers={"x": 1}).post("b", Size(1, 2))
        resize.post_at(0.01, "c", Size(1, 2))
        await until(lambda: len(seen) == 3)
        assert sorted(path for path, _, _ in seen) == ["a", "b", "c"]

    run_app(app, body)


def test_invalid_arguments_never_leave() -> None:
    app, _, resize = make()

    async def body(client: Client, running: Running) -> None:
        with pytest.raises(InvalidMessage, match=r"size\.width"):
            resize.post("a", {"width": "x", "height": 1})
        with pytest.raises(TypeError, match="needs the argument 'size'"):
            resize.post("a")
        assert client.stats.posted == 0

    run_app(app, body)


def test_sync_functions_are_tasks_too() -> None:
    app = App()

    @app.task(queue="sums")
    def add(left: int, right: int) -> int:
        return left + right

    async def body(client: Client, running: Running) -> None:
        assert await add.call(1, 2) == 3
        assert add(1, 2) == 3

    run_app(app, body)


def test_several_tasks_share_a_queue() -> None:
    app = App()

    @app.task
    async def one() -> str:
        return "one"

    @app.task
    def two() -> str:
        return "two"

    async def body(client: Client, running: Running) -> None:
        assert (await one.call(), await two.call()) == ("one", "two")
        assert running.queues == ["tasks"]

    run_app(app, body)


def test_what_one_task_says_of_a_queue_counts_for_all() -> None:
    app = App()

    def one() -> None: ...

    def two() -> None: ...

    def three() -> None: ...

    policy = Retry(max=1, dead_letter="grave")
    made = [app.task(one), app.task(two, retry=policy, concurrency=3), app.task(three, unique="refuse")]
    assert all(each.declared.queue == made[0].declared.queue for each in made)
    assert made[0].declared.queue.retry == policy
    assert [each.declared.dead_letter for each in made] == ["grave"] * 3
    assert [each.declared.concurrency for each in made] == [3] * 3
    with pytest.raises(ConfigError, match="concurrency is another"):
        app.task(one, name="four", concurrency=4)
    with pytest.raises(ConfigError, match="unique is another"):
        app.task(one, name="five", unique="replace")


def test_what_waits_is_unique() -> None:
    app = App()
    seen: list[str] = []
    hold = asyncio.Event

    @app.task(queue="refuses", unique="refuse", concurrency=1)
    async def refuses(text: str) -> None:
        seen.append(text)
        if text == "first":
            await held.wait()

    @app.task(queue="replaces", unique="replace", concurrency=1)
    async def replaces(text: str) -> None:
        seen.append(text)
        if text == "first":
            await held.wait()

    held: asyncio.Event

    async def body(client: Client, running: Running) -> None:
        nonlocal held
        for task, wanted in ((refuses, ["first", "second"]), (replaces, ["first", "third"])):
            held = hold()
            seen.clear()
            task.post("first")
            await until(lambda: seen == ["first"])
            assert await task.post_unique("k", "second") is True
            assert await task.post_unique("k", "third") is (task is replaces)
            held.set()
            await until(lambda: len(seen) == 2)
            assert seen == wanted

    run_app(app, body)


def test_post_unique_needs_to_be_declared() -> None:
    app, _, resize = make()

    async def body(client: Client, running: Running) -> None:
        with pytest.raises(ConfigError, match="unique='refuse'"):
            await resize.post_unique("k", "a", Size(1, 2))

    run_app(app, body)


def test_a_group_is_a_parameters_value() -> None:
    app = App()
    seen: list[tuple[str, str]] = []

    @app.task(group_by="customer")
    async def order(number: int, customer: str = "nobody") -> None:
        await asyncio.sleep(0)
        seen.append((customer, str(number)))

    async def body(client: Client, running: Running) -> None:
        for number in range(6):
            order.post(number, customer=f"c{number % 2}")
        order.post(6)
        await until(lambda: len(seen) == 7)
        assert [number for customer, number in seen if customer == "c0"] == ["0", "2", "4"]
        assert order.sending((1,), {})["group"] == "nobody"

    run_app(app, body)


def test_when_it_is_due() -> None:
    at = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    assert due(at) == {"at": datetime.datetime(2030, 1, 1, 10, tzinfo=datetime.UTC)}
    assert due(datetime.timedelta(minutes=1)) == {"delay_s": 60.0}
    assert due(3) == {"delay_s": 3.0}
    with pytest.raises(ValueError, match="negative"):
        due(-1)


def test_a_failed_call_is_told_why() -> None:
    app = App()

    @app.task(retry=Retry(max=0))
    def broken() -> None:
        raise KeyError("lost")

    async def body(client: Client, running: Running) -> None:
        with pytest.raises(leveret.CallFailed, match="lost"):
            await broken.call()
        with pytest.raises(leveret.CallTimeout):
            await broken.options(timeout_s=0.0).call()

    run_app(app, body)


def test_a_producer_connects_without_handling_anything() -> None:
    async def work(broker: Any) -> None:
        app = App(broker, credentials=broker.credentials)
        seen: list[int] = []

        @app.task
        async def note(number: int) -> None:
            seen.append(number)

        async with app:
            note.post(1)
            await app.client.flush()
            assert (await app.client.look_at_queue("tasks")).messages == 1
        async with app.running():
            await until(lambda: seen == [1])

    run_with_broker(work)


def test_handlers_in_threads_post_tasks() -> None:
    app = App()
    seen: list[int] = []

    @app.task
    async def note(number: int) -> None:
        seen.append(number)

    @app.task(queue="threads", concurrency=4)
    def split(numbers: list[int]) -> None:
        for number in numbers:
            note.post(number)
        note.post_at(0.01, 99)

    async def body(client: Client, running: Running) -> None:
        for start in range(0, 40, 10):
            split.post(list(range(start, start + 10)))
        await until(lambda: len(seen) == 44)
        assert sorted(set(seen)) == [*range(40), 99]

    run_app(app, body)


def test_tasks_are_posted_from_code_without_a_loop() -> None:
    app = App()

    @app.task
    async def add(left: int, right: int) -> int:
        return left + right

    with leveret.run_in_thread() as broker:
        app.urls = (broker.url,)
        with app.sync() as tasks:
            tasks.client.declare_queue(add.declared.queue)
            with pytest.raises(CallTimeout, match=r"within 0\.01 s"):
                tasks.call(add.options(timeout_s=0.01), 0, 0)
            tasks.post(add, 1, 2)
            tasks.post_at(0.0, add, 3, 4)
            tasks.flush()

            async def work() -> None:
                async with app.running() as running:
                    await until(lambda: running.counts["tasks"].done == 2)
                    assert await asyncio.to_thread(tasks.call, add, 5, 6) == 11

            asyncio.run(work())


@pytest.mark.parametrize(("name", "hint"), [("delay", "post"), ("send", "post"), ("apply_async", "post_at")])
def test_names_of_other_libraries_are_answered(name: str, hint: str) -> None:
    app = App()

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(AttributeError, match=hint):
        getattr(add, name)
    assert not hasattr(add, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(add, "nothing")  # noqa: B009


@pytest.mark.parametrize(
    ("option", "hint"), [("max_retries", "Retry"), ("time_limit", "timeout_s"), ("bind", "leveret.Message")]
)
def test_options_of_other_libraries_are_answered(option: str, hint: str) -> None:
    app = App()
    with pytest.raises(ConfigError, match=f"there is no option '{option}'; here it is .*{hint}"):

        @app.task(**{option: 3})
        def add(a: int, b: int) -> int:
            return a + b
