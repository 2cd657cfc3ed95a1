"""Prefetch that follows the work, where others wait for the same messages."""

from __future__ import annotations

import pytest

from leveret.client import Client, Queue
from leveret.client.consumer import ALONE
from tests.client.inside import run, until
from tests.client.test_consuming import fill, ready


def test_who_has_become_slow_gives_back_what_is_too_much() -> None:
    async def work(client: Client) -> None:
        consumer = client.consume("q")
        consumer.prefetch.count = 100  # as it was while the work was quick
        await fill(client, 150)
        await consumer.start()
        await until(lambda: len(consumer.ready) == 100)
        first = await consumer.take()
        consumer.prefetch._since_s -= 10  # nothing came and nothing was taken for ten seconds
        consumer._look()
        await until(lambda: len(consumer.ready) <= 1)
        assert consumer.prefetch.count <= 2
        await ready(client, 150 - 1 - len(consumer.ready))
        other = await client.get("q")
        assert other is not None and other.data == 1 + len(consumer.ready)
        assert other.headers.get("x-retry-count") is None
        other.ack()
        first.ack()
        found: list[int] = []
        while len(found) < 148:
            message = await consumer.take()
            found.append(int(str(message.data)))
            message.ack()
        assert sorted(found) == [n for n in range(150) if n not in (0, other.data)]
        await consumer.close()

    run(work)


def test_who_keeps_up_gives_nothing_back() -> None:
    async def work(client: Client) -> None:
        await fill(client, 100)
        consumer = client.consume("q")
        await consumer.start()
        await until(lambda: len(consumer.ready) == consumer.prefetch.count)
        before = list(consumer.ready)
        for _ in range(8):
            (await consumer.take()).ack()
        consumer.prefetch._since_s -= 0.06
        consumer._look()
        assert list(consumer.ready)[: len(before) - 8] == before[8:]
        await consumer.close()

    run(work)


@pytest.mark.parametrize(
    "queue", [Queue("q", single_active=True), Queue("q", arguments={"x-single-active-consumer": True})]
)
def test_a_single_active_consumer_does_not_hand_its_turn_on_to_adapt(queue: Queue) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(queue)
        async with client.consume(queue) as one, client.consume(queue) as two:
            await client.publish_many("q", range(2 * ALONE))
            for number in range(2 * ALONE):
                message = await one.take()
                assert message.data == number
                message.ack()
                one._look()
            assert not two.ready
            assert (one.prefetch.is_auto, one.prefetch.count) == (False, ALONE)

    run(work)


def test_a_number_that_was_given_is_kept() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(Queue("q", single_active=True))
        consumer = client.consume(Queue("q", single_active=True), prefetch=3)
        assert consumer.prefetch.count == 3

    run(work)
