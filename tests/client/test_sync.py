"""The client for code without an event loop: sending, taking and asking, with the same names, from many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from leveret.client import Buffer, Outcome, Queue, exchange, topic
from leveret.client.sync import SyncClient, connect_sync
from leveret.client.sync_consumer import SyncMessage
from leveret.embed import ThreadedBroker
from leveret.errors import (
    AlreadySettled,
    BufferFull,
    CallFailed,
    CallTimeout,
    Closed,
    InvalidMessage,
    Refused,
    Reject,
    RetryLater,
    Unroutable,
)
from tests.client.threaded import WAIT_S, Held, bodies, taken

# ---- sending


def test_publish_returns_when_the_broker_has_it(broker: SyncClient, queue: str) -> None:
    broker.publish(
        queue, {"a": 1}, message_id="m1", headers={"x": "y"}, correlation_id="c", type="t", priority=3
    )
    message = broker.get(queue)
    assert message is not None
    assert (message.body, message.data, message.decode(dict[str, int])) == (b'{"a":1}', {"a": 1}, {"a": 1})
    assert (message.message_id, message.correlation_id, message.type, message.priority) == ("m1", "c", "t", 3)
    assert (message.content_type, message.headers["x"]) == ("application/json", "y")
    assert (message.queue, message.key, message.exchange) == (queue, queue, "")
    assert (message.redelivered, message.attempts, message.persistent, message.size_bytes) == (
        False,
        1,
        True,
        7,
    )
    message.ack()
    assert message.settled
    assert broker.get(queue) is None


def test_publish_raises_what_became_of_it(broker: SyncClient) -> None:
    with pytest.raises(Unroutable, match="declare the queue first"):
        broker.publish("nowhere", b"a")
    with pytest.raises(InvalidMessage):
        broker.publish("nowhere", object())
    with pytest.raises(Unroutable):
        broker.publish_many("nowhere", [b"a", b"b"])


def test_post_hands_over_and_flush_waits(broker: SyncClient, queue: str) -> None:
    for number in range(5000):
        broker.post(queue, b"%d" % number)
    broker.flush(WAIT_S)
    assert broker.stats.confirmed >= 5000 and broker.stats.buffered == 0
    assert bodies(taken(broker, queue, 5000)) == [b"%d" % number for number in range(5000)]


def test_publish_many(broker: SyncClient, queue: str) -> None:
    broker.publish_many(queue, (b"%d" % number for number in range(300)))
    assert broker.look_at_queue(queue).messages == 300
    broker.publish_many(queue, [])
    with pytest.raises(TypeError, match="and not one str: use publish"):
        broker.publish_many(queue, "abc")


def test_outcomes_are_told_on_a_thread_that_may_wait(running: ThreadedBroker, queue: str) -> None:
    told: list[tuple[str, bool, object]] = []
    done = threading.Event()

    with connect_sync(running.url) as broker:

        def on_outcome(outcome: Outcome) -> None:
            broker.publish(queue, b"from the callback")
            told.append((str(outcome.to), outcome.ok, outcome.body))
            if len(told) == 2:
                done.set()

        broker.post(queue, b"a", on_outcome=on_outcome)
        broker.post("nowhere", b"b", on_outcome=on_outcome)
        assert done.wait(WAIT_S)
        assert broker.look_at_queue(queue).messages == 3
    assert told == [(queue, True, b"a"), ("nowhere", False, b"b")]


def test_the_clients_own_callback_is_told_before_close_returns(running: ThreadedBroker, queue: str) -> None:
    told: list[str] = []
    with connect_sync(running.url, on_outcome=lambda outcome: told.append(outcome.message_id)) as broker:
        for number in range(100):
            broker.post(queue, b"x", message_id=f"id-{number}")
    assert told == [f"id-{number}" for number in range(100)]


@pytest.mark.parametrize("buffer", [Buffer(messages=10), Buffer(size_bytes=1000)])
def test_a_full_buffer_waits_for_room(running: ThreadedBroker, queue: str, buffer: Buffer) -> None:
    with connect_sync(running.url, buffer=buffer) as broker:
        for number in range(500):
            broker.post(queue, b"%d" % number)
            assert broker._publisher.outbox.waiting() <= 11
        broker.publish_many(queue, [b"many"] * 100, timeout_s=WAIT_S)
        assert broker.look_at_queue(queue).messages == 600


@pytest.mark.parametrize("full", ["raise", "drop"])
def test_a_full_buffer_raises_or_drops(running: ThreadedBroker, queue: str, full: Any) -> None:
    with connect_sync(running.url, buffer=Buffer(messages=10, full=full)) as broker:
        held = Held(broker)
        try:
            for _ in range(10):
                broker.post(queue, b"x")
            if full == "raise":
                with pytest.raises(BufferFull, match="10 messages are posted"):
                    broker.post(queue, b"x")
            else:
                broker.post(queue, b"x")
        finally:
            held.release()
        broker.flush(WAIT_S)
        assert (broker.stats.posted, broker.stats.dropped) == (10, 1 if full == "drop" else 0)


def test_many_threads_share_a_client(broker: SyncClient, queue: str) -> None:
    def work(thread: int) -> None:
        for number in range(200):
            broker.post(queue, b"%d-%d" % (thread, number))
        broker.publish(queue, b"%d-last" % thread)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    broker.flush(WAIT_S)
    found = bodies(taken(broker, queue, 8 * 201))
    assert len(set(found)) == 8 * 201
    for thread in range(8):
        own = [body for body in found if body.startswith(b"%d-" % thread)]
        assert own == [*(b"%d-%d" % (thread, n) for n in range(200)), b"%d-last" % thread]


# ---- consuming


def test_a_consumer_is_an_iterator_and_a_context_manager(broker: SyncClient, queue: str) -> None:
    broker.publish_many(queue, [b"1", b"2", b"3"])
    with broker.consume(queue, prefetch=2) as messages:
        first = next(iter(messages))
        first.ack()
        second = messages.take()
        assert second is not None
        second.release()
        again = messages.take(WAIT_S)
        assert again is not None and again.body in (b"2", b"3")
    with pytest.raises(Closed, match="is closed"):
        messages.take()
    assert list(messages) == []
    again.ack()
    left = sorted(bodies(list(broker.drain(queue))))
    assert left == sorted({b"2", b"3"} - {again.body})


def test_a_loop_that_is_left_gives_back_what_it_has_not_taken(broker: SyncClient, queue: str) -> None:
    broker.publish_many(queue, [b"%d" % number for number in range(50)])
    for message in broker.consume(queue, prefetch=50):
        message.ack()
        break
    found = taken(broker, queue, 49)
    assert sorted(bodies(found), key=int) == [b"%d" % number for number in range(1, 50)]


def test_take_waits_as_long_as_it_is_told(broker: SyncClient, queue: str) -> None:
    with broker.consume(queue) as messages:
        assert messages.take(0.0) is None
        assert messages.take(0.01) is None
        assert messages.many(0.01) == []
        broker.publish_many(queue, [b"1", b"2", b"3"])
        found: list[SyncMessage] = []
        while len(found) < 3:
            found += messages.many(WAIT_S)
        assert bodies(found) == [b"1", b"2", b"3"]
        for message in found:
            message.ack()


def test_several_threads_take_from_one_consumer(broker: SyncClient, queue: str) -> None:
    count = 2000
    found: list[bytes] = []
    done = threading.Event()
    messages = broker.consume(queue, prefetch=100)
    messages.start()

    def work() -> None:
        for message in messages:
            message.ack()
            found.append(message.body)
            if len(found) == count:
                done.set()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(count):
        broker.post(queue, b"%d" % number)
    assert done.wait(WAIT_S)
    messages.close()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert sorted(found, key=int) == [b"%d" % number for number in range(count)]
    assert broker.look_at_queue(queue).messages == 0


def test_acks_go_back_in_batches_and_reach_the_broker(broker: SyncClient, queue: str) -> None:
    broker.publish_many(queue, [b"x"] * 1000)
    before = broker.stats.acked
    taken(broker, queue, 1000)
    assert broker.stats.acked - before == 1000
    assert broker.delete_queue(queue) == 0


def test_a_message_is_settled_once(broker: SyncClient, queue: str) -> None:
    broker.publish(queue, b"x")
    message = broker.get(queue)
    assert message is not None and not message.settled
    message.ack()
    for again in (message.ack, message.release, message.retry, message.reject):
        with pytest.raises(AlreadySettled):
            again()


@pytest.mark.parametrize("how", ["retry", "reject"])
def test_what_is_moved_is_settled_at_once(broker: SyncClient, queue: str, how: str) -> None:
    broker.publish(queue, b"x")
    message = broker.get(queue)
    assert message is not None
    getattr(message, how)()
    assert message.settled
    with pytest.raises(AlreadySettled):
        message.ack()


def test_a_message_is_a_context_manager(broker: SyncClient, queue: str) -> None:
    broker.declare_queue(Queue(queue + ".own", dead_letter=queue))

    def one(error: BaseException | None) -> SyncMessage:
        broker.publish(queue + ".own", repr(error))
        for message in broker.consume(Queue(queue + ".own", dead_letter=queue)):
            with message:
                assert not message.settled
                if error is not None:
                    raise error
            return message
        raise AssertionError

    assert one(None).settled
    with pytest.raises(Reject):
        one(Reject("never"))
    rejected = broker.get(queue, timeout_s=WAIT_S)
    assert rejected is not None and rejected.headers["x-reject-reason"] == "never"
    with pytest.raises(KeyboardInterrupt):
        one(KeyboardInterrupt())
    released = broker.get(queue + ".own", timeout_s=WAIT_S)
    assert released is not None and released.redelivered
    released.ack()
    with pytest.raises(RetryLater):
        one(RetryLater(delay_s=0.001))
    retried = broker.get(queue + ".own", timeout_s=WAIT_S)
    assert retried is not None and retried.attempts == 2
    with retried:
        retried.ack()


def test_get_and_drain_take_what_is_there(broker: SyncClient, queue: str) -> None:
    assert broker.get(queue) is None
    assert broker.get(queue, timeout_s=0.01) is None
    broker.publish_many(queue, [b"%d" % number for number in range(100)])
    first = broker.get(queue)
    assert first is not None and first.body == b"0"
    first.ack()
    found = []
    for message in broker.drain(queue, limit=50):
        message.ack()
        found.append(message.body)
    assert found == [b"%d" % number for number in range(1, 51)]
    for message in broker.drain(queue):
        message.ack()
        break
    assert broker.look_at_queue(queue).messages == 48
    assert list(broker.drain(queue, timeout_s=0.0)) == []
    left = list(broker.drain(queue))
    assert len(left) == 48
    for message in left:
        message.ack()


def test_subscriptions(broker: SyncClient) -> None:
    with broker.subscribe("orders.*.created") as orders, broker.subscribe(headers={"kind": "a"}) as kinds:
        broker.publish(topic("orders.eu.created"), b"order")
        broker.publish(exchange("amq.headers"), b"kind", headers={"kind": "a"})
        order, kind = orders.take(WAIT_S), kinds.take(WAIT_S)
        assert order is not None and order.body == b"order" and order.key == "orders.eu.created"
        assert kind is not None and kind.body == b"kind"


def test_what_is_refused_when_consuming(broker: SyncClient, queue: str) -> None:
    with pytest.raises(Refused):
        broker.declare_queue(Queue(queue, max_priority=3))
    with pytest.raises(Refused) as caught:
        next(iter(broker.consume("not.there", declare=False)))
    assert caught.value.code == 404
    broker.publish(queue, b"the client goes on")


# ---- answers


def serve(
    broker: SyncClient, queue: str, answer: Callable[[SyncMessage], None], count: int
) -> threading.Thread:
    def work() -> None:
        for _, message in zip(range(count), broker.consume(queue), strict=False):
            answer(message)
            message.ack()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_calls(broker: SyncClient, queue: str) -> None:
    def answer(message: SyncMessage) -> None:
        if message.body == b"fail":
            message.reply(b"", headers={"x-error": "it failed", "x-error-type": "ValueError"})
        else:
            message.reply(message.body.upper())

    server = serve(broker, queue, answer, 3)
    assert broker.call(queue, "abc", timeout_s=WAIT_S).body == b"ABC"
    with pytest.raises(CallFailed, match="it failed"):
        broker.call(queue, b"fail", timeout_s=WAIT_S)
    assert broker.call(queue, "d", timeout_s=WAIT_S).body == b"D"
    server.join(WAIT_S)
    with pytest.raises(CallTimeout):
        broker.call(queue, "nobody", timeout_s=0.01)
    with pytest.raises(Unroutable):
        broker.call("nowhere", "nobody", timeout_s=WAIT_S)


def test_reply_needs_somebody_who_asked(broker: SyncClient, queue: str) -> None:
    broker.publish(queue, b"x")
    message = broker.get(queue)
    assert message is not None
    with pytest.raises(InvalidMessage, match="no reply_to"):
        message.reply(b"y")
    message.ack()


def test_requests_call_back_on_a_thread_that_may_wait(broker: SyncClient, queue: str) -> None:
    got: list[tuple[str | None, bytes]] = []
    done = threading.Event()

    def on_reply(message: SyncMessage) -> None:
        broker.look_at_queue(queue)
        got.append((message.correlation_id, message.body))
        done.set()

    server = serve(broker, queue, lambda message: message.reply(b"done"), 1)
    key = broker.request(queue, b"work", on_reply=on_reply)
    assert done.wait(WAIT_S)
    server.join(WAIT_S)
    assert got == [(key, b"done")]


def test_answers_to_an_earlier_run(broker: SyncClient, queue: str) -> None:
    got: list[bytes] = []
    done = threading.Event()

    def on_reply(message: SyncMessage) -> None:
        got.append(message.body)
        done.set()

    broker.declare_queue(queue + ".replies")
    broker.publish(queue + ".replies", b"late", correlation_id="of-another-run")
    broker.on_reply(queue + ".replies", on_reply)
    assert done.wait(WAIT_S)
    assert got == [b"late"]
