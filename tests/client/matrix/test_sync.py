"""The client for code without an event loop, through the same proxy: what the matrix proves holds for it, too.

It is a thread around the client that the matrix is about, so a part of the points will do. The proxy lives in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import pytest

import leveret
from leveret.errors import Disconnected, Refused, Stale

from ...compat.broker import Address
from ...compat.waiting import eventually
from . import faults
from .brokers import Side
from .faults import Fault
from .proxy import Point, Proxy, Strike

T = TypeVar("T")
WINDOW: Final = 40
DEADLINE_S: Final = 20.0
FAULTS: Final[dict[str, Fault]] = {
    "fin": faults.fin,
    "reset": faults.reset,
    "half-open": faults.silence,
    "close-320": faults.connection_close(320),
}
_numbers = itertools.count()


class Threaded:
    """A proxy in a loop of its own."""

    def __init__(self, target: Address) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.proxy = self.call(self._open(target))

    async def _open(self, target: Address) -> Proxy:
        proxy = await Proxy(target).__aenter__()
        proxy.heartbeat_s = 0.05
        return proxy

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def at(self, point: Point, fault: Fault) -> Strike:
        async def plan() -> Strike:
            return self.proxy.at(point, fault)

        return self.call(plan())

    def happened(self, strike: Strike) -> None:
        self.call(strike.happened())

    def close(self) -> None:
        self.call(self.proxy.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()


@pytest.fixture
def proxy(address: Address) -> Iterator[Threaded]:
    proxy = Threaded(address)
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: Threaded) -> Iterator[leveret.SyncClient]:
    with leveret.connect_sync(
        proxy.proxy.url, reconnect=leveret.Backoff(first_s=0.01, max_s=0.05), heartbeat_s=0.2
    ) as client:
        yield client


@pytest.fixture
def queue(side: Side) -> Iterator[str]:
    name = f"sync-{os.getpid()}-{next(_numbers)}"
    side.declare(name)
    yield name
    side.delete(name)


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    return FAULTS[request.param]


def insist(ask: Callable[[], T]) -> T:
    for _ in range(20):
        with contextlib.suppress(Disconnected, Refused):
            return ask()
    raise AssertionError("refused 20 times")


def in_time(work: Callable[[], T]) -> T:
    """In a thread of its own, so that what hangs fails."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(DEADLINE_S)


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_publishing_goes_on(
    client: leveret.SyncClient, proxy: Threaded, side: Side, queue: str, fault: Fault, when: Any
) -> None:
    strike = proxy.at(Point("client", "body", when), fault)
    in_time(lambda: client.publish(queue, b"one", message_id="one"))
    proxy.happened(strike)
    found = side.take_all(queue)
    assert set(found) == {("one", b"one")}
    assert client.stats.reconnects == 1


def test_what_was_posted_arrives(
    client: leveret.SyncClient, proxy: Threaded, side: Side, queue: str, fault: Fault
) -> None:
    strike = proxy.at(Point("client", "basic.publish", "middle", WINDOW // 2), fault)
    for number in range(WINDOW):
        client.post(queue, b"%d" % number)
    in_time(lambda: client.flush(timeout_s=DEADLINE_S))
    proxy.happened(strike)
    found = side.take_all(queue)
    assert {body for _, body in found} == {b"%d" % number for number in range(WINDOW)}
    assert len({message_id for message_id, _ in found}) == WINDOW
    assert client.stats.confirmed == WINDOW


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_consuming_goes_on(
    client: leveret.SyncClient, proxy: Threaded, side: Side, queue: str, fault: Fault, when: Any
) -> None:
    bodies = [b"%d" % number for number in range(WINDOW)]
    side.publish(queue, *bodies)
    strike = proxy.at(Point("server", "body", when, WINDOW // 2), fault)

    def work() -> tuple[set[bytes], int]:
        done: set[bytes] = set()
        stale = 0
        for message in client.consume(queue, prefetch=10):
            try:
                message.ack()
                done.add(message.body)
            except Stale:
                stale += 1
            if done == set(bodies):
                break
        return done, stale

    done, _ = in_time(work)
    proxy.happened(strike)
    assert done == set(bodies)
    assert client.stats.reconnects == 1


def test_acks_of_an_old_connection_are_refused(
    client: leveret.SyncClient, proxy: Threaded, side: Side, queue: str, fault: Fault
) -> None:
    side.publish(queue, b"one")
    message = in_time(lambda: client.get(queue))
    assert message is not None
    strike = proxy.at(Point("client", "basic.publish", "before"), fault)
    in_time(lambda: client.publish(queue, b"two"))
    proxy.happened(strike)
    with pytest.raises(Stale):
        message.ack()
    eventually(lambda: side.count(queue) == 2, "what was not acked is back")


@pytest.mark.parametrize("name", ["basic.get", "queue.declare", "queue.bind", "queue.purge", "queue.delete"])
def test_what_is_asked_is_answered(
    client: leveret.SyncClient, proxy: Threaded, side: Side, queue: str, fault: Fault, name: str
) -> None:
    asks: dict[str, Callable[[], object]] = {
        "basic.get": lambda: client.get(queue),
        "queue.declare": lambda: client.declare_queue(queue),
        "queue.bind": lambda: client.bind(queue, "amq.topic", queue),
        "queue.purge": lambda: client.purge(queue),
        "queue.delete": lambda: client.delete_queue(queue),
    }
    strike = proxy.at(Point("client", name, "after"), fault)
    in_time(lambda: insist(asks[name]))
    proxy.happened(strike)
    assert side.exists(queue) == (name != "queue.delete")
