"""Taking messages: consumers over all connections, pulling, subscriptions, and what settling makes of a message."""

from __future__ import annotations

import asyncio
import gc

import pytest

from leveret.client import Client, Message, Queue, Retry, exchange, topic
from leveret.client.prefetch import FIRST, MOST, Prefetch
from leveret.embed import Broker
from leveret.errors import Closed, InvalidMessage, Refused, Stale, Unsupported
from tests.client.inside import QUICKLY, cut, run, run_with_broker, until, until_async


async def fill(client: Client, count: int, queue: str = "q") -> None:
    await client.declare_queue(queue)
    await client.publish_many(queue, range(count))


async def ready(client: Client, count: int, queue: str = "q") -> None:
    """Wait until so many messages are in the queue and with nobody."""

    async def there() -> bool:
        return (await client.look_at_queue(queue)).messages == count

    await until_async(there)


async def getting(client: Client) -> asyncio.Task[Message | None]:
    """A get that waits for a message of an empty queue."""
    await client.declare_queue("q")
    task = asyncio.create_task(client.get("q", timeout_s=20))

    async def waits() -> bool:
        return (await client.look_at_queue("q")).consumers == 1

    await until_async(waits)
    return task


def test_messages_come_in_order_and_acks_are_kept() -> None:
    async def work(client: Client) -> None:
        await fill(client, 500)
        found: list[object] = []
        async for message in client.consume("q"):
            found.append(message.data)
            message.ack()
            if len(found) == 500:
                break
        assert found == list(range(500))
        await ready(client, 0)
        stats = client.stats
        assert (stats.delivered, stats.acked) == (500, 500)

    run(work)


def test_leaving_the_loop_gives_back_what_was_not_handed_out() -> None:
    async def work(client: Client) -> None:
        await fill(client, 10)
        async for message in client.consume("q", prefetch=5):
            message.ack()
            break
        gc.collect()
        await ready(client, 9)
        assert (await client.look_at_queue("q")).consumers == 0

    run(work)


def test_a_consumer_may_be_iterated_over_again() -> None:
    async def work(client: Client) -> None:
        await fill(client, 3)
        consumer = client.consume("q", prefetch=1)
        found = []
        for _ in range(3):
            async for message in consumer:
                found.append(message.data)
                await message.ack()
                break
        assert found == [0, 1, 2]

    run(work)


def test_what_was_handed_out_can_be_settled_after_the_end() -> None:
    async def work(client: Client) -> None:
        await fill(client, 3)
        async with client.consume("q", prefetch=2) as consumer:
            first, second = await consumer.take(), await consumer.take()
        first.ack()
        second.release()
        await ready(client, 2)
        assert client.link is not None
        link = client.link
        await until(lambda: all(number < 8 for number in link.inbox.channels))  # its channel is closed

    run(work)


def test_messages_in_batches() -> None:
    async def work(client: Client) -> None:
        await fill(client, 100)
        consumer = client.consume("q", prefetch=50)
        found: list[object] = []
        assert [message.ack() and message.data for message in await consumer.many(2)] == [0, 1]
        found = [0, 1]
        while len(found) < 100:
            batch = await consumer.many()
            found += [message.data for message in batch]
            for message in batch:
                message.ack()
        assert found == list(range(100))
        await consumer.close()
        with pytest.raises(StopAsyncIteration):
            await consumer.many()

    run(work)


def test_without_acks() -> None:
    async def work(client: Client) -> None:
        await fill(client, 3)
        async with client.consume("q", auto_ack=True) as consumer:
            assert [(await consumer.take()).settled for _ in range(3)] == [True] * 3
        await ready(client, 0)

    run(work)


def test_what_is_wrong_with_a_queue_is_raised_where_it_is_consumed() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue(Queue("q", max_length=5))
        client.control.record.queues.clear()
        async with client.consume("q"):
            pass  # by its name alone: as it is
        with pytest.raises(Refused, match="x-max-length") as caught:
            async with client.consume(Queue("q", max_length=6)):
                pass
        assert caught.value.code == 406
        with pytest.raises(Refused, match="it is there with other settings: declare it as it is") as caught:
            await client.declare_queue(Queue("q", max_length=6))
        assert caught.value.code == 406
        with pytest.raises(Refused) as caught:
            async for _ in client.consume("missing", declare=False):
                pass
        assert caught.value.code == 404
        async with client.consume("q", exclusive=True):
            with pytest.raises(Refused) as caught:
                await client.consume("q").start()
            assert caught.value.code == 403
        with pytest.raises(InvalidMessage, match="name"):
            client.consume("")
        with pytest.raises(ValueError, match="prefetch"):
            client.consume("q", prefetch=-1)
        async with client.consume("made here"):
            assert (await client.look_at_queue("made here")).consumers == 1

    run(work)


def test_consuming_goes_on_over_connections_with_everything_declared_again() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect(reconnect=QUICKLY) as client, broker.connect() as other:
            consumer = client.subscribe("orders.#", name="billing")
            await consumer.start()
            await client.publish(topic("orders.1"), 1)
            first = await consumer.take()
            await cut(client)
            await other.delete_queue("billing")
            await until(lambda: client.connected)
            with pytest.raises(Stale):
                first.ack()

            async def bound() -> bool:
                await client.publish(topic("orders.2"), 2)
                return client.stats.delivered >= 2

            await until_async(bound)
            assert (await consumer.take()).data == 2
            assert client.stats.reconnects == 1

    run_with_broker(work)


def test_a_deleted_queue_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        consumer = client.consume("q")
        await consumer.start()
        record = client.control.record.queues["q"]
        await client.delete_queue("q")  # and the server cancels
        client.control.record.queues["q"] = record

        async def there() -> bool:
            try:
                return (await client.look_at_queue("q")).consumers == 1
            except Refused:
                return False

        await until_async(there)
        await client.publish("q", "again")
        message = await consumer.take()
        assert message.data == "again"

    run(work)
    assert "cancelled" in caplog.text


def test_closing_the_client_ends_its_loops() -> None:
    async def work(broker: Broker) -> None:
        client = broker.connect()
        await client.open()
        consumer = client.consume("q")
        await consumer.start()

        async def loop() -> str:
            async for _ in consumer:
                pass
            return "ended"

        task = asyncio.create_task(loop())
        await asyncio.sleep(0)
        await client.close()
        assert await task == "ended"
        with pytest.raises(Closed):
            client.consume("q")

    run_with_broker(work)


def test_pulling() -> None:
    async def work(client: Client) -> None:
        await fill(client, 5)
        message = await client.get("q")
        assert message is not None and message.data == 0
        message.release()
        assert [each.data async for each in client.drain("q", limit=3)] == [0, 1, 2]
        assert [each.data async for each in client.drain("q")] == [3, 4]
        assert [each.data async for each in client.drain("q")] == []
        assert [each.data async for each in client.drain("q", limit=0)] == []
        assert await client.get("q") is None
        assert await client.get("q", timeout_s=0.01) is None
        with pytest.raises(Refused) as caught:
            await client.get("missing")
        assert caught.value.code == 404
        with pytest.raises(Refused):
            async for _ in client.drain("missing"):
                pass

    run(work)


def test_pulling_waits_as_long_as_it_is_told_to() -> None:
    async def work(client: Client) -> None:
        task = await getting(client)
        await client.publish("q", "late")
        message = await task
        assert message is not None and message.data == "late"
        message.ack()
        await ready(client, 0)

    run(work)


def test_a_drain_that_is_left_gives_back_what_it_asked_for() -> None:
    async def work(client: Client) -> None:
        await fill(client, 100)
        messages = client.drain("q")
        async for message in messages:
            message.ack()
            break
        await messages.aclose()  # type: ignore[attr-defined]
        await ready(client, 99)

    run(work)


def test_subscriptions_get_copies_by_pattern() -> None:
    async def work(client: Client) -> None:
        async with client.subscribe("orders.*.created") as one, client.subscribe("#") as all_of_them:
            await client.publish(topic("orders.eu.created"), 1)
            await client.publish(topic("orders.eu.paid"), 2)
            assert (await one.take()).data == 1
            assert [(await all_of_them.take()).key for _ in range(2)] == [
                "orders.eu.created",
                "orders.eu.paid",
            ]
        with pytest.raises(Unsupported, match="selector"):
            client.subscribe("#", selector="a = 1")

    run(work)


def test_subscriptions_by_headers() -> None:
    async def work(client: Client) -> None:
        both = client.subscribe(headers={"kind": "order", "eu": True})
        either = client.subscribe(headers={"kind": "order", "eu": True}, match="any")
        async with both, either:
            await client.publish(exchange("amq.headers"), 1, headers={"kind": "order"})
            await client.publish(exchange("amq.headers"), 2, headers={"kind": "order", "eu": True})
            assert (await both.take()).data == 2
            assert [(await either.take()).data for _ in range(2)] == [1, 2]

    run(work)


def test_a_named_subscription_gathers_while_nobody_is_there() -> None:
    async def work(client: Client) -> None:
        async with client.subscribe("news", name="archive"):
            pass
        await client.publish(topic("news"), "kept")
        async with client.subscribe("news", name="archive") as again:
            assert (await again.take()).data == "kept"
        async with client.subscribe("news"):
            assert len(client.control.record.bindings) == 2

    run(work)


# ---- what becomes of a message


def test_retries_are_the_brokers_where_the_queue_has_a_policy() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            queue = Queue("q", retry=Retry(max=2, delay_s=10, backoff="fixed"))
            await client.declare_queue(queue)
            await client.publish("q", "job")
            consumer = client.consume("q")
            seen = []
            for _ in range(3):
                message = await consumer.take()
                seen.append(message.attempts)
                await message.retry()
                await until_async(lambda: asleep_or_dead(client))
                await broker.advance(11)
            assert seen == [1, 2, 3]
            dead = await client.get("q.dead", timeout_s=5)
            assert dead is not None
            history = dead.headers["x-retry-history"]
            assert isinstance(history, list) and len(history) == 3

    async def asleep_or_dead(client: Client) -> bool:
        await client.look_at_queue("q")
        return True

    run_with_broker(work)


def test_a_retry_with_a_delay_of_its_own_is_a_copy() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            await client.declare_queue("q")
            await client.publish("q", {"n": 1}, headers={"h": 1}, message_id="mine", type="t")
            first = await client.get("q")
            assert first is not None
            await first.retry(delay_s=60)
            assert await client.get("q") is None
            await broker.advance(61)
            second = await client.get("q", timeout_s=5)
            assert second is not None
            assert (second.data, second.message_id, second.type, second.attempts) == (
                {"n": 1},
                "mine",
                "t",
                2,
            )
            assert second.headers["h"] == 1
            second.ack()
            await ready(client, 0)

    run_with_broker(work)


def test_a_rejected_message_goes_to_the_dead_letters_with_its_reason() -> None:
    async def work(client: Client) -> None:
        queue = Queue("q", dead_letter="graves")
        await client.declare_queue(queue)
        await client.publish_many("q", ["with", "without"])
        async with client.consume(queue) as consumer:
            await (await consumer.take()).reject("no such customer")
            await (await consumer.take()).reject()
        await ready(client, 2, "graves")
        first, second = [message async for message in client.drain("graves")]
        assert first.headers == {
            "x-attempts": 1,
            "x-failed-queue": "q",
            "x-reject-reason": "no such customer",
        }
        assert (first.data, second.data) == ("with", "without")
        assert client.stats.rejected == 2

    run(work)


def test_a_rejected_message_without_dead_letters_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        await fill(client, 1)
        message = await client.get("q")
        assert message is not None
        message.reject("of no use")
        await ready(client, 0)

    run(work)
    assert "of no use" in caplog.text


def test_a_copy_that_no_queue_takes_leaves_the_message_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        queue = Queue("q", dead_letter="graves")
        await client.declare_queue(queue)
        await client.publish("q", "x")
        await client.delete_queue("graves")
        message = await client.get(queue)
        assert message is not None
        await message.reject("reason")
        again = await client.get("q")
        assert again is not None and again.redelivered

    run(work)
    assert "back in its queue" in caplog.text


# ---- prefetch


class Hand:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_prefetch_follows_the_rate() -> None:
    clock = Hand()
    prefetch = Prefetch("auto", clock)
    assert (prefetch.count, prefetch.looks_due()) == (FIRST, False)
    clock.now_s = 0.1
    assert prefetch.looks_due()
    prefetch.taken = 10_000  # 100,000 a second
    assert prefetch.adapt(0)
    assert prefetch.count == MOST
    clock.now_s = 10.1
    prefetch.taken += 10  # one a second
    assert prefetch.adapt(1)
    assert prefetch.count == 2
    clock.now_s = 20.1
    prefetch.taken += 10
    assert not prefetch.adapt(1)
    clock.now_s = 30.1
    prefetch.taken += 80  # eight at a time, a second each
    assert prefetch.adapt(8)
    assert prefetch.count == 10


def test_a_fixed_prefetch_is_kept() -> None:
    prefetch = Prefetch(7)
    assert (prefetch.count, prefetch.is_auto) == (7, False)
    for wrong in (-1, 70_000, "many"):
        with pytest.raises(ValueError):
            Prefetch(wrong)  # type: ignore[arg-type]


def test_a_fast_consumer_is_given_more_and_loses_nothing() -> None:
    async def work(client: Client) -> None:
        await fill(client, 3000)
        consumer = client.consume("q")
        consumer.prefetch._every_s = 0.0
        found: list[object] = []
        async for message in consumer:
            found.append(message.data)
            message.ack()
            if len(found) == 3000:
                break
        assert sorted(set(map(str, found)), key=int) == [str(n) for n in range(3000)]
        assert consumer.prefetch.count > FIRST
        await consumer.close()

    run(work)


def test_handed_out_messages_are_bounded_by_the_prefetch() -> None:
    async def work(client: Client) -> None:
        await fill(client, 100)
        async with client.consume("q", prefetch=7) as consumer:
            held: list[Message] = [await consumer.take() for _ in range(7)]
            await ready(client, 93)
            held[0].ack()
            held.append(await consumer.take())
            assert len(held) == 8

    run(work)


def test_who_holds_all_it_has_and_asks_for_more_gets_more() -> None:
    async def work(client: Client) -> None:
        await fill(client, 300)
        consumer = client.consume("q")
        consumer.prefetch.count = 1  # as it became for a slow consumer
        held = [await consumer.take() for _ in range(300)]
        assert [message.data for message in held] == list(range(300))
        await consumer.close()

    run(work)


def test_prefetch_grows_for_who_starves() -> None:
    prefetch = Prefetch("auto", Hand())
    prefetch.count = 1
    assert not prefetch.starves(0)
    assert prefetch.starves(1) and prefetch.count == 2
    assert not prefetch.starves(1)
    assert prefetch.starves(2) and prefetch.count == 4
    assert prefetch.starves(1999) and prefetch.count == MOST
    assert not prefetch.starves(MOST)
    assert not Prefetch(1).starves(1)
