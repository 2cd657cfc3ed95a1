"""The life of the client for code without an event loop: its end, Ctrl-C, forks, a thread that dies, a broker that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from leveret.client import Target
from leveret.client.sync import SyncClient, connect_sync
from leveret.embed import ThreadedBroker, run_in_thread
from leveret.errors import (
    Closed,
    ConnectFailed,
    Disconnected,
    InvalidMessage,
    LeveretError,
)
from tests.client.threaded import WAIT_S, Held, bodies, taken
from tests.compat.broker import held_port


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
    with held_port() as port:
        first = run_in_thread(data, listen=f"127.0.0.1:{port}")
        with connect_sync(first.url) as client:
            client.declare_queue("durable")
            client.publish("durable", b"1")
            messages = client.consume("durable")
            one = messages.take(WAIT_S)
            assert one is not None
            first.stop(0)
            client.post("durable", b"2")
            with run_in_thread(data, listen=f"127.0.0.1:{port}"):
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
from tests.compat.broker import held_port
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


def test_with_a_spool_what_is_posted_outlives_client_and_broker(tmp_path: Path) -> None:
    told: list[bool] = []
    with connect_sync("amqp://127.0.0.1:1", spool=tmp_path / "posted.db") as client:
        for number in range(100):
            client.post("spooled", b"%d" % number)
        with pytest.raises(InvalidMessage):
            client.post("spooled", object())
    with run_in_thread() as running, connect_sync(running.url) as declaring:
        declaring.declare_queue("spooled")
        with connect_sync(
            running.url, spool=tmp_path / "posted.db", on_outcome=lambda outcome: told.append(outcome.ok)
        ) as client:
            client.post("spooled", b"100")
            client.flush(WAIT_S)
            assert client.stats.spooled == 0
        found = []
        for message in declaring.drain("spooled"):
            found.append(message.body)
            message.ack()
    assert found == [b"%d" % number for number in range(101)]
    assert told == [True]


def test_delays_that_the_broker_does_not_offer_are_prepared_by_its_thread(
    broker: SyncClient, queue: str
) -> None:
    asked: list[tuple[str, int, str]] = []

    def delayed(to: Target, delay_ms: int) -> Target:
        asked.append((to.key, delay_ms, threading.current_thread().name))
        return to

    broker._publisher.delayed = delayed
    broker.publish(queue, b"later", delay_s=0.5)
    broker.post(queue, b"later", delay_s=0.25)
    broker.flush(WAIT_S)
    assert asked == [(queue, 500, "leveret-client"), (queue, 250, "leveret-client")]
