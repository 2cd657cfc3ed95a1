"""stomp.py's listener API in every version: what its users do, with what its listeners are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stomp

from tests.compat.broker import Address
from tests.compat.clients import await_count, must_get
from tests.compat.proxy import Proxy
from tests.compat.waiting import eventually

KINDS = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}
Connect = Callable[..., Any]


class Told(stomp.ConnectionListener):  # type: ignore[misc]
    """Everything that a listener was told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.errors: list[Any] = []
        self.receipts: list[str] = []
        self.heartbeats = 0
        self.connected = 0
        self.disconnected = threading.Event()

    def on_message(self, frame: Any) -> None:
        self.messages.append(frame)

    def on_error(self, frame: Any) -> None:
        self.errors.append(frame)

    def on_receipt(self, frame: Any) -> None:
        self.receipts.append(frame.headers["receipt-id"])

    def on_connected(self, frame: Any) -> None:
        self.connected += 1

    def on_heartbeat(self) -> None:
        self.heartbeats += 1

    def on_disconnected(self) -> None:
        self.disconnected.set()

    def wait(self, total: int) -> list[Any]:
        eventually(lambda: len(self.messages) >= total, f"{total} messages")
        return self.messages

    def wait_receipt(self, receipt: str) -> None:
        eventually(lambda: receipt in self.receipts, f"the receipt {receipt}")

    @property
    def bodies(self) -> list[Any]:
        return [frame.body for frame in self.messages]


@pytest.fixture(params=KINDS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(address: Address, version: str) -> Iterator[Connect]:
    """Opens connections of that version, each with its `told`."""
    opened = []

    def open_one(at: Address = address, **options: Any) -> Any:
        vhost = {} if version == "1.0" else {"vhost": "/"}
        conn = KINDS[version]([(at.host, at.port)], **vhost, **options)
        conn.told = Told()
        conn.set_listener("told", conn.told)
        conn.connect("guest", "guest", wait=True)
        opened.append(conn)
        return conn

    yield open_one
    for conn in opened:
        if conn.is_connected():
            conn.disconnect(receipt="end-of-test")


def settle(conn: Any, how: str, frame: Any, version: str, **options: Any) -> None:
    act = getattr(conn, how)
    if version == "1.2":
        act(frame.headers["ack"], **options)
    elif version == "1.1":
        act(frame.headers["message-id"], frame.headers["subscription"], **options)
    else:
        act(frame.headers["message-id"], **options)


def test_publish_and_subscribe(connect: Connect, queue: str) -> None:
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="auto")
    conn.send(f"/queue/{queue}", "žlutý", content_type="text/plain", headers={"colour": "žlutá", "n": 5})
    (frame,) = conn.told.wait(1)
    assert frame.body == "žlutý"
    wanted = {"colour": "žlutá", "n": "5", "content-type": "text/plain", "destination": f"/queue/{queue}"}
    assert frame.headers.items() >= wanted.items()
    assert conn.told.errors == []


def test_headers_with_colons_and_line_ends(connect: Connect, queue: str, version: str) -> None:
    if version == "1.0":
        pytest.skip("1.0 has no escapes")
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="auto")
    conn.send(f"/queue/{queue}", "x", headers={"odd": "a:b\\n\nc"})
    (frame,) = conn.told.wait(1)
    assert frame.headers["odd"] == "a:b\\n\nc"


def test_binary_bodies(connect: Connect, queue: str) -> None:
    conn = connect(auto_decode=False)
    body = bytes(range(256)) * 300
    conn.subscribe(f"/queue/{queue}", id="1", ack="auto")
    conn.send(f"/queue/{queue}", body)
    (frame,) = conn.told.wait(1)
    assert frame.body == body


def test_a_receipt_for_everything(connect: Connect, queue: str) -> None:
    conn = connect()
    at = f"/queue/{queue}"
    for n in range(20):
        conn.send(at, "x", headers={"receipt": f"send-{n}", "persistent": "true"})
    conn.subscribe(at, id="1", ack="auto", headers={"receipt": "subscribe"})
    conn.told.wait_receipt("subscribe")
    conn.unsubscribe(id="1", headers={"receipt": "unsubscribe"})
    conn.told.wait_receipt("unsubscribe")
    conn.told.wait_receipt("send-19")
    assert {f"send-{n}" for n in range(20)} <= set(conn.told.receipts)


def test_nothing_after_unsubscribe(connect: Connect, ch: Any, queue: str) -> None:
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="auto")
    conn.send(f"/queue/{queue}", "first")
    conn.told.wait(1)
    conn.unsubscribe(id="1", headers={"receipt": "u"})
    conn.told.wait_receipt("u")
    conn.send(f"/queue/{queue}", "second")
    assert must_get(ch, queue, auto_ack=True).body == b"second"
    assert conn.told.bodies == ["first"]


def test_client_individual_and_nack(connect: Connect, ch: Any, queue: str, version: str) -> None:
    if version == "1.0":
        pytest.skip("1.0 has neither")
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="client-individual")
    for body in ("0", "1", "2"):
        conn.send(f"/queue/{queue}", body)
    came = list(conn.told.wait(3))
    settle(conn, "ack", came[1], version)
    settle(conn, "nack", came[0], version)
    again = conn.told.wait(4)[3]
    assert (again.body, again.headers["redelivered"]) == ("0", "true")
    conn.disconnect(receipt="bye")
    assert sorted(must_get(ch, queue, auto_ack=True).body for _ in range(2)) == [b"0", b"2"]


def test_client_is_cumulative(connect: Connect, ch: Any, queue: str, version: str) -> None:
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="client")
    for body in ("0", "1", "2", "3"):
        conn.send(f"/queue/{queue}", body)
    settle(conn, "ack", conn.told.wait(4)[2], version)
    conn.disconnect(receipt="bye")
    assert must_get(ch, queue, auto_ack=True).body == b"3"


def test_transactions(connect: Connect, ch: Any, queue: str) -> None:
    conn = connect()
    conn.send(f"/queue/{queue}", "0", headers={"receipt": "r"})
    conn.told.wait_receipt("r")
    for end in (conn.abort, conn.commit):
        transaction = conn.begin()
        conn.send(f"/queue/{queue}", end.__name__, transaction=transaction)
        end(transaction)
    await_count(ch, queue, 2)
    assert [must_get(ch, queue, auto_ack=True).body for _ in range(2)] == [b"0", b"commit"]


def test_topics_go_to_all(connect: Connect, fresh: Callable[..., str]) -> None:
    topic = "/topic/" + fresh("topic")
    conns = [connect(), connect()]
    for conn in conns:
        conn.subscribe(topic, id="1", ack="auto", headers={"receipt": "s"})
        conn.told.wait_receipt("s")
    conns[0].send(topic, "news")
    for conn in conns:
        assert [frame.body for frame in conn.told.wait(1)] == ["news"]


def test_a_durable_subscription_gets_what_came_meanwhile(connect: Connect, fresh: Callable[..., str]) -> None:
    topic, name = "/topic/" + fresh("topic"), fresh("subscription")
    durable = {"durable": "true", "auto-delete": "false"}
    first = connect()
    first.subscribe(topic, id=name, ack="auto", headers={**durable, "receipt": "s"})
    first.told.wait_receipt("s")
    first.disconnect(receipt="bye")
    second = connect()
    second.send(topic, "meanwhile", headers={"receipt": "r"})
    second.told.wait_receipt("r")
    second.subscribe(topic, id=name, ack="auto", headers=durable)
    assert [frame.body for frame in second.told.wait(1)] == ["meanwhile"]
    second.unsubscribe(id=name, headers={**durable, "destination": topic, "receipt": "u"})
    second.told.wait_receipt("u")


def test_a_temporary_queue_for_answers(connect: Connect, queue: str) -> None:
    client, server = connect(), connect()
    server.subscribe(f"/queue/{queue}", id="1", ack="auto")
    client.send(f"/queue/{queue}", "2+2", headers={"reply-to": "/temp-queue/answers"})
    (asked,) = server.told.wait(1)
    server.send(asked.headers["reply-to"], "4")
    (answer,) = client.told.wait(1)
    assert (answer.body, answer.headers["subscription"]) == ("4", "/temp-queue/answers")


def test_a_wrong_password(address: Address, version: str) -> None:
    vhost = {} if version == "1.0" else {"vhost": "/"}
    conn = KINDS[version]([(address.host, address.port)], reconnect_attempts_max=1, **vhost)
    told = Told()
    conn.set_listener("told", told)
    with pytest.raises(stomp.exception.ConnectFailedException):
        conn.connect("guest", "wrong", wait=True)
    assert told.errors[0].headers["message"] == "Bad CONNECT"


def test_an_error_says_what_was_wrong_and_ends(connect: Connect, is_rabbitmq: bool) -> None:
    conn = connect()
    conn.send("/nowhere/at/all", "x", headers={"receipt": "r"})
    eventually(lambda: conn.told.errors, "the error")
    error = conn.told.errors[0]
    # RabbitMQ 4.3 leaves this one open and says no receipt-id; the specification has both otherwise
    if not is_rabbitmq:
        assert error.headers["receipt-id"] == "r"
        assert conn.told.disconnected.wait(10)
    assert error.headers["message"] == "Unknown destination"
    assert "/nowhere/at/all" in error.body


def test_heart_beats_both_ways(connect: Connect, version: str) -> None:
    if version == "1.0":
        pytest.skip("1.0 has none")
    conn = connect(heartbeats=(500, 500))
    eventually(lambda: conn.told.heartbeats >= 2, "two heart-beats")
    assert conn.is_connected()


def test_a_context_is_a_connection(address: Address, queue: str, version: str, ch: Any) -> None:
    vhost = {} if version == "1.0" else {"vhost": "/"}
    with KINDS[version]([(address.host, address.port)], **vhost) as conn:
        conn.connect("guest", "guest", wait=True)
        conn.send(f"/queue/{queue}", "x")
    assert must_get(ch, queue, auto_ack=True).body == b"x"


def test_it_comes_back(connect: Connect, proxy: Proxy, queue: str, version: str) -> None:
    """What was not acked is there again, with its flag."""
    conn = connect(proxy.address)
    conn.subscribe(f"/queue/{queue}", id="1", ack="client")
    conn.send(f"/queue/{queue}", "x")
    conn.told.wait(1)
    proxy.cut()
    assert conn.told.disconnected.wait(10)
    again = connect(proxy.address)
    again.subscribe(f"/queue/{queue}", id="1", ack="client")
    (frame,) = again.told.wait(1)
    assert (frame.body, frame.headers["redelivered"]) == ("x", "true")
    settle(again, "ack", frame, version)


def test_many_messages_in_order(connect: Connect, queue: str) -> None:
    conn = connect()
    conn.subscribe(f"/queue/{queue}", id="1", ack="auto")
    for n in range(2_000):
        conn.send(f"/queue/{queue}", str(n))
    conn.told.wait(2_000)
    assert conn.told.bodies == [str(n) for n in range(2_000)]
