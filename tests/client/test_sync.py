"""The client for code without an event loop: the same names, many threads, Ctrl-C, forks, and a thread that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from leveret.client import Buffer, Outcome, Queue, exchange, topic
from leveret.client.sync import SyncClient, connect_sync
from leveret.client.sync_consumer import SyncMessage
from leveret.embed import ThreadedBroker, run_in_thread
from leveret.errors import (
    AlreadySettled,
    BufferFull,
    CallFailed,
    CallTimeout,
    Closed,
    ConnectFailed,
    Disconnected,
    InvalidMessage,
    LeveretError,
    Refused,
    Reject,
    RetryLater,
    Unroutable,
)

WAIT_S = 20.0


@pytest.fixture(scope="module")
def running() -> Iterator[ThreadedBroker]:
    with run_in_thread() as broker:
        yield broker


@pytest.fixture
def broker(running: ThreadedBroker) -> Iterator[SyncClient]:
    with connect_sync(running.url) as client:
        yield client


@pytest.fixture
def queue(broker: SyncClient, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    broker.declare_queue(name)
    return name


def bodies(messages: list[SyncMessage]) -> list[bytes]:
    return [message.body for message in messages]


def taken(broker: SyncClient, queue: str, count: int) -> list[SyncMessage]:
    found: list[SyncMessage] = []
    for message in broker.consume(queue):
        found.append(message)
        message.ack()
        if len(found) == count:
            break
    return found


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


class Held:
    """Keeps the client's thread busy, so that nothing is confirmed."""

    def __init__(self, broker: SyncClient) -> None:
        self._go = threading.Event()
        began = threading.Event()

        def hold() -> None:
            began.set()
            self._go.wait(WAIT_S)

        broker._thread.tell(hold)
        assert began.wait(WAIT_S)

    def release(self) -> None:
        self._go.set()


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


# ---- its life


def test_without_opening_it_says_so(running: ThreadedBroker) -> None:
    client = connect_sync(running.url)
    uses: list[Callable[[], object]] = [
        lambda: client.post("q", b""),
        lambda: client.publish("q", b""),
        lambda: client.get("q"),
    ]
    for use in uses:
        with pytest.raises(Closed, match="not open"):
            use()
    client.close()
    with pytest.raises(Closed, match="opened once"):
        client.open()


def test_closed_it_refuses(running: ThreadedBroker, queue: str) -> None:
    client = connect_sync(running.url)
    client.open()
    client.publish(queue, b"x")
    message = client.get(queue)
    assert message is not None and client.connected
    client.close()
    client.close()
    assert not client.connected
    assert client.stats.confirmed == 1
    uses: list[Callable[[], object]] = [
        lambda: client.post("q", b""),
        client.flush,
        lambda: client.consume("q"),
    ]
    for use in uses:
        with pytest.raises(Closed, match="the client was closed"):
            use()
    with pytest.raises(LeveretError):
        message.ack()
    with pytest.raises(Closed):
        client.open()


def test_close_waits_for_what_was_posted(running: ThreadedBroker, broker: SyncClient, queue: str) -> None:
    with connect_sync(running.url) as client:
        for _ in range(3000):
            client.post(queue, b"x")
    assert broker.look_at_queue(queue).messages == 3000


def test_nobody_there() -> None:
    client = connect_sync("amqp://127.0.0.1:1")
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:1"):
        client.open()
    with pytest.raises(Closed):
        client.publish("q", b"")


def test_threads_end_with_their_client(running: ThreadedBroker) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with connect_sync(running.url, on_outcome=lambda outcome: None) as client:
        client.declare_queue("threads")
        client.post("threads", b"x")
    assert {thread.name for thread in threading.enumerate()} == before


def interrupt() -> None:
    """Ctrl-C for the main thread, once it waits."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread"
)
@pytest.mark.parametrize("wait", ["take", "iterate", "publish", "flush", "call", "get"])
def test_an_interrupted_wait_leaves_it_usable(broker: SyncClient, queue: str, wait: str) -> None:
    messages = broker.consume(queue)
    messages.start()
    waits: dict[str, Callable[[], object]] = {
        "take": messages.take,
        "iterate": lambda: next(iter(messages)),
        "publish": lambda: broker.publish(queue, b"x"),
        "flush": broker.flush,
        "call": lambda: broker.call(queue, b"x"),
        "get": lambda: broker.get(queue, timeout_s=WAIT_S),
    }
    held = Held(broker) if wait in ("publish", "flush", "call", "get") else None
    watching = threading.Thread(target=interrupt_when_waiting, args=(broker,))
    watching.start()
    with pytest.raises(KeyboardInterrupt):
        waits[wait]()
    watching.join(WAIT_S)
    if held is not None:
        held.release()
    messages.close()
    broker.purge(queue)
    broker.publish(queue, b"after")
    assert bodies(taken(broker, queue, 1)) == [b"after"]
    assert not broker._thread._waiting


def interrupt_when_waiting(broker: SyncClient) -> None:
    deadline = threading.Event()
    for _ in range(int(WAIT_S * 1000)):
        if broker._thread._waiting:
            break
        deadline.wait(0.001)
    interrupt()


def test_when_its_thread_dies_nobody_hangs(running: ThreadedBroker, queue: str) -> None:
    client = connect_sync(running.url)
    client.open()
    messages = client.consume(queue)
    messages.start()
    with ThreadPoolExecutor(3) as pool:
        held = Held(client)
        waits: list[Future[Any]] = [
            pool.submit(lambda: next(iter(messages))),
            pool.submit(client.publish, queue, b"x"),
            pool.submit(client.flush),
        ]
        watch = threading.Event()
        while len(client._thread._waiting) < 3:
            watch.wait(0.001)
        client._thread.tell(sys.exit, "the thread is to end")
        held.release()
        for waiting in waits:
            error = waiting.exception(WAIT_S)
            assert error is None or isinstance(error, Disconnected), error
        assert any(waiting.exception() for waiting in waits)
    with pytest.raises(Disconnected, match=r"the client's thread ended: SystemExit"):
        client.post(queue, b"y")
    client.close()


def test_a_broker_that_goes_and_comes(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("data")
    first = run_in_thread(data)
    url = first.url
    with connect_sync(url) as client:
        client.declare_queue("durable")
        client.publish("durable", b"1")
        messages = client.consume("durable")
        one = messages.take(WAIT_S)
        assert one is not None
        first.stop(0)
        client.post("durable", b"2")
        with run_in_thread(data, listen=url.partition("@")[2].partition("/")[0]):
            client.flush(WAIT_S)
            found = {m.body for m in (messages.take(WAIT_S), messages.take(WAIT_S)) if m is not None}
            assert found == {b"1", b"2"}
            with pytest.raises(LeveretError, match="gone"):
                one.ack()
            assert client.stats.reconnects == 1


def test_in_a_forked_child_it_is_refused(broker: SyncClient, queue: str) -> None:
    broker.publish(queue, b"x")
    message = broker.get(queue)
    assert message is not None
    uses: list[Callable[[], object]] = [
        lambda: broker.post(queue, b"y"),
        lambda: broker.publish(queue, b"y"),
        lambda: broker.flush(),
        message.ack,
    ]
    child = os.fork()
    if child == 0:
        refused = 0
        for use in uses:
            try:
                use()
            except Closed as error:
                refused += "which forked this one: make another here" in str(error)
        broker.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(uses)
    message.ack()
    broker.publish(queue, b"y")
    assert broker.look_at_queue(queue).messages == 1


@pytest.mark.parametrize(
    "end", ["", "del client", "client.close()", "os._exit(0) if os.fork() == 0 else os.wait()"]
)
def test_a_program_that_ends_sends_what_it_has_posted(running: ThreadedBroker, queue: str, end: str) -> None:
    code = f"""
import os
from leveret.client.sync import connect_sync
client = connect_sync({running.url!r})
client.open()
for _ in range(1000):
    client.post({queue!r}, b"x")
{"client.flush()" if end == "del client" else ""}
{end}
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
    with connect_sync(running.url) as broker:
        assert broker.look_at_queue(queue).messages == 1000
