"""Mistakes in declarations, which are to fail when a module is imported, with a text that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from leveret.client.engine.message import Message
from leveret.client.topology import Queue, Retry
from leveret.errors import Closed, ConfigError
from leveret.worker import App, Middleware


class Limiting(Middleware):
    options = {"rate_limit": str | None}  # noqa: RUF012


async def coroutine(body: bytes) -> None: ...


def plain(body: bytes) -> None: ...


def no_parameters() -> None: ...


def wants_message(message: Message) -> None: ...


def any_number(*bodies: bytes) -> None: ...


def generator(body: bytes) -> Any:
    yield body


class Strange: ...


def strange(body: Strange) -> None: ...


def resize(path: str, width: int = 100) -> str:
    return f"{path} {width}"


@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        (coroutine, {"pool": "proces"}, "did you mean 'process'?"),
        (plain, {"pool": "async"}, "is not `async def`"),
        (coroutine, {"pool": "thread"}, "is `async def`"),
        (no_parameters, {}, "has no parameter for the message"),
        (any_number, {}, "name each parameter"),
        (generator, {}, "is a generator"),
        (strange, {}, "nothing can be decoded into"),
        (plain, {"concurency": 3}, "did you mean 'concurrency'?"),
        (plain, {"rate_limt": "3/s"}, "did you mean 'rate_limit'?"),
        (plain, {"rate_limit": 3}, "rate_limit"),
        (plain, {"concurrency": 0}, "concurrency is a number from 1"),
        (plain, {"prefetch": "many"}, "prefetch is 'auto' or a number"),
        (plain, {"timeout_s": 0}, "timeout_s is a number of seconds above 0"),
        (plain, {"retry": 3}, "not 3: write retry=Retry(max=3)"),
        (plain, {"retry": Retry(max=1), "queue": Queue(retry=Retry(max=2))}, "give one of them"),
        (plain, {"queue": "other"}, "queue is a leveret.Queue"),
        (plain, {"queue": Queue("other")}, "of another"),
        (plain, {"group_by": 3}, "group_by is the name of the header"),
        (plain, {"recycle_after": 3}, "recycle_after is of pool='process'"),
        (wants_message, {"pool": "process"}, "cannot be in another process"),
    ],
)
def test_mistakes_fail_at_import(function: Callable[..., Any], options: dict[str, Any], text: str) -> None:
    app = App(middleware=[Limiting()])
    with pytest.raises(ConfigError) as error:
        app.consumer("jobs", **options)(function)
    assert text in str(error.value)
    assert getattr(function, "__name__", "") in str(error.value) or "queue" in options


def test_a_handler_of_a_process_is_at_the_top_of_a_module() -> None:
    def local(body: bytes) -> None: ...

    with pytest.raises(ConfigError, match="at the top of the module"):
        App().consumer("jobs", pool="process")(local)


def test_a_queue_has_one_handler() -> None:
    app = App()
    app.consumer("jobs")(plain)
    with pytest.raises(ConfigError, match="handles queue 'jobs' already"):
        app.consumer("jobs")(coroutine)
    with pytest.raises(ConfigError, match="handles queue 'jobs' already"):
        app.task(queue="jobs")(resize)


def test_tasks_of_one_name_need_another() -> None:
    app = App()
    app.task(resize)
    with pytest.raises(ConfigError, match="give one of them a name="):
        app.task(resize, queue="others")
    app.task(resize, name="resize_again")


def test_tasks_of_one_queue_share_its_settings() -> None:
    app = App()
    app.task(resize, retry=Retry(max=1))
    with pytest.raises(ConfigError, match="both are tasks of queue 'tasks'"):
        app.task(resize, name="other", retry=Retry(max=2))


def test_a_group_of_a_task_is_a_parameter() -> None:
    with pytest.raises(ConfigError, match="group_by names a parameter"):
        App().task(resize, group_by="customer")
    task = App().task(resize, group_by="path")
    assert task.declared.queue.groups is True


def test_a_group_of_a_consumer_is_a_header() -> None:
    handler = App().consumer("jobs", group_by="customer")(plain)
    assert handler.declared.queue.groups == "customer"


def test_the_decorator_without_parentheses() -> None:
    with pytest.raises((ConfigError, TypeError)):
        App().consumer(plain)(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["61 * * * *", "* * *", -1])
def test_schedules_are_read_at_import(schedule: Any) -> None:
    with pytest.raises(ConfigError, match="plain"):
        App().cron("jobs", schedule=schedule)(plain)


def test_a_resource_has_to_be_declared_before_its_handlers() -> None:
    app = App()
    app.consumer("jobs")(plain)

    def body() -> int:
        return 1

    with pytest.raises(ConfigError, match="declare resources first"):
        app.resource(body)


def test_middleware_is_an_instance() -> None:
    with pytest.raises(ConfigError, match="give an instance"):
        App(middleware=[Limiting])  # type: ignore[list-item]


def test_middleware_is_told_of_handlers_and_its_options() -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    class Told(Limiting):
        def declared(self, consumer: Any, options: Any) -> None:
            told.append((consumer.name, dict(options)))

    App(middleware=[Told()]).consumer("jobs", rate_limit="3/s")(plain)
    assert told == [("plain", {"rate_limit": "3/s"})]


def test_what_is_decorated_is_still_the_function() -> None:
    app = App()
    task = app.task(resize)
    assert task("a", width=3) == "a 3"
    assert task.name == "resize"
    assert app.consumer("jobs")(plain)(b"") is None


def test_posting_needs_a_connection() -> None:
    with pytest.raises(Closed, match="async with app"):
        App().task(resize).post("a")


def test_options_of_a_posted_task_are_checked() -> None:
    with pytest.raises(TypeError, match="'prority' is no option"):
        App().task(resize).options(prority=3)


def test_unknown_queues_are_not_chosen() -> None:
    app = App()
    app.consumer("jobs")(plain)
    assert [one.name for one in app.chosen(["jobs"])] == ["plain"]
    with pytest.raises(ConfigError, match="did you mean 'jobs'"):
        app.chosen(["job"])


def test_where_dead_letters_go() -> None:
    def dead_letter(**options: Any) -> str | None:
        return App().consumer("jobs", **options)(plain).declared.dead_letter

    assert dead_letter() == "jobs.dead"
    assert dead_letter(retry=None) == "jobs.dead"
    assert dead_letter(retry=Retry(dead_letter=False)) is None
    assert dead_letter(retry=Retry(dead_letter="grave")) == "grave"
    assert dead_letter(queue=Queue(dead_letter="other")) == "other"


def test_defaults_of_pools_follow_the_function() -> None:
    app = App()
    assert app.consumer("a")(coroutine).declared.pool == "async"
    assert app.consumer("b")(plain).declared.pool == "thread"
    assert app.consumer("c", concurrency=3)(coroutine).declared.first_prefetch == 3
    assert app.consumer("d")(coroutine).declared.first_prefetch == 16
    assert app.consumer("e", pool="process", concurrency=3)(plain).declared.first_prefetch == 6


def test_a_type_that_is_known_where_the_handler_is() -> None:
    import msgspec

    class Local(msgspec.Struct):
        x: int

    def handler(body: Local) -> None: ...

    assert App().consumer("jobs")(handler).declared.arguments.data[0].type is Local


def test_an_app_is_connected_once() -> None:
    async def main() -> None:
        app = App()
        app.use(object())
        with pytest.raises(ConfigError, match="connected already"):
            await app.__aenter__()

    asyncio.run(main())
