"""An event loop on a thread: what crosses to it in batches, who waits for it, and how both end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from leveret.client.thread import Box, Callbacks, LoopThread, Waiting
from leveret.errors import ClientError, Closed

WAIT_S = 20.0


async def nothing() -> None:
    pass


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread("test-loop", nothing)
    made.start()
    yield made
    made.stop()


def test_a_wait_ends_with_what_is_brought_first() -> None:
    waiting: Waiting[int] = Waiting()
    waiting.set(1)
    waiting.set(2)
    waiting.fail(KeyError())
    assert waiting.wait(WAIT_S) == 1
    failed: Waiting[int] = Waiting()
    failed.fail(KeyError("x"))
    with pytest.raises(KeyError):
        failed.wait(WAIT_S)
    with pytest.raises(TimeoutError):
        Waiting[int]().wait(0.0)


def test_a_call_returns_or_raises_what_its_coroutine_does(thread: LoopThread) -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def fail() -> None:
        raise KeyError("x")

    def broken() -> Any:
        raise IndexError("no coroutine")

    assert thread.call(answer) == "test-loop"
    with pytest.raises(KeyError):
        thread.call(fail)
    with pytest.raises(IndexError):
        thread.call(broken)
    assert not thread._waiting


def test_a_call_on_its_own_thread_is_refused(thread: LoopThread) -> None:
    async def nested() -> None:
        thread.call(nothing)

    with pytest.raises(ClientError, match="would wait for itself"):
        thread.call(nested)


def test_stopping_tells_those_who_wait_and_does_the_last_thing() -> None:
    done: list[str] = []

    async def last() -> None:
        done.append("last")

    async def ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("ended")

    thread = LoopThread("test-loop", last)
    thread.start()
    waiting: Waiting[None] = Waiting()
    thread.expect(waiting)
    thread.tell(thread._begin, ever, waiting)
    thread.call(nothing)
    thread.stop()
    thread.stop()
    with pytest.raises(Closed):
        waiting.wait(WAIT_S)
    assert done == ["last", "ended"]
    assert thread.loop.is_closed()
    box: Box[int] = Box(thread, len)
    with pytest.raises(Closed):
        thread.call(nothing)
    with pytest.raises(Closed):
        box.put(1)
    late: Waiting[None] = Waiting()
    thread.expect(late)
    with pytest.raises(Closed):
        late.wait(WAIT_S)


def test_a_box_is_emptied_once_for_all_that_was_put(thread: LoopThread) -> None:
    go, began = threading.Event(), threading.Event()
    taken: list[list[int]] = []

    def take(items: list[int]) -> int:
        taken.append(items)
        return 10 * len(items)

    box: Box[int] = Box(thread, take)

    def hold() -> None:
        began.set()
        go.wait(WAIT_S)

    thread.tell(hold)
    assert began.wait(WAIT_S)
    for number in range(5):
        box.put(number, size_bytes=10)
    assert (list(box.items), box.size_bytes) == ([0, 1, 2, 3, 4], 50)
    go.set()
    thread.call(nothing)
    box.put(5, size_bytes=10)
    thread.call(nothing)
    assert taken == [[0, 1, 2, 3, 4], [5]]
    assert (list(box.items), box.size_bytes) == ([], 0)


def test_nothing_is_lost_between_threads(thread: LoopThread) -> None:
    taken: list[tuple[int, int]] = []

    def take(items: list[tuple[int, int]]) -> int:
        taken.extend(items)
        return 0

    box: Box[tuple[int, int]] = Box(thread, take)

    def work(who: int) -> None:
        for number in range(2000):
            box.put((who, number))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_S)
    thread.call(nothing)
    assert len(taken) == 8000
    for who in range(4):
        assert [number for owner, number in taken if owner == who] == list(range(2000))


def test_callbacks_are_called_in_turn_and_their_errors_stop_nothing() -> None:
    called: list[int] = []
    callbacks = Callbacks("test-callbacks")
    for number in range(3):
        callbacks.put(lambda number=number: called.append(1 // (number - 1)))  # type: ignore[misc]
    callbacks.stop()
    assert called == [-1, 1]
    assert "test-callbacks" not in {each.name for each in threading.enumerate()}
    Callbacks("never-used").stop()
