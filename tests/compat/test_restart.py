"""A broker that is stopped, killed and started again beneath its clients. Only for a broker that we start."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pika
import pika.exceptions
import pytest
from pika import spec

from .broker import Leveret
from .clients import Inbox, connection, count, drain, must_get, run_until
from .raw import Closed, RawConnection

pytestmark = pytest.mark.skipif(
    "COMPAT_URL" in os.environ, reason="a broker that was given is not to be stopped"
)

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Leveret]:
    own = Leveret(tmp_path)
    own.start()
    yield own
    own.stop()


def test_stopping_tells_every_connection(broker: Leveret) -> None:
    with RawConnection(broker.address) as raw, connection(broker.address) as conn:
        raw.login().open_channel(1)
        assert broker.stop() == 0
        closed = raw.read_method(0)
        assert isinstance(closed, spec.Connection.Close)
        text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
        assert (closed.reply_code, closed.reply_text) == (320, text)
        with pytest.raises(Closed):
            raw.read_frame()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
            conn.process_data_events(5)
        assert caught.value.reply_code == 320


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_what_comes_back(broker: Leveret, kill: bool) -> None:
    with connection(broker.address) as conn:
        ch = conn.channel()
        ch.exchange_declare("x", "topic", durable=True)
        ch.exchange_declare("inner", "fanout", durable=True, internal=True)
        ch.exchange_declare("transient", "topic")
        ch.queue_declare("durable", durable=True)
        ch.queue_declare("fleeting")
        ch.queue_declare("mine", exclusive=True)
        ch.exchange_bind("inner", "x", "a.#")
        ch.queue_bind("durable", "inner")
        ch.queue_bind("durable", "transient", "#")
        ch.confirm_delivery()
        for number in range(10):
            ch.basic_publish("x", "a.b", str(number).encode(), PERSISTENT)
        ch.basic_publish("", "durable", b"not kept")
        must_get(ch, "durable", auto_ack=True)
        assert must_get(ch, "durable").body == b"1"
        broker.kill() if kill else broker.stop()
    broker.start()
    with connection(broker.address) as conn:
        ch = conn.channel()
        found = [must_get(ch, "durable", auto_ack=True) for _ in range(9)]
        assert [each.body for each in found] == [str(number).encode() for number in range(1, 10)]
        assert found[0].redelivered
        assert count(ch, "durable") == 0
        ch.basic_publish("x", "a.c", b"routed")
        assert must_get(ch, "durable", auto_ack=True).body == b"routed"
        for gone in ("fleeting", "mine"):
            with pytest.raises(pika.exceptions.ChannelClosedByBroker):
                conn.channel().queue_declare(gone, passive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            conn.channel().exchange_declare("transient", passive=True)


def test_a_backlog_nobody_touched_is_not_redelivered(broker: Leveret) -> None:
    with connection(broker.address) as conn:
        ch = conn.channel()
        ch.queue_declare("q", durable=True)
        ch.confirm_delivery()
        for number in range(100):
            ch.basic_publish("", "q", str(number).encode(), PERSISTENT)
        broker.kill()
    broker.start()
    with connection(broker.address) as conn:
        ch = conn.channel()
        found = [must_get(ch, "q", auto_ack=True) for _ in range(100)]
        assert [int(each.body) for each in found] == list(range(100))
        assert not any(each.redelivered for each in found)


def test_a_transaction_is_whole_or_not_at_all(broker: Leveret) -> None:
    with connection(broker.address) as conn:
        ch = conn.channel()
        ch.queue_declare("in", durable=True)
        ch.queue_declare("out", durable=True)
        ch.basic_publish("", "in", b"job", PERSISTENT)
        tx = conn.channel()
        tx.tx_select()
        tx.basic_ack(must_get(tx, "in").tag)
        tx.basic_publish("", "out", b"result", PERSISTENT)
        tx.tx_commit()
        tx.basic_publish("", "out", b"never committed", PERSISTENT)
        broker.kill()
    broker.start()
    with connection(broker.address) as conn:
        ch = conn.channel()
        assert drain(ch, "in") == []
        assert drain(ch, "out") == [b"result"]


def test_a_robust_consumer_lives_through_it(broker: Leveret) -> None:
    async def test() -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(incoming: Any) -> None:
            async with incoming.process():
                await seen.put(incoming.body)

        async with await aio_pika.connect_robust(broker.address.url, reconnect_interval=0.1) as conn:
            channel = await conn.channel()
            queue = await channel.declare_queue("q", durable=True)
            await queue.consume(take)
            for number in range(2):
                back = asyncio.Event()
                conn.reconnect_callbacks.add(lambda *_, back=back: back.set())
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
                await asyncio.wait_for(back.wait(), 20)
                await channel.default_exchange.publish(aio_pika.Message(str(number).encode()), "q")
                assert await asyncio.wait_for(seen.get(), 20) == str(number).encode()

    asyncio.run(test())


def test_a_consumer_that_comes_back_goes_on(broker: Leveret) -> None:
    """Killed again and again: everything confirmed arrives, and in order once repeats are dropped."""
    total = 200
    done: list[int] = []
    for round_number in range(4):
        with connection(broker.address) as conn:
            ch = conn.channel()
            ch.queue_declare("q", durable=True)
            if round_number == 0:
                ch.confirm_delivery()
                for number in range(total):
                    ch.basic_publish("", "q", str(number).encode(), PERSISTENT)
            done += take_and_ack(conn.channel(), at_least=50)
            broker.kill()
        broker.start()
    with connection(broker.address) as conn:
        done += [int(body) for body in drain(conn.channel(), "q")]
    assert set(done) == set(range(total))
    first_times = list(dict.fromkeys(done))
    assert first_times == sorted(first_times)


def take_and_ack(channel: Any, at_least: int) -> list[int]:
    """Consume from "q" with acks in bulk until `at_least` messages have come."""
    channel.basic_qos(prefetch_count=20)
    inbox = Inbox(channel, "q")

    def enough() -> bool:
        if inbox.received:
            channel.basic_ack(0, multiple=True)
        return len(inbox.received) >= at_least

    run_until(channel, enough, f"{at_least} messages")
    return [int(body) for body in inbox.bodies]
