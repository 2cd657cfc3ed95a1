"""The client against a real RabbitMQ: what it does instead of what only Leveret has, and what it refuses.

RABBITMQ_URLS names more nodes (with a space between them); Debian's is started where it is installed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import leveret
from leveret.errors import NotConfirmed, Refused, Unroutable, Unsupported

from ..compat.broker import Address, parse_url
from ..compat.waiting import eventually_async
from ..differential.brokers import RabbitMQ
from .matrix.brokers import RABBITMQ, Side, side_of
from .matrix.harness import make_client, nothing_left, run

VARIABLE: Final = "RABBITMQ_URLS"
NODES: Final[list[str]] = [*(["debian"] if RABBITMQ.exists() else []), *os.environ.get(VARIABLE, "").split()]
DEADLINE_S: Final = 20.0

pytestmark = pytest.mark.skipif(not NODES, reason=f"no RabbitMQ is installed, and {VARIABLE} names none")


@pytest.fixture(scope="module", params=NODES or ["none"])
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    if request.param != "debian":
        yield parse_url(request.param)
        return
    with tempfile.TemporaryDirectory(prefix="leveret-rabbitmq-", ignore_cleanup_errors=True) as folder:
        node = RabbitMQ(Path(folder) / "node")
        try:
            yield node.start()
        finally:
            node.stop()


@pytest.fixture(scope="module")
def side(address: Address) -> Iterator[Side]:
    with side_of(address) as side:
        yield side


@pytest.fixture
def queue(side: Side, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a queue that does not exist yet, and of those that the client makes for it."""
    name = f"rabbitmq-{os.getpid()}-{request.node.originalname}"
    yield name
    delays = [f"leveret.delay.{ms}.{name}" for ms in (50, 100, 200, 300)]
    side.delete(name, f"{name}.dead", *delays)


Test = Callable[[leveret.Client], Coroutine[Any, Any, None]]


def connected(address: Address, test: Test) -> None:
    async def main() -> None:
        async with nothing_left(), asyncio.timeout(DEADLINE_S), make_client(address.url) as client:
            await test(client)

    run(main())


def test_what_it_is_and_offers_is_told(address: Address) -> None:
    async def test(client: leveret.Client) -> None:
        assert client.server.product == "RabbitMQ"
        assert client.server.version.split(".")[0] in ("3", "4")
        features = client.features
        assert not (features.delays or features.retry or features.groups or features.unique)

    connected(address, test)


def test_a_delayed_message_comes_by_a_queue_with_a_time_to_live(
    address: Address, side: Side, queue: str
) -> None:
    async def test(client: leveret.Client) -> None:
        await client.declare_queue(leveret.Queue(queue))
        await client.publish(queue, b"later", delay_s=0.2)
        assert side.exists(f"leveret.delay.200.{queue}")
        async with client.consume(queue) as messages:
            message = await anext(aiter(messages))
            assert (message.body, message.queue) == (b"later", queue)
            message.ack()

    connected(address, test)


def test_delays_of_different_lengths_do_not_wait_for_each_other(address: Address, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        await client.declare_queue(leveret.Queue(queue))
        client.post(queue, b"second", delay_s=0.3)
        client.post(queue, b"first", delay_s=0.05)
        await client.flush()
        async with client.consume(queue) as messages:
            stream = aiter(messages)
            seen = [await anext(stream) for _ in range(2)]
            assert [message.body for message in seen] == [b"first", b"second"]
            for message in seen:
                message.ack()

    connected(address, test)


def test_a_retry_comes_again_and_counts(address: Address, side: Side, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        await client.declare_queue(leveret.Queue(queue))
        await client.publish(queue, b"work", message_id="the same", headers={"kept": 1})
        async with client.consume(queue) as messages:
            stream = aiter(messages)
            for attempt in (1, 2, 3):
                message = await anext(stream)
                assert (message.body, message.message_id, message.attempts) == (b"work", "the same", attempt)
                assert message.headers["kept"] == 1
                if attempt < 3:
                    await message.retry(delay_s=0.1)
            message.ack()
        assert client.stats.retried == 2
        await eventually_async(lambda: side.count(queue) == 0, "the queue is empty")

    connected(address, test)


def test_a_retry_policy_is_kept_by_the_client_and_ends_among_the_dead_letters(
    address: Address, side: Side, queue: str
) -> None:
    async def test(client: leveret.Client) -> None:
        retry = leveret.Retry(max=2, backoff="fixed", delay_s=0.05)
        spec = leveret.Queue(queue, retry=retry)
        await client.declare_queue(spec)
        await client.publish(queue, b"poison")
        seen: list[int] = []

        async def fail() -> None:
            async with client.consume(spec) as messages:
                async for message in messages:
                    seen.append(message.attempts)
                    message.retry()

        failing = asyncio.ensure_future(fail())
        await eventually_async(lambda: side.count(f"{queue}.dead") == 1, "it is among the dead letters")
        assert seen == [1, 2, 3]
        failing.cancel()
        await asyncio.wait({failing})
        dead = await client.get(f"{queue}.dead")
        assert dead is not None and dead.body == b"poison"
        assert dead.headers["x-attempts"] == 3
        dead.ack()

    connected(address, test)


def test_what_is_rejected_goes_to_the_dead_letters(address: Address, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        spec = leveret.Queue(queue, dead_letter=f"{queue}.dead")
        await client.declare_queue(spec)
        await client.publish(queue, b"bad")
        async with client.consume(spec) as messages:
            await (await anext(aiter(messages))).reject("will never do")
        dead = await client.get(f"{queue}.dead", timeout_s=5)
        assert dead is not None and dead.body == b"bad"
        dead.ack()

    connected(address, test)


@pytest.mark.parametrize("options", [{"group": "a"}, {"unique": "a"}], ids=str)
def test_messages_of_a_group_or_unique_ones_are_refused(
    address: Address, queue: str, options: dict[str, Any]
) -> None:
    async def test(client: leveret.Client) -> None:
        with pytest.raises(Unsupported, match="RabbitMQ"):
            await client.publish(queue, b"1", **options)
        with pytest.raises(Unsupported, match="RabbitMQ"):
            client.post(queue, b"1", **options)

    connected(address, test)


@pytest.mark.parametrize("options", [{"groups": True}, {"unique": "reject"}, {"deduplicate_s": 5.0}], ids=str)
def test_queues_with_what_only_leveret_has_are_refused(
    address: Address, side: Side, queue: str, options: dict[str, Any]
) -> None:
    async def test(client: leveret.Client) -> None:
        with pytest.raises(Unsupported, match="RabbitMQ"):
            await client.declare_queue(leveret.Queue(queue, **options))
        assert not side.exists(queue)

    connected(address, test)


def test_a_selector_is_refused(address: Address, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        with pytest.raises(Unsupported, match="selector"):
            async with client.subscribe("a.*", name=queue, selector="x > 1"):
                pass

    connected(address, test)


def test_calls_are_answered_by_direct_reply_to(address: Address, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        await client.declare_queue(leveret.Queue(queue))

        async def answer() -> None:
            async for message in client.consume(queue):
                async with message:
                    await message.reply({"got": message.data})

        answering = asyncio.ensure_future(answer())
        replies = await asyncio.gather(*[client.call(queue, {"n": n}, timeout_s=10) for n in range(20)])
        assert [reply.data for reply in replies] == [{"got": {"n": n}} for n in range(20)]
        answering.cancel()
        await asyncio.wait({answering})

    connected(address, test)


def test_headers_select_what_a_subscription_gets(address: Address, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        async with client.subscribe(
            name=queue, exchange="amq.headers", headers={"country": "at", "urgent": True}, match="all"
        ) as messages:
            to = leveret.exchange("amq.headers", "")
            await client.publish(to, b"no", headers={"country": "at"}, mandatory=False)
            await client.publish(to, b"yes", headers={"country": "at", "urgent": True})
            message = await anext(aiter(messages))
            assert message.body == b"yes"
            message.ack()

    connected(address, test)


def test_what_the_broker_refuses_is_an_error_that_says_so(address: Address, side: Side, queue: str) -> None:
    async def test(client: leveret.Client) -> None:
        with pytest.raises(Unroutable, match=queue):
            await client.publish(queue, b"1")
        await client.declare_queue(
            leveret.Queue(queue, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        )
        await client.publish(queue, b"1")
        with pytest.raises(NotConfirmed, match=queue):
            await client.publish(queue, b"2")
        with pytest.raises(Refused, match="PRECONDITION_FAILED") as caught:
            await client.declare_queue(leveret.Queue(queue, durable=False))
        assert caught.value.code == 406
        assert side.count(queue) == 1

    connected(address, test)
