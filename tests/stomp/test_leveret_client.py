"""Leveret's own client and a STOMP client on the same queues: calls, answers, values, dead letters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import leveret

from .broker import Ports
from .talker import Frame, Talker


@pytest.fixture
def client(ports: Ports) -> Iterator[Any]:
    with leveret.connect_sync(ports.amqp.url) as opened:
        yield opened


def answers(talker: Talker, queue: str, answer: Callable[[Frame], bytes]) -> threading.Thread:
    """One request of a queue is answered by STOMP."""
    talker.subscribe(f"/queue/{queue}")

    def serve() -> None:
        asked = talker.message()
        headers = {"destination": asked.header("reply-to"), "content-type": "application/json"}
        headers["correlation-id"] = asked.headers.get("correlation-id", "")
        talker.send("SEND", headers, answer(asked))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_call_is_answered_by_stomp(client: Any, talker: Talker, queue: str) -> None:
    thread = answers(talker, queue, lambda asked: json.dumps(sum(json.loads(asked.body))).encode())
    assert client.call(queue, [2, 2], timeout_s=10).data == 4
    thread.join(10)


def test_a_stomp_request_is_answered_by_the_client(client: Any, talker: Talker, queue: str) -> None:
    client.declare_queue(queue)
    talker.ask(
        "SEND",
        {
            "destination": f"/queue/{queue}", "reply-to": "/temp-queue/mine", "correlation-id": "c",
            "content-type": "application/json",
        },
        b'{"numbers": [2, 2]}',
    )  # fmt: skip
    for message in client.drain(queue, limit=1, timeout_s=10):
        message.reply({"sum": sum(message.data["numbers"])})
        message.ack()
    answer = talker.message()
    assert (json.loads(answer.body), answer.header("correlation-id")) == ({"sum": 4}, "c")


def test_values_and_headers_both_ways(client: Any, talker: Talker, queue: str) -> None:
    client.declare_queue(queue)
    client.publish(queue, {"n": 1}, headers={"colour": "red"}, message_id="m", type="order")
    talker.subscribe(f"/queue/{queue}")
    came = talker.message()
    assert json.loads(came.body) == {"n": 1}
    wanted = {"colour": "red", "amqp-message-id": "m", "type": "order", "persistent": "true"}
    assert came.headers.items() >= wanted.items()
    talker.ask("UNSUBSCRIBE", {"id": "0"})

    headers = {"destination": f"/queue/{queue}", "content-type": "application/json", "colour": "blue"}
    talker.ask("SEND", headers | {"amqp-message-id": "m2", "persistent": "true"}, b'{"n": 2}')
    (message,) = client.drain(queue, limit=1, timeout_s=10)
    assert (message.data, message.headers["colour"], message.message_id) == ({"n": 2}, "blue", "m2")
    message.ack()


def test_topics_of_the_client(client: Any, talker: Talker, fresh: Callable[..., str]) -> None:
    key = fresh("topic")
    talker.subscribe(f"/topic/{key}.*")
    client.publish(leveret.topic(f"{key}.created"), b"x")
    assert talker.message().header("destination") == f"/topic/{key}.created"


def test_what_the_client_rejects_is_a_dead_letter_for_stomp(
    client: Any, talker: Talker, fresh: Callable[..., str]
) -> None:
    work, dead = fresh(), fresh("dead")
    client.declare_queue(leveret.Queue(work, dead_letter=dead))
    talker.subscribe(f"/queue/{dead}")
    talker.ask("SEND", {"destination": f"/amq/queue/{work}", "colour": "red", "persistent": "true"}, b"\0x")
    for message in client.drain(work, limit=1, timeout_s=10):
        message.reject("it is red")
    letter = talker.message()
    assert letter.body == b"\0x"
    wanted = {"colour": "red", "x-failed-queue": work, "x-reject-reason": "it is red"}
    assert letter.headers.items() >= wanted.items()
