"""Middleware: order, what is called and what is not, options and what is said of wrong ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import pytest

from leveret.errors import ConfigError
from leveret.worker.idempotency import Idempotency
from leveret.worker.interfaces import ConsumerInfo, Job
from leveret.worker.middleware import Chain, Middleware, overrides, read_options, unknown
from leveret.worker.ratelimit import RateLimit
from leveret.worker.timelimits import TimeLimit
from tests.worker.jobs import info, job


class Loud(Middleware):
    """Notes everything."""

    options: ClassVar[Mapping[str, Any]] = {"loud": bool, "level": int | None}

    def __init__(self, name: str, log: list[str], failing: str = "") -> None:
        self.name = name
        self.log = log
        self.failing = failing

    def note(self, what: str) -> None:
        self.log.append(f"{self.name} {what}")
        if what == self.failing:
            raise OSError(f"{self.name} fails")

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        self.note(f"declared {consumer.name} {dict(options)}")

    async def started(self, app: Any) -> None:
        self.note("started")

    async def stopped(self) -> None:
        self.note("stopped")

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        self.note("before")
        try:
            return await handle()
        finally:
            self.note("after")

    def received(self, job: Job) -> None:
        self.note("received")

    def finished(self, job: Job, outcome: str, error: BaseException | None, seconds_s: float) -> None:
        self.note(outcome)


class Quiet(Middleware):
    """Does nothing."""


async def handle(job: Job) -> str:
    return "done"


def test_without_hooks_nothing_is_around() -> None:
    chain = Chain([Quiet(), Quiet()])
    assert chain.compiled(handle) is handle
    assert chain.received == chain.finished == chain.around == ()
    assert not overrides(Quiet(), "around")


def test_the_first_is_the_outermost() -> None:
    log: list[str] = []
    chain = Chain([Loud("a", log), Quiet(), Loud("b", log)])
    run: Any = chain.compiled(handle)
    assert asyncio.run(run(job())) == "done"
    assert log == ["a before", "b before", "b after", "a after"]


def test_each_is_told_of_a_handler_with_its_own_options() -> None:
    log: list[str] = []
    chain = Chain([Loud("a", log), Quiet()])
    chain.declared(info(), {"loud": True, "other": 1})
    assert log == ["a declared send {'loud': True}"]


def test_if_one_cannot_start_those_before_it_are_stopped() -> None:
    log: list[str] = []
    chain = Chain([Loud("a", log), Loud("b", log), Loud("c", log, "started"), Loud("d", log)])
    with pytest.raises(OSError, match="c fails"):
        asyncio.run(chain.started(None))
    assert log == ["a started", "b started", "c started", "b stopped", "a stopped"]


def test_all_are_stopped_even_if_one_cannot() -> None:
    log: list[str] = []
    chain = Chain([Loud("a", log), Loud("b", log, "stopped")])
    with pytest.raises(OSError, match="b fails"):
        asyncio.run(chain.stopped())
    assert log == ["b stopped", "a stopped"]


def test_options_are_converted() -> None:
    found = read_options("handler send", {"loud": True, "level": 3}, [Loud("a", []), Quiet()])
    assert found == {"loud": True, "level": 3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"luod": True}, "handler send: there is no option 'luod': did you mean 'loud'?"),
        ({"concurency": 3}, "there is no option 'concurency': did you mean 'concurrency'?"),
        ({"loud": "yes"}, "handler send: option loud='yes': Expected `bool`, got `str`"),
        (
            {"idempotent": True},
            "needs leveret.worker.Idempotency, which is not in this app's middleware",
        ),
        ({"zzz": 1}, "there is no option 'zzz'; there are concurrency, level, loud"),
    ],
)
def test_a_wrong_option_is_explained(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_options("handler send", given, [Loud("a", [])], own=["concurrency"])
    assert said in error.value.text


def test_all_built_in_options_are_hinted_at() -> None:
    built_in: list[type[Middleware]] = [Idempotency, RateLimit, TimeLimit]
    for one in built_in:
        for name in one.options:
            assert f"needs leveret.worker.{one.__name__}," in unknown(name, [])
