"""Idempotency: what each store says of a message, what a crash at each point leads to, and what is answered twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from leveret.errors import ConfigError, RetryLater
from leveret.worker.idempotency import Answer, Idempotency, MemoryStore, SQLiteStore, Store, is_dead, own_name
from tests.worker.jobs import Clock, info, job


class Serializers:
    def encode(self, value: object) -> tuple[bytes, bytes]:
        return repr(value).encode(), b"text/plain"


class FakeApp:
    serializers = Serializers()


Make = Callable[[Clock], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def made(clock: Clock) -> Store:
        if request.param == "memory":
            return MemoryStore(clock=clock)
        return SQLiteStore(tmp_path / "ids.sqlite", clock=clock)

    return made


@asynccontextmanager
async def opened(store: Store) -> Any:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


# ---- stores


def test_a_claim_is_one_workers_until_it_is_completed(make: Make) -> None:
    async def test() -> None:
        clock = Clock()
        async with opened(make(clock)) as store:
            assert (await store.claim("a", 10)).mine
            second = await store.claim("a", 10)
            assert not second.mine and second.wait_s == 10
            await store.complete("a", 100, Answer("text/plain", b"5"))
            third = await store.claim("a", 10)
            assert not third.mine and third.wait_s is None and third.answer == Answer("text/plain", b"5")
            clock.now += 101
            assert (await store.claim("a", 10)).mine

    asyncio.run(test())


def test_what_is_forgotten_is_free(make: Make) -> None:
    async def test() -> None:
        async with opened(make(Clock())) as store:
            await store.claim("a", 10)
            await store.forget("a")
            claim = await store.claim("a", 10)
            assert claim.mine and not claim.repeated

    asyncio.run(test())


def test_a_claim_that_was_never_ended_is_free_when_its_time_is_over_and_says_so(make: Make) -> None:
    async def test() -> None:
        clock = Clock()
        async with opened(make(clock)) as store:
            await store.claim("a", 10)
            clock.now += 10.5
            claim = await store.claim("a", 10)
            assert claim.mine and claim.repeated

    asyncio.run(test())


def test_of_many_claims_at_once_one_gets_it(make: Make) -> None:
    async def test() -> None:
        async with opened(make(Clock())) as store:
            claims = await asyncio.gather(*(store.claim("a", 10) for _ in range(20)))
            assert sum(claim.mine for claim in claims) == 1

    asyncio.run(test())


def test_memory_is_bounded_and_keeps_what_is_being_worked_on() -> None:
    async def test() -> None:
        store = MemoryStore(most=3)
        await store.claim("working", 100)
        for number in range(10):
            await store.claim(str(number), 100)
            await store.complete(str(number), 100, None)
        assert len(store) == 3
        assert (await store.claim("working", 100)).wait_s is not None
        assert (await store.claim("0", 100)).mine

    asyncio.run(test())
    with pytest.raises(ConfigError, match="room for one at least"):
        MemoryStore(most=0)


def test_a_file_outlives_its_process_and_is_shared(tmp_path: Path) -> None:
    async def test() -> None:
        path, clock = tmp_path / "ids.sqlite", Clock()
        async with opened(SQLiteStore(path, clock=clock)) as store:
            await store.claim("done", 10)
            await store.complete("done", 100, None)
            async with opened(SQLiteStore(path, clock=clock, durable=True)) as other:
                assert not (await other.claim("done", 10)).mine
        async with opened(SQLiteStore(path, clock=clock)) as store:
            assert not (await store.claim("done", 10)).mine

    asyncio.run(test())


def test_a_claim_of_a_process_that_was_killed_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ids.sqlite"
    program = (
        "import asyncio, os, sys\n"
        "from leveret.worker.idempotency import SQLiteStore\n"
        "async def main():\n"
        "    store = SQLiteStore(sys.argv[1])\n"
        "    await store.open()\n"
        "    assert (await store.claim('a', 1000)).mine\n"
        "    os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == 9

    async def test() -> None:
        async with opened(SQLiteStore(path)) as store:
            claim = await store.claim("a", 1000)
            assert claim.mine and claim.repeated

    asyncio.run(test())


def test_of_which_owners_it_is_known_that_they_are_dead() -> None:
    host, pid, began = own_name().rsplit(" ", 2)
    assert int(pid) == os.getpid()
    assert not is_dead(own_name())
    assert is_dead(f"{host} {pid} 1{began}")  # the number was given to another process since
    assert not is_dead(f"another-{host} 999999999 1")


def test_old_rows_are_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        async with opened(SQLiteStore(tmp_path / "ids.sqlite", clock=clock)) as store:
            for number in range(998):
                await store.claim(str(number), 10)
            clock.now += 11
            await store.claim("999", 10)
            await store.claim("1000", 10)
            assert store._execute("SELECT count(*) FROM leveret_messages", ()) == [(2,)]

    asyncio.run(test())


def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not open"):
        asyncio.run(SQLiteStore(tmp_path / "ids.sqlite").claim("a", 1))


class Stores(RuleBasedStateMachine):
    """Both stores say the same, whatever is done in whatever order."""

    keys = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.loop = asyncio.new_event_loop()
        self.memory = MemoryStore(clock=self.clock)
        self.file = SQLiteStore(":memory:", clock=self.clock)
        self.loop.run_until_complete(self.file.open())

    def both(self, call: Callable[[Store], Awaitable[object]]) -> None:
        async def run(store: Store) -> object:
            return await call(store)

        first, second = (self.loop.run_until_complete(run(one)) for one in (self.memory, self.file))
        assert first == second

    @rule(key=keys, lease_s=st.integers(1, 20))
    def claim(self, key: str, lease_s: int) -> None:
        self.both(lambda store: store.claim(key, float(lease_s)))

    @rule(key=keys, ttl_s=st.integers(1, 20), body=st.none() | st.binary(max_size=3))
    def complete(self, key: str, ttl_s: int, body: bytes | None) -> None:
        answer = None if body is None else Answer("x", body)
        self.both(lambda store: store.complete(key, float(ttl_s), answer))

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.both(lambda store: store.forget(key))

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def bounded(self) -> None:
        assert len(self.memory) <= 3

    def teardown(self) -> None:
        self.loop.run_until_complete(self.file.close())
        self.loop.close()


def test_both_stores_say_the_same() -> None:
    run_state_machine_as_test(
        Stores, settings=settings(max_examples=30, stateful_step_count=20, deadline=None)
    )


# ---- the middleware


class Handler:
    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    async def __call__(self) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.calls


def middleware(store: Store, **options: Any) -> Idempotency:
    made = Idempotency(store)
    made.declared(info(), {"idempotent": True, **options})
    made.declared(info("other"), {})
    return made


def with_middleware(
    store: Store, test: Callable[[Idempotency, Handler], Awaitable[None]], **options: Any
) -> None:
    async def whole() -> None:
        made = middleware(store, **options)
        await made.started(FakeApp())
        try:
            await test(made, Handler())
        finally:
            await made.stopped()

    asyncio.run(whole())


def test_a_message_is_done_once(make: Make) -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        first, second = job(message_id="1"), job(message_id="1")
        await made.around(first, handler)
        assert await made.around(second, handler) is None
        assert handler.calls == 1
        assert second.state == {"skipped": True} and first.state == {}
        await made.around(job(message_id="2"), handler)
        assert handler.calls == 2

    with_middleware(make(Clock()), test)


def test_who_asks_twice_is_answered_twice_alike(make: Make) -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        assert await made.around(job(message_id="1", reply_to="answers"), handler) == 1
        again = await made.around(job(message_id="1", reply_to="answers"), handler)
        assert (again.body, again.content_type) == (b"1", "text/plain")

    with_middleware(make(Clock()), test)


@pytest.mark.parametrize("error", [ValueError("failed"), asyncio.CancelledError()])
def test_what_failed_or_was_given_up_is_done_again(make: Make, error: BaseException) -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        handler.error = error
        with pytest.raises(type(error)):
            await made.around(job(message_id="1"), handler)
        handler.error = None
        await made.around(job(message_id="1"), handler)
        assert handler.calls == 2

    with_middleware(make(Clock()), test)


def test_what_another_works_on_is_tried_later(make: Make) -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        await made.store.claim("send:1", 30)
        with pytest.raises(RetryLater) as error:
            await made.around(job(message_id="1"), handler)
        assert error.value.delay_s == 31.0
        assert handler.calls == 0

    with_middleware(make(Clock()), test)


def test_what_was_begun_and_never_ended_is_done_again_and_logged(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()

    async def test(made: Idempotency, handler: Handler) -> None:
        await made.store.claim("send:1", 30)
        clock.now += 31
        await made.around(job(message_id="1"), handler)
        assert handler.calls == 1
        assert "message 1 was begun before and never ended; it is done again" in caplog.text

    with_middleware(make(clock), test)


def test_a_header_can_be_the_key_and_a_message_without_is_done_every_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        for _ in range(2):
            await made.around(job(message_id="1", headers={"order": 12}), handler)
        assert handler.calls == 1
        for _ in range(2):
            await made.around(job(message_id="1"), handler)
        assert handler.calls == 3
        assert caplog.text.count("has no header 'order'") == 1

    with_middleware(MemoryStore(), test, idempotency_key="order")


def test_handlers_have_keys_of_their_own_and_others_none() -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        made.declared(info("third"), {"idempotency_key": None})
        for name in ("send", "third", "send", "third", "other", "other"):
            await made.around(job(info(name), message_id="1"), handler)
        assert handler.calls == 4

    with_middleware(MemoryStore(), test)


def test_the_time_of_a_claim_follows_the_handlers_limit() -> None:
    async def test(made: Idempotency, handler: Handler) -> None:
        limited = info(timeout_s=30.0)

        async def look() -> None:
            assert (await made.store.claim("send:1", 1)).wait_s == 60.0

        await made.around(job(limited, message_id="1"), look)
        made = Idempotency(made.store, always=True, lease_s=5)
        made.declared(limited, {})

        async def look_again() -> None:
            assert (await made.store.claim("send:2", 1)).wait_s == 5.0

        await made.around(job(limited, message_id="2"), look_again)

    with_middleware(MemoryStore(clock=Clock()), test)
