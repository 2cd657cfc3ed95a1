"""Copies of messages, for another try or as dead letters: neither they nor the message are lost to what queues refuse."""

from __future__ import annotations

import pytest

from leveret.client import Client, Queue
from leveret.client.targets import Target
from leveret.embed import Broker
from tests.client.inside import run, run_with_broker
from tests.client.test_consuming import ready

OWN = [
    Queue("q", deduplicate_s=600),
    Queue("q", unique="refuse"),
    Queue("q", unique="replace"),
]


@pytest.mark.parametrize("queue", OWN, ids=lambda queue: f"{queue.unique or 'window'}")
def test_a_retry_is_no_duplicate_of_the_message(queue: Queue) -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            await client.declare_queue(queue)
            options = {"unique": "k"} if queue.unique else {}
            await client.publish("q", "old", message_id="mine", **options)  # type: ignore[arg-type]
            old = await client.get("q")
            assert old is not None
            if queue.unique:  # what came meanwhile has the key now, and keeps it
                await client.publish("q", "new", message_id="other", unique="k")
            await old.retry(delay_s=60)
            await broker.advance(61)
            found = []
            for _ in range(2 if queue.unique else 1):
                message = await client.get("q", timeout_s=5)
                assert message is not None
                found.append((message.data, message.attempts))
                message.ack()
            assert sorted(found) == [("new", 1), ("old", 2)][0 if queue.unique else 1 :]
            await ready(client, 0)

    run_with_broker(work)


def test_a_dead_letter_is_no_duplicate_either() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(Queue("graves", deduplicate_s=600))
        await client.declare_queue("q")
        for _ in range(2):
            await client.publish("q", "x", message_id="mine")
            message = await client.get("q")
            assert message is not None
            await message.move("graves", {"x-attempts": message.attempts})
        await ready(client, 2, "graves")

    run(work)


def test_what_cannot_be_moved_is_not_tried_again_before_its_time() -> None:
    """Or it would go round as fast as its copy is refused."""

    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish("q", "x")
        message = await client.get("q")
        assert message is not None
        await message.move(Target("", "nowhere"), {}, delay_s=3600)
        await ready(client, 0)
        assert await client.get("q") is None
        await client.publish("q", "y")
        message = await client.get("q")
        assert message is not None
        await message.move(Target("", "nowhere"), {})
        again = await client.get("q", timeout_s=5)
        assert again is not None
        assert again.data == "y"

    run(work)
