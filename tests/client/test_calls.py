"""Answers: calls that wait for one, and requests whose callback is told later, also after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from leveret.client import Client, Message
from leveret.embed import Broker
from leveret.errors import CallFailed, CallTimeout, Closed, Disconnected, InvalidMessage, Unroutable
from tests.client.inside import QUICKLY, cut, run, run_with_broker, until


@asynccontextmanager
async def serving(client: Client, queue: str = "rpc") -> AsyncIterator[None]:
    """Somebody who doubles numbers, and fails for everything else."""
    consumer = client.consume(queue)
    await consumer.start()

    async def serve() -> None:
        async for message in consumer:
            async with message:
                if isinstance(message.data, int):
                    await message.reply(2 * message.data)
                else:
                    await message.reply(
                        None, headers={"x-error": "not a number", "x-error-type": "TypeError"}
                    )

    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        await consumer.close()
        await task


def test_a_call_waits_for_its_answer() -> None:
    async def work(client: Client) -> None:
        async with serving(client):
            assert (await client.call("rpc", 21)).data == 42
            answers = await asyncio.gather(*(client.call("rpc", n) for n in range(50)))
            assert [answer.data for answer in answers] == [2 * n for n in range(50)]

    run(work)


def test_a_call_says_of_itself_what_it_is_told_to() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("rpc")
        task = asyncio.create_task(
            client.call("rpc", {"n": 1}, message_id="mine", type="t", headers={"h": 1}, priority=3)
        )
        message = await client.get("rpc", timeout_s=10)
        assert message is not None
        assert (message.data, message.message_id, message.type) == ({"n": 1}, "mine", "t")
        assert (message.headers, message.priority, message.properties.expiration) == ({"h": 1}, 3, "30000")
        await message.ack()
        message.reply("done")
        assert (await task).data == "done"

    run(work)


def test_a_failure_of_the_other_side_is_raised_here() -> None:
    async def work(client: Client) -> None:
        async with serving(client):
            with pytest.raises(CallFailed, match="not a number") as caught:
                await client.call("rpc", "text")
            assert caught.value.kind == "TypeError"

    run(work)


def test_a_call_that_nobody_serves() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(Unroutable, match="nobody serves queue 'nowhere'"):
            await client.call("nowhere", 1)
        await client.declare_queue("rpc")
        with pytest.raises(CallTimeout, match=r"within 0\.01 s"):
            await client.call("rpc", 1, timeout_s=0.01)
        with pytest.raises(InvalidMessage, match="reply_to"):
            await client.call("rpc", 1, reply_to="x")

    run(work)


def test_a_call_over_a_connection_that_is_lost() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("rpc")
        task = asyncio.create_task(client.call("rpc", 1))

        async def there() -> bool:
            return (await client.look_at_queue("rpc")).messages == 1

        while not await there():
            await asyncio.sleep(0)
        await cut(client)
        with pytest.raises(Disconnected, match="may be done or not"):
            await task
        await client.purge("rpc")
        async with serving(client):
            assert (await client.call("rpc", 4)).data == 8

    run(work)


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("rpc")
        task = asyncio.create_task(client.call("rpc", 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._calls._waiting == {}
        await client.purge("rpc")
        async with serving(client):
            assert (await client.call("rpc", 4)).data == 8

    run(work)


def test_who_did_not_ask_gets_no_answer() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        await client.publish("q", "x")
        message = await client.get("q")
        assert message is not None
        with pytest.raises(InvalidMessage, match="reply_to"):
            message.reply("answer")

    run(work)


def test_a_request_is_told_of_later() -> None:
    async def work(client: Client) -> None:
        told: list[object] = []

        async def later(answer: Message) -> None:
            told.append(answer.data)

        async with serving(client):
            await client.request("rpc", 1, on_reply=lambda answer: told.append(answer.data))
            await client.request("rpc", 2, on_reply=later)
            await cut(client)
            await client.request("rpc", 3, on_reply=later)
            await until(lambda: len(told) == 3)
        assert sorted(map(str, told)) == ["2", "4", "6"]

    run(work)


def test_a_request_that_no_queue_gets_is_told_at_once() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(Unroutable):
            await client.request("nowhere", 1, on_reply=lambda answer: None)

    run(work)


def test_answers_outlive_who_asked() -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as worker:
            async with broker.connect() as client:
                await client.declare_queue("rpc")
                key = await client.request("rpc", 5, on_reply=lambda answer: None, reply_queue="answers")
            async with serving(worker), broker.connect(reconnect=QUICKLY) as again:
                told: list[tuple[str | None, object]] = []
                await again.on_reply(
                    "answers", lambda answer: told.append((answer.correlation_id, answer.data))
                )
                await until(lambda: bool(told))
                assert told == [(key, 10)]

    run_with_broker(work)


def test_an_answer_that_came_before_anybody_listened_is_kept() -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("answers")
        await client.publish("answers", "old", correlation_id="of an earlier run")
        told: list[object] = []
        async with serving(client):
            await client.request(
                "rpc", 1, on_reply=lambda answer: told.append(answer.data), reply_queue="answers"
            )
            await until(lambda: told == [2])
            await client.on_reply("answers", lambda answer: told.append(answer.data))
            await until(lambda: told == [2, "old"])

    run(work)


def test_a_callback_that_fails_gets_the_answer_again(caplog: pytest.LogCaptureFixture) -> None:
    async def work(broker: Broker) -> None:
        async with broker.connect() as client:
            told: list[object] = []

            def callback(answer: Message) -> None:
                told.append(answer.data)
                if len(told) == 1:
                    raise RuntimeError("of the application")

            async with serving(client):
                await client.request("rpc", 1, on_reply=callback)
                await until(lambda: client.stats.retried == 1)
                await client.flush()  # the copy that is delayed
                await broker.advance(2)
                await until(lambda: told == [2, 2])

    run_with_broker(work)
    assert "callback for an answer failed" in caplog.text


def test_a_closed_client_asks_nobody() -> None:
    async def work(broker: Broker) -> None:
        client = broker.connect()
        async with client:
            pass
        with pytest.raises(Closed):
            await client.call("rpc", 1)
        with pytest.raises(Closed):
            await client.request("rpc", 1, on_reply=lambda answer: None)

    run_with_broker(work)
