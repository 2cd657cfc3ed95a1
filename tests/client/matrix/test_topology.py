"""What the client uses is taken from under it: queues and exchanges deleted, cancels, messages that end a channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

import leveret
from leveret.errors import Refused, Stale, Unroutable

from ...compat.broker import Address
from ...compat.waiting import eventually_async
from . import faults
from .brokers import Side
from .harness import Case, deadline, nothing_left, run
from .link import Link
from .proxy import Point, Proxy, Strike

WINDOW: Final = 40


@contextlib.asynccontextmanager
async def case_at(address: Address, side: Side, **options: Any) -> AsyncIterator[Case]:
    """A case whose standing consumer stands."""
    async with nothing_left(), Proxy(address) as proxy:
        case = Case(proxy, side, options)
        try:
            async with deadline(case):
                async with case.client:
                    await case.standing.start()
                    yield case
                    await case.standing.stop()
                await asyncio.gather(*[link.ends["client"].left.wait() for link in proxy.links])
        finally:
            case.clean()


async def meanwhile(strike: Strike, do: Callable[[], object]) -> Link:
    """What the world does while the line is held."""
    link = await strike.happened()
    do()
    link.release()
    return link


def test_a_queue_that_is_deleted_is_declared_bound_and_consumed_again(address: Address, side: Side) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            for _ in range(3):
                side.delete(case.standing.queue)
                await case.standing.resumed()
            assert case.client.stats.reconnects == 0
            assert case.standing.held is not None
            with contextlib.suppress(Stale):
                case.standing.held.ack()

    run(main())


@pytest.mark.parametrize(
    "point",
    [
        Point("server", "queue.declare_ok", "before"),
        Point("server", "queue.declare_ok", "before", 2),
        Point("server", "queue.bind_ok", "before"),
        Point("client", "basic.consume", "before"),
        Point("server", "basic.consume_ok", "before"),
        Point("server", "basic.consume_ok", "after"),
    ],
    ids=str,
)
def test_a_queue_is_deleted_while_it_is_declared_again(address: Address, side: Side, point: Point) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            strike = case.proxy.at(point, faults.hold)
            case.proxy.strike_all(faults.reset)
            await meanwhile(strike, lambda: side.delete(case.standing.queue))
            await case.standing.resumed()

    run(main())


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_a_queue_is_deleted_while_a_message_comes(address: Address, side: Side, when: Any) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queue = case.queue()
            seen: list[bytes] = []

            async def take() -> None:
                async for message in case.client.consume(queue, prefetch=1):
                    seen.append(message.body)
                    with contextlib.suppress(Stale):
                        message.ack()

            taking = asyncio.ensure_future(take())
            await eventually_async(lambda: side.consumers(queue) == 1, "it is consumed from")
            strike = case.proxy.at(Point("server", "body", when), faults.hold)
            side.publish(queue, b"one", b"two")
            await meanwhile(strike, lambda: side.delete(queue))
            await eventually_async(
                lambda: side.publish(queue, b"three") and b"three" in seen, "it is there again"
            )
            taking.cancel()
            await asyncio.wait({taking})
            await case.standing.resumed()

    run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_to_a_deleted_queue_is_reported(address: Address, side: Side, when: Any) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queue, other = case.queue(), case.queue("other")
            strike = case.proxy.at(Point("client", "body", when, WINDOW), faults.hold)
            for number in range(WINDOW):
                case.client.post(queue if number % 2 else other, b"%d" % number)
            await meanwhile(strike, lambda: side.delete(queue))
            await case.client.flush()
            assert len(case.outcomes) == WINDOW
            lost = [outcome for outcome in case.outcomes if not outcome.ok]
            assert all(isinstance(outcome.error, Unroutable) and outcome.to == queue for outcome in lost)
            assert len(lost) >= (1 if when == "before" else 0)
            assert side.count(other) == WINDOW // 2
            stats = case.client.stats
            assert (stats.unroutable, stats.confirmed, stats.refused) == (len(lost), WINDOW - len(lost), 0)
            with pytest.raises(Unroutable):
                await case.client.publish(queue, b"nobody")

    run(main())


@pytest.mark.parametrize("place", [0, WINDOW // 2, WINDOW - 1])
def test_a_message_that_ends_the_channel_is_the_only_one_refused(
    address: Address, side: Side, place: int
) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queue, missing = case.queue(), case.name("exchange-that-is-not-there")
            for number in range(WINDOW):
                to: Any = leveret.exchange(missing, "key") if number == place else queue
                case.client.post(to, str(number))
            await case.client.flush()
            refused = [outcome for outcome in case.outcomes if not outcome.ok]
            assert [outcome.body for outcome in refused] == [str(place)]
            assert isinstance(refused[0].error, Refused) and refused[0].error.code == 404
            bodies = {int(body) for _, body in side.take_all(queue)}
            assert bodies == set(range(WINDOW)) - {place}
            assert case.client.stats.reconnects == 0
            await case.client.publish(queue, b"later")
            await case.standing.resumed()

    run(main())


def test_pulling_from_a_queue_that_is_gone_is_refused_and_works_when_it_is_back(
    address: Address, side: Side
) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queue = case.queue()
            assert await case.client.get(queue) is None
            side.delete(queue)
            with pytest.raises(Refused, match=queue) as caught:
                await case.client.get(queue)
            assert caught.value.code == 404
            side.declare(queue)
            side.publish(queue, b"one")
            message = await case.client.get(queue)
            assert message is not None
            message.ack()

    run(main())


def test_a_queue_that_somebody_has_declared_otherwise_is_used_as_it_is(address: Address, side: Side) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queue = case.name("queue")
            spec = leveret.Queue(queue)
            await case.client.declare_queue(spec)
            strike = case.proxy.at(Point("client", "greeting", "before"), faults.hold)
            case.proxy.strike_all(faults.reset)

            def change() -> None:
                side.delete(queue)
                side.declare(queue, **{"x-max-length": 10})

            await meanwhile(strike, change)
            await case.standing.resumed()
            await case.client.publish(queue, b"one")
            assert side.count(queue) == 1

    run(main())


def test_an_exclusive_queue_comes_back_when_the_broker_has_let_go_of_it(address: Address, side: Side) -> None:
    """The broker does not know yet that the old connection is dead, and keeps the queue for it."""

    async def main() -> None:
        async with case_at(address, side, heartbeat_s=0.4) as case:
            case.proxy.heartbeat_s = 0.1
            case.proxy.strike_all(faults.reset)
            await case.standing.resumed()
            seen: list[bytes] = []

            async def take() -> None:
                async for message in case.client.subscribe("exclusive.*"):
                    seen.append(message.body)
                    with contextlib.suppress(Stale):
                        message.ack()

            taking = asyncio.ensure_future(take())

            def there(body: bytes) -> bool:
                assert not taking.done()
                return body in seen or (
                    side.publish("exclusive.1", body, exchange="amq.topic") and body in seen
                )

            await eventually_async(lambda: there(b"one"), "it is subscribed")
            case.proxy.strike_all(faults.orphan)
            await eventually_async(lambda: there(b"two"), "it is subscribed again", 15)
            taking.cancel()
            await asyncio.wait({taking})

    run(main())


def test_consumers_go_on_when_all_of_them_are_cancelled_at_once(address: Address, side: Side) -> None:
    async def main() -> None:
        async with case_at(address, side) as case:
            queues = [case.queue(f"queue-{number}") for number in range(10)]
            seen: dict[str, set[bytes]] = {queue: set() for queue in queues}

            async def take(queue: str) -> None:
                async for message in case.client.consume(queue, prefetch="auto"):
                    seen[queue].add(message.body)
                    with contextlib.suppress(Stale):
                        message.ack()

            taking = [asyncio.ensure_future(take(queue)) for queue in queues]
            for body in (b"1", b"2", b"3"):
                for queue in queues:
                    await eventually_async(lambda: side.consumers(queue) == 1, "it is consumed from")  # noqa: B023
                    side.publish(queue, body)
                await eventually_async(lambda: all(body in found for found in seen.values()), "all came")  # noqa: B023
                side.delete(*queues)
            for task in taking:
                task.cancel()
            await asyncio.wait(taking)
            await case.standing.resumed()

    run(main())
