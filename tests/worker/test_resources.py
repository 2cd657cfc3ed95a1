"""Resources: how they are made and closed, in which order, and what is said of declarations that cannot work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.errors import ConfigError
from leveret.worker.resources import Resources

log: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    log.clear()


def settings() -> dict[str, str]:
    log.append("settings")
    return {"url": "there"}


async def database(settings: dict[str, str]) -> AsyncIterator[str]:
    log.append("database opens")
    yield f"database {settings['url']}"
    log.append("database closes")


def session(database: str) -> Iterator[str]:
    log.append("session opens")
    try:
        yield f"session of {database}"
        log.append("commit")
    except Exception:
        log.append("rollback")
    finally:
        log.append("session closes")


def shop() -> Resources:
    resources = Resources()
    resources.add(settings)
    resources.add(database)
    resources.add(session, scope="job")
    return resources


def test_all_kinds_of_factories() -> None:
    async def coroutine() -> int:
        return 2

    @contextmanager
    def manager() -> Iterator[int]:
        yield 3
        log.append("manager")

    @asynccontextmanager
    async def async_manager() -> AsyncIterator[int]:
        yield 4
        log.append("async_manager")

    class Value:
        def __enter__(self) -> None:
            raise AssertionError("a value is not entered")

        def __exit__(self, *_: object) -> None:
            raise AssertionError("a value is not entered")

    async def test() -> None:
        resources = shop()
        for factory in (coroutine, manager, async_manager, Value):
            resources.add(factory)
        await resources.open()
        assert [resources.get(name) for name in ("coroutine", "manager", "async_manager")] == [2, 3, 4]
        assert isinstance(resources.get("Value"), Value)
        assert resources.get("database") == "database there"
        await resources.close()
        assert log == ["settings", "database opens", "async_manager", "manager", "database closes"]

    asyncio.run(test())


def test_only_what_is_asked_for_is_made_once_with_what_it_needs() -> None:
    async def test() -> None:
        resources = shop()
        resources.add(lambda: log.append("never"), "unused")
        await resources.open(["session"])
        await resources.open(["database"])
        assert log == ["settings", "database opens"]
        with pytest.raises(ConfigError, match="'unused' is not open"):
            resources.get("unused")
        await resources.close()
        await resources.open(["settings"])
        assert log[-1] == "settings"

    asyncio.run(test())


def test_a_job_has_its_own() -> None:
    async def test() -> None:
        resources = shop()
        await resources.open()
        log.clear()
        async with resources.for_job(["session", "settings"]) as found:
            assert found == {"session": "session of database there", "settings": {"url": "there"}}
        assert log == ["session opens", "commit", "session closes"]

    asyncio.run(test())


def test_an_error_of_a_job_is_thrown_in_and_cannot_be_swallowed() -> None:
    async def test() -> None:
        resources = shop()
        await resources.open()
        with pytest.raises(ValueError, match="from the job"):
            async with resources.for_job(["session"]):
                raise ValueError("from the job")
        assert log[-2:] == ["rollback", "session closes"]

    asyncio.run(test())


def test_what_was_made_for_a_job_is_closed_if_the_next_cannot_be() -> None:
    def failing(session: str) -> str:
        raise OSError("not there")

    async def test() -> None:
        resources = shop()
        resources.add(failing, scope="job")
        await resources.open()
        with pytest.raises(OSError) as error:
            async with resources.for_job(["failing"]):
                raise AssertionError("not entered")
        assert error.value.__notes__ == ["when the resource 'failing' was made"]
        assert log[-1] == "session closes"

    asyncio.run(test())


def test_closing_goes_on_after_an_error() -> None:
    def bad(database: str) -> Iterator[int]:
        yield 1
        raise OSError("cannot close")

    async def test() -> None:
        resources = shop()
        resources.add(bad)
        await resources.open()
        with pytest.raises(OSError):
            await resources.close()
        assert log[-1] == "database closes"
        await resources.close()

    asyncio.run(test())


def test_a_test_can_put_another_in_its_place() -> None:
    async def test() -> None:
        resources = shop()
        with resources.override("database", lambda: "fake"):
            await resources.open(["session"])
            async with resources.for_job(["session"]) as found:
                assert found["session"] == "session of fake"
            with (
                pytest.raises(ConfigError, match="is open already"),
                resources.override("database", settings),
            ):
                pass
        assert "database opens" not in log

    asyncio.run(test())


def test_a_replacement_cannot_need_what_needs_it() -> None:
    def other(session: str) -> str:
        return session

    resources = Resources()
    resources.add(settings, "database", scope="job")
    resources.add(session, scope="job")
    with (
        pytest.raises(ConfigError, match="'database' needs 'session', which needs 'database'"),
        resources.override("database", other),
    ):
        pass


def needs_itself(needs_itself: int) -> int:
    return needs_itself


def misspelt(databse: str) -> str:
    return databse


def unknown(cache: str) -> str:
    return cache


def with_default(cache: str = "none") -> str:
    return cache


@pytest.mark.parametrize(
    ("factory", "options", "said"),
    [
        (needs_itself, {}, "resource 'needs_itself' needs itself"),
        (
            misspelt,
            {},
            "resource 'misspelt' needs 'databse', and there is no resource of that name: did you mean 'database'",
        ),
        (unknown, {}, "needs 'cache', and there is no resource of that name: declare it above"),
        (settings, {}, "two resources 'settings'"),
        (with_default, {"scope": "process"}, "no scope 'process'; it is 'worker' or 'job'"),
        (lambda: 1, {}, "'<lambda>' cannot be a resource's name"),
        ("text", {}, "made by a function"),
    ],
)
def test_what_cannot_work_is_said_when_it_is_declared(
    factory: object, options: dict[str, str], said: str
) -> None:
    resources = shop()
    with pytest.raises(ConfigError) as error:
        resources.add(factory, **options)  # type: ignore[arg-type]
    assert said in error.value.text


def test_a_name_that_is_none_is_said_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="there is no resource 'databas'; did you mean 'database'"):
        shop().scope_of("databas")


def test_a_worker_cannot_need_what_lasts_a_job() -> None:
    def pool(session: str) -> str:
        return session

    with pytest.raises(ConfigError, match="'pool' lasts as long as the worker, and needs 'session'"):
        shop().add(pool)


def test_a_default_is_taken_where_no_resource_is() -> None:
    async def test() -> None:
        resources = Resources()
        resources.add(with_default)
        await resources.open()
        assert resources.get("with_default") == "none"

    asyncio.run(test())


@given(st.lists(st.lists(st.integers(min_value=0, max_value=9), max_size=4), min_size=1, max_size=10))
def test_whatever_needs_whatever_it_is_closed_before_what_it_needs(graph: list[list[int]]) -> None:
    opened: list[str] = []
    closed: list[str] = []
    resources = Resources()
    needs: dict[str, list[str]] = {}
    for number, wanted in enumerate(graph):
        name = f"r{number}"
        needs[name] = sorted({f"r{one}" for one in wanted if one < number})
        body = f"opened.append('{name}')\n    yield '{name}'\n    closed.append('{name}')"
        source = f"def {name}({', '.join(needs[name])}):\n    {body}"
        names: dict[str, object] = {"opened": opened, "closed": closed}
        exec(source, names)
        resources.add(names[name])  # type: ignore[arg-type]

    async def test() -> None:
        await resources.open()
        await resources.close()

    asyncio.run(test())
    assert sorted(opened) == sorted(needs)
    assert closed == opened[::-1]
    for name, wanted_names in needs.items():
        assert all(opened.index(one) < opened.index(name) for one in wanted_names)
