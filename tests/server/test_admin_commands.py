"""The admin commands against a broker in memory, turned by hand. The lines go through a server without a socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leveret.core.asking import Receiver
from leveret.core.broker import Broker
from leveret.core.queue import Queue
from leveret.core.serving import is_active
from leveret.core.session import Session
from leveret.journal import Journal, Pager
from leveret.message import Message
from leveret.server.admin import AdminServer
from leveret.server.admin_commands import Commands

MESSAGE_SIZE_MAX_BYTES = 200_000


class Desk:
    """A broker with queue `q`, exchange `logs` bound to it, and somebody who asks."""

    def __init__(self) -> None:
        self.broker = Broker(Journal(), Pager())
        self.vhost = self.broker.add_vhost("/")
        self.vhost.declare_queue("q", True, False, False, {}, False, None)
        self.vhost.declare_exchange("logs", "topic", True, False, False, {}, False)
        self.vhost.bind_queue("q", "logs", "a.#", {"n": 1}, None)
        commands = Commands(
            self.broker, list, lambda: {"amqp": "here"}, self.turn_soon, MESSAGE_SIZE_MAX_BYTES
        )
        self.server = AdminServer(Path("/nowhere"), commands.table())

    def turn_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.broker.turn.pump)
        asyncio.get_running_loop().call_soon(self.broker.turn.settle_waiters)

    def ask(self, command: str, **args: Any) -> Any:
        """The result, or the error's text."""
        line = json.dumps({"command": command, "args": args}).encode()
        answer = json.loads(asyncio.run(self.server.answer(line)))
        return answer["result"] if "result" in answer else answer["error"]["text"]

    def publish(self, body: bytes = b"hello", **args: Any) -> Any:
        where = {"exchange": "", "routing_key": "q", "persistent": True, **args}
        return self.ask("publish", body=base64.b64encode(body).decode(), **where)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_status_counts(desk: Desk) -> None:
    desk.publish()
    status = desk.ask("status")
    wanted = {"amqp": "here", "ready": 1, "unacknowledged": 0, "queues": 1, "connections": 0, "vhosts": ["/"]}
    assert {name: status[name] for name in wanted} == wanted
    assert status["publishing_blocked"] == "no"


def test_listings(desk: Desk) -> None:
    (queue,) = desk.ask("queues")
    assert (queue["name"], queue["durable"], queue["consumers"]) == ("q", True, 0)
    exchanges = {row["name"]: row["type"] for row in desk.ask("exchanges")}
    assert exchanges["logs"] == "topic"
    assert exchanges["amq.fanout"] == "fanout"
    (binding,) = [row for row in desk.ask("bindings") if row["source"] == "logs"]
    assert binding == {
        "source": "logs", "destination": "q", "destination_kind": "queue", "routing_key": "a.#", "arguments": {"n": 1},
    }  # fmt: skip
    assert desk.ask("connections") == desk.ask("channels") == desk.ask("consumers") == []


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)), b"y" * 4088, b"z" * 150_000])
def test_what_is_published_is_what_one_gets(desk: Desk, body: bytes) -> None:
    properties = {"content_type": "text/plain", "priority": 3, "timestamp": 7, "headers": {"h": "v"}}
    assert desk.publish(body, exchange="logs", routing_key="a.b", properties=properties) == {"queues": 1}
    (message,) = desk.ask("get", queue="q", count=5, ack=True)
    assert base64.b64decode(message["body"]) == body
    assert (message["exchange"], message["routing_key"], message["size_bytes"]) == ("logs", "a.b", len(body))
    assert message["properties"] == {**properties, "delivery_mode": 2}
    assert message["redelivered"] is False
    assert desk.ask("queues")[0]["ready"] == 0


def test_what_is_only_looked_at_goes_back_to_its_place_with_the_flag(desk: Desk) -> None:
    for body in (b"1", b"2", b"3"):
        desk.publish(body)
    for redelivered in (False, True):
        found = desk.ask("get", queue="q", count=2)
        assert [base64.b64decode(each["body"]) for each in found] == [b"1", b"2"]
        assert [each["redelivered"] for each in found] == [redelivered] * 2
    assert desk.ask("queues")[0]["ready"] == 3


def test_an_empty_queue_gives_nothing(desk: Desk) -> None:
    assert desk.ask("get", queue="q") == []


def test_purge_and_delete(desk: Desk) -> None:
    desk.publish()
    desk.publish()
    assert desk.ask("purge", queue="q") == {"messages": 2}
    desk.publish()
    assert "not empty" in desk.ask("delete_queue", queue="q", if_empty=True)
    assert "in use" in desk.ask("delete_exchange", exchange="logs", if_unused=True)
    assert desk.ask("delete_queue", queue="q") == {"messages": 1}
    assert desk.ask("delete_exchange", exchange="logs", if_unused=True) == {}
    assert desk.ask("queues") == []


Ask = Callable[[Desk], Any]


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda d: d.ask("queues", vhost="nope"), "no vhost 'nope'"),
        (lambda d: d.ask("queues", vhost=3), "no vhost '3'"),
        (lambda d: d.ask("get", queue="x"), "no queue 'x' in vhost '/'"),
        (lambda d: d.ask("get", queue="q", count=0), "count is not a whole number from 1 to 1000"),
        (lambda d: d.ask("get", queue="q", ack=1), "ack is not true or false"),
        (lambda d: d.ask("purge", queue=["q"]), "queue is not a text"),
        (lambda d: d.ask("delete_queue", queue="x"), "no queue 'x' in vhost '/'"),
        (lambda d: d.ask("delete_exchange", exchange="x"), "no exchange 'x' in vhost '/'"),
        (lambda d: d.publish(routing_key="x"), "no queue takes this message"),
        (lambda d: d.publish(exchange="x"), "no exchange 'x' in vhost '/'"),
        (
            lambda d: d.publish(b"x" * 200_001),
            "message size 200001 is larger than configured max size 200000",
        ),
        (lambda d: d.publish(routing_key="k" * 256), "longer than 255 bytes"),
        (lambda d: d.publish(properties={"colour": "red"}), "property 'colour' is unknown"),
        (lambda d: d.publish(properties={"priority": "1"}), "wrong type"),
        (lambda d: d.publish(properties={"priority": 256}), "property 'priority' is 0 to 255, not 256"),
        (lambda d: d.publish(properties={"type": "t" * 256}), "longer than 255 bytes"),
        (lambda d: d.publish(properties=[1]), "properties is not an object"),
        (lambda d: d.ask("publish", routing_key="q", body="?"), "body is not base64"),
        (lambda d: d.ask("backup", destination="/x"), "there is no store to back up"),
    ],
)
def test_refusals(desk: Desk, ask: Ask, text: str) -> None:
    assert text in ask(desk)


class Stuck(Commands):
    """The second message never comes: it is on its way from a disk that does not answer."""

    got = 0

    async def _one(self, session: Session, queue: Queue) -> tuple[Message | None, bool]:
        self.got += 1
        if self.got == 2:
            await asyncio.Event().wait()
        return await super()._one(session, queue)


def test_a_get_that_is_given_up_leaves_the_messages(desk: Desk) -> None:
    async def scenario() -> None:
        commands = Stuck(desk.broker, list, dict, desk.turn_soon, MESSAGE_SIZE_MAX_BYTES)
        asked = asyncio.ensure_future(commands.get({"queue": "q", "count": 2, "ack": True}))
        while commands.got < 2:
            await asyncio.sleep(0)
        assert desk.vhost.queue("q", None).unsettled_count() == 1
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    desk.publish()
    asyncio.run(scenario())
    assert desk.ask("queues")[0]["ready"] == 1
    assert desk.ask("queues")[0]["unacknowledged"] == 0


def test_which_consumer_is_active_and_how_many_were_too_slow(desk: Desk) -> None:
    queue = desk.vhost.declare_queue(
        "single", True, False, False, {"x-single-active-consumer": True}, False, None
    )
    first, second = (
        Receiver(Session(), queue, tag, False, 1, lambda tag, m, again: None) for tag in ("first", "second")
    )
    for each in (first, second):
        desk.vhost.consume(queue, each)
    queue.timeouts += 3
    rows = {row["name"]: (row.get("single_active_consumer"), row["timed_out"]) for row in desk.ask("queues")}
    assert rows == {"q": (None, 0), "single": ("first", 3)}
    assert (is_active(first), is_active(second)) == (True, False)
    desk.vhost.cancel(first)
    assert desk.ask("queues")[1]["single_active_consumer"] == "second"


def test_a_retry_policy_that_makes_no_sense_is_refused_here_too(desk: Desk) -> None:
    desk.vhost.declare_queue("r", True, False, False, {"x-retry": "fixed"}, False, None)
    said = desk.publish(routing_key="r", properties={"headers": {"x-retry": "often"}})
    assert said == "invalid header 'x-retry': type: expected fixed, linear, exponential, got 'often'"
    assert desk.ask("queues")[1]["ready"] == 0


def test_what_a_queue_refuses_is_an_error(desk: Desk) -> None:
    arguments = {"x-unique": "refuse", "x-max-length": 2, "x-overflow": "reject-publish"}
    desk.vhost.declare_queue("u", True, False, False, arguments, False, None)
    answers = [desk.publish(routing_key="u", properties={"message_id": each}) for each in "aabc"]
    refused = "a queue refused this message: it is full, or a message with this key waits in it already"
    assert answers == [{"queues": 1}, refused, {"queues": 1}, refused]


def test_what_an_exchange_delays_needs_no_queue_yet(desk: Desk) -> None:
    vhost = desk.broker.vhosts["/"]
    vhost.declare_exchange(
        "later", "x-delayed-message", True, False, False, {"x-delayed-type": "direct"}, False
    )
    late = {"headers": {"x-delay": 60_000}}
    assert desk.publish(exchange="later", routing_key="k", properties=late) == {"queues": 0}
    assert vhost.stores["later"].sleeping_count() == 1
    assert "no queue takes this message" in desk.publish(exchange="later", routing_key="k")
