"""Messages that come in by one protocol and go out by the other: routes, properties, headers, bodies, settling, order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pika import BasicProperties

from tests.compat.clients import Inbox, await_count, count, must_get

from .talker import Frame, Talker

Fresh = Callable[..., str]
BODIES = [
    b"",
    b"x",
    b"\0",
    b"a\0b\n\nMESSAGE\n\n\0",
    bytes(range(256)),
    '{"n": 1, "text": "žluťoučký"}'.encode(),
    b"\n",
    b"\x00" * 70_000,
    bytes(range(256)) * 2_000,
]
BODY_IDS = ["empty", "one", "nul", "looks-like-frames", "all-bytes", "json", "line-end", "nuls", "large"]


# ---- bodies


@pytest.mark.parametrize("body", BODIES, ids=BODY_IDS)
def test_a_body_goes_from_stomp_to_amqp(talker: Talker, ch: Any, queue: str, body: bytes) -> None:
    talker.ask("SEND", {"destination": f"/queue/{queue}", "content-length": str(len(body))}, body)
    assert must_get(ch, queue, auto_ack=True).body == body


@pytest.mark.parametrize("body", BODIES, ids=BODY_IDS)
def test_a_body_goes_from_amqp_to_stomp(talker: Talker, ch: Any, queue: str, body: bytes) -> None:
    talker.subscribe(f"/queue/{queue}")
    ch.basic_publish("", queue, body)
    found = talker.message()
    assert found.body == body
    assert int(found.headers.get("content-length", "0")) == len(body)  # RabbitMQ does not tell 0


@pytest.mark.parametrize("body", BODIES, ids=BODY_IDS)
def test_a_body_goes_from_stomp_to_stomp(talker: Talker, queue: str, body: bytes) -> None:
    talker.subscribe(f"/queue/{queue}")
    talker.ask("SEND", {"destination": f"/queue/{queue}", "content-length": str(len(body))}, body)
    assert talker.message().body == body


# ---- properties

# name of the STOMP header, its text, the property and what it is there
PROPERTIES: list[tuple[str, str, str, object]] = [
    ("content-type", "text/html; charset=utf-8", "content_type", "text/html; charset=utf-8"),
    ("content-encoding", "gzip", "content_encoding", "gzip"),
    ("persistent", "true", "delivery_mode", 2),
    ("priority", "7", "priority", 7),
    ("correlation-id", "a:b", "correlation_id", "a:b"),
    ("reply-to", "/queue/answers", "reply_to", "/queue/answers"),
    ("expiration", "3600000", "expiration", "3600000"),
    ("amqp-message-id", "m-1", "message_id", "m-1"),
    ("timestamp", "1700000000", "timestamp", 1_700_000_000),
    ("type", "order", "type", "order"),
    ("user-id", "guest", "user_id", "guest"),
    ("app-id", "shop", "app_id", "shop"),
]
PROPERTY_IDS = [each[0] for each in PROPERTIES]


@pytest.mark.parametrize(("header", "text", "name", "value"), PROPERTIES, ids=PROPERTY_IDS)
def test_a_header_becomes_a_property(
    talker: Talker, ch: Any, queue: str, header: str, text: str, name: str, value: object
) -> None:
    talker.ask("SEND", {"destination": f"/queue/{queue}", header: text}, b"x")
    found = must_get(ch, queue, auto_ack=True)
    assert getattr(found.properties, name) == value
    assert header not in (found.properties.headers or {})


@pytest.mark.parametrize(("header", "text", "name", "value"), PROPERTIES, ids=PROPERTY_IDS)
def test_a_property_becomes_a_header(
    talker: Talker, ch: Any, queue: str, header: str, text: str, name: str, value: object
) -> None:
    talker.subscribe(f"/queue/{queue}")
    ch.basic_publish("", queue, b"x", BasicProperties(**{name: value}))
    assert talker.message().headers[header] == text


def test_a_message_without_properties_has_none_in_the_other_protocol(
    talker: Talker, ch: Any, queue: str
) -> None:
    talker.subscribe(f"/queue/{queue}", sub_id="s")
    ch.basic_publish("", queue, b"x")
    found = talker.message()
    own = {"subscription", "destination", "message-id", "redelivered", "content-length"}
    assert found.headers.keys() == own
    assert (found.header("subscription"), found.header("redelivered")) == ("s", "false")


def test_transient_and_persistent(talker: Talker, ch: Any, queue: str) -> None:
    for persistent in ("true", "false", ""):
        headers = {"destination": f"/queue/{queue}"} | ({"persistent": persistent} if persistent else {})
        talker.ask("SEND", headers, b"x")
    modes = [must_get(ch, queue, auto_ack=True).properties.delivery_mode for _ in range(3)]
    assert modes[0] == 2
    assert 2 not in modes[1:]


USER_HEADERS = {
    "plain": "text",
    "empty": "",
    "colon": "a:b:c",
    "lines": "one\ntwo",
    "back": "a\\nb\\",
    "unicode": "žluťoučký ",
    "spaces": "  both  ",
    "number": "5",
    "name:with:colons": "x",
}


def test_user_headers_go_to_amqp_as_texts(talker: Talker, ch: Any, queue: str) -> None:
    talker.ask("SEND", {"destination": f"/queue/{queue}", **USER_HEADERS}, b"x")
    assert must_get(ch, queue, auto_ack=True).properties.headers.items() >= USER_HEADERS.items()


def test_user_headers_stay_in_stomp(talker: Talker, queue: str) -> None:
    talker.subscribe(f"/queue/{queue}")
    talker.ask("SEND", {"destination": f"/queue/{queue}", **USER_HEADERS}, b"x")
    assert talker.message().headers.items() >= USER_HEADERS.items()


def test_user_headers_come_from_amqp_with_their_types_as_texts(talker: Talker, ch: Any, queue: str) -> None:
    """Both brokers tell texts and integers; what else Leveret tells is in docs/reference/stomp.md."""
    talker.subscribe(f"/queue/{queue}")
    headers = {"text": "a:b", "int": -5, "long": 1 << 40, "list": ["x"], "table": {"a": 1}}
    ch.basic_publish("", queue, b"x", BasicProperties(headers=headers))
    found = talker.message().headers
    assert {name: found.get(name) for name in headers} == {
        "text": "a:b", "int": "-5", "long": str(1 << 40), "list": None, "table": None,
    }  # fmt: skip


def test_of_a_repeated_header_the_first_counts(talker: Talker, ch: Any, queue: str) -> None:
    talker.write(f"SEND\ndestination:/queue/{queue}\na:1\na:2\nreceipt:r\n\nx\0".encode())
    talker.expect("RECEIPT")
    assert must_get(ch, queue, auto_ack=True).properties.headers["a"] == "1"


# ---- routes


def destination_of(frame: Frame) -> str:
    return frame.header("destination")


def test_to_a_queue_and_back(talker: Talker, ch: Any, queue: str) -> None:
    talker.subscribe(f"/queue/{queue}")
    ch.basic_publish("", queue, b"from amqp")
    assert destination_of(talker.message()) == f"/queue/{queue}"
    talker.publish(f"/amq/queue/{queue}", b"from stomp")
    assert destination_of(talker.message()) == f"/queue/{queue}"


def test_a_queue_that_amqp_made(talker: Talker, ch: Any, queue: str) -> None:
    ch.queue_declare(queue, durable=False, exclusive=False, arguments={"x-expires": 600_000})
    talker.subscribe(f"/amq/queue/{queue}")
    talker.publish(f"/amq/queue/{queue}", b"x")
    assert talker.message().body == b"x"


def test_send_makes_a_durable_queue(talker: Talker, ch: Any, queue: str) -> None:
    talker.publish(f"/queue/{queue}", b"x")
    ch.queue_declare(queue, durable=True)  # refused if it were anything else
    assert count(ch, queue) == 1


def test_topics_both_ways(talker: Talker, ch: Any, fresh: Fresh) -> None:
    key = fresh("topic")
    talker.subscribe(f"/topic/{key}.*.created")
    ch.basic_publish("amq.topic", f"{key}.eu.created", b"amqp")
    ch.basic_publish("amq.topic", f"{key}.eu.deleted", b"no")
    assert destination_of(talker.message()) == f"/topic/{key}.eu.created"

    mine = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(mine, "amq.topic", f"{key}.#")
    talker.publish(f"/topic/{key}.us", b"stomp")
    found = must_get(ch, mine, auto_ack=True)
    assert (found.body, found.method.exchange, found.method.routing_key) == (
        b"stomp", "amq.topic", f"{key}.us",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_exchanges_both_ways(talker: Talker, ch: Any, fresh: Fresh, kind: str) -> None:
    exchange, mine = fresh("x"), fresh()
    ch.exchange_declare(exchange, kind)
    ch.queue_declare(mine)
    arguments = {"x-match": "all", "colour": "red"} if kind == "headers" else None
    ch.queue_bind(mine, exchange, "key", arguments)
    talker.ask("SEND", {"destination": f"/exchange/{exchange}/key", "colour": "red"}, b"stomp")
    found = must_get(ch, mine, auto_ack=True)
    assert (found.body, found.method.exchange, found.method.routing_key) == (b"stomp", exchange, "key")

    talker.subscribe(f"/exchange/{exchange}/key")
    ch.basic_publish(exchange, "key", b"amqp", BasicProperties(headers={"colour": "red"}))
    came = talker.message()
    assert (came.body, destination_of(came)) == (b"amqp", f"/exchange/{exchange}/key")


def test_a_name_with_a_slash(talker: Talker, ch: Any, fresh: Fresh) -> None:
    name = fresh() + "/with/slashes"
    escaped = name.replace("/", "%2F")
    ch.queue_declare(name, exclusive=True)
    talker.publish(f"/amq/queue/{escaped}", b"x")
    assert must_get(ch, name, auto_ack=True).body == b"x"


def test_a_request_by_amqp_is_answered_by_stomp(talker: Talker, ch: Any, queue: str) -> None:
    talker.subscribe(f"/queue/{queue}")
    answers = ch.queue_declare("", exclusive=True).method.queue
    ch.basic_publish("", queue, b"2+2", BasicProperties(reply_to=answers, correlation_id="c"))
    asked = talker.message()
    assert asked.header("reply-to") == f"/reply-queue/{answers}"
    talker.ask("SEND", {"destination": asked.header("reply-to"), "correlation-id": "c"}, b"4")
    answer = must_get(ch, answers, auto_ack=True)
    assert (answer.body, answer.properties.correlation_id) == (b"4", "c")


def test_a_request_by_stomp_is_answered_by_amqp(talker: Talker, ch: Any, queue: str) -> None:
    talker.ask("SEND", {"destination": f"/queue/{queue}", "reply-to": "/temp-queue/mine"}, b"2+2")
    asked = must_get(ch, queue, auto_ack=True)
    reply_to = asked.properties.reply_to
    ch.basic_publish("", reply_to.removeprefix("/reply-queue/"), b"4")
    answer = talker.message()
    assert (answer.body, answer.header("subscription")) == (b"4", "/temp-queue/mine")


# ---- settling


def test_what_is_not_acked_comes_back_to_amqp_with_its_flag(
    talk: Callable[..., Talker], ch: Any, queue: str
) -> None:
    first = talk()
    first.publish(f"/queue/{queue}", b"x")
    first.subscribe(f"/queue/{queue}", ack="client")
    assert first.message().header("redelivered") == "false"
    first.drop()
    assert must_get(ch, queue, auto_ack=True).redelivered


def test_what_amqp_requeues_comes_to_stomp_with_its_flag(talker: Talker, ch: Any, queue: str) -> None:
    talker.publish(f"/queue/{queue}", b"x")
    ch.basic_nack(must_get(ch, queue).tag, requeue=True)
    talker.subscribe(f"/queue/{queue}")
    assert talker.message().header("redelivered") == "true"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_nack_requeues_unless_told_otherwise(
    talk: Callable[..., Talker], ch: Any, queue: str, version: str
) -> None:
    talker = talk(version)
    talker.subscribe(f"/queue/{queue}", ack="client-individual")
    ch.basic_publish("", queue, b"x")
    talker.settle("NACK", talker.message())
    again = talker.message()
    assert again.header("redelivered") == "true"
    talker.settle("NACK", again, requeue="false")
    assert talker.nothing_came()
    assert count(ch, queue) == 0


def test_client_acks_all_before_it(talk: Callable[..., Talker], ch: Any, queue: str) -> None:
    talker = talk()
    talker.publish(f"/queue/{queue}", b"0")
    for body in (b"1", b"2", b"3"):
        ch.basic_publish("", queue, body)
    await_count(ch, queue, 4)
    talker.subscribe(f"/queue/{queue}", ack="client")
    came = [talker.message() for _ in range(4)]
    talker.settle("ACK", came[2])
    talker.disconnect()
    assert must_get(ch, queue, auto_ack=True).body == b"3"
    assert count(ch, queue) == 0


def test_client_individual_acks_one(talk: Callable[..., Talker], ch: Any, queue: str) -> None:
    talker = talk()
    for body in (b"0", b"1", b"2"):
        talker.publish(f"/queue/{queue}", body)
    talker.subscribe(f"/queue/{queue}", ack="client-individual")
    came = [talker.message() for _ in range(3)]
    talker.settle("ACK", came[1])
    talker.disconnect()
    assert [must_get(ch, queue, auto_ack=True).body for _ in range(2)] == [b"0", b"2"]


def test_prefetch_count_holds(talker: Talker, ch: Any, queue: str) -> None:
    for body in (b"0", b"1", b"2"):
        talker.publish(f"/queue/{queue}", body)
    talker.subscribe(f"/queue/{queue}", ack="client-individual", prefetch_count="2")
    came = [talker.message() for _ in range(2)]
    assert talker.nothing_came()
    talker.settle("ACK", came[0])
    assert talker.message().body == b"2"


def test_a_dead_letter_of_stomp_reaches_amqp(talker: Talker, ch: Any, fresh: Fresh) -> None:
    work, dead = fresh(), fresh("dead")
    ch.queue_declare(dead)
    ch.queue_declare(
        work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}, durable=True
    )
    talker.subscribe(f"/amq/queue/{work}", ack="client-individual")
    talker.ask("SEND", {"destination": f"/amq/queue/{work}", "colour": "red", "correlation-id": "c"}, b"\0x")
    talker.settle("NACK", talker.message(), requeue="false")
    found = must_get(ch, dead, auto_ack=True)
    headers = found.properties.headers
    assert (found.body, found.properties.correlation_id, headers["colour"]) == (b"\0x", "c", "red")
    (death,) = headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (work, "rejected", 1)
    assert headers["x-first-death-queue"] == work


def test_a_dead_letter_of_amqp_reaches_stomp(talker: Talker, ch: Any, fresh: Fresh) -> None:
    work, dead = fresh(), fresh("dead")
    talker.subscribe(f"/queue/{dead}")
    ch.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.basic_publish("", work, b"x", BasicProperties(headers={"colour": "red"}))
    ch.basic_reject(must_get(ch, work).tag, requeue=False)
    found = talker.message()
    assert (found.body, found.header("colour")) == (b"x", "red")
    assert (found.header("x-first-death-queue"), found.header("x-first-death-reason")) == (work, "rejected")


def test_expiry_of_a_stomp_message(talker: Talker, ch: Any, fresh: Fresh) -> None:
    work, dead = fresh(), fresh("dead")
    ch.queue_declare(dead)
    ch.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    talker.ask("SEND", {"destination": f"/amq/queue/{work}", "expiration": "20"}, b"x")
    assert must_get(ch, dead, auto_ack=True).properties.headers["x-first-death-reason"] == "expired"


def test_arguments_of_queues_are_headers_of_subscribe(talker: Talker, ch: Any, fresh: Fresh) -> None:
    work, dead = fresh(), fresh("dead")
    ch.queue_declare(dead)
    arguments = {
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, "x-max-length": "1",
    }  # fmt: skip
    headers = {"id": "0", "destination": f"/queue/{work}", "ack": "client", "prefetch-count": "1"}
    talker.ask("SUBSCRIBE", headers | arguments)
    ch.basic_publish("", work, b"held")
    assert talker.message().body == b"held"
    for body in (b"dropped", b"kept"):
        ch.basic_publish("", work, body)
    assert must_get(ch, dead, auto_ack=True).body == b"dropped"


# ---- promises and order


def test_confirms_and_receipts_in_one_queue(talker: Talker, ch: Any, queue: str) -> None:
    ch.confirm_delivery()
    for n in range(50):
        body = str(n).encode()
        if n % 2 == 0:
            talker.ask("SEND", {"destination": f"/queue/{queue}", "persistent": "true"}, body)
        else:
            ch.basic_publish("", queue, body, BasicProperties(delivery_mode=2))
    assert [must_get(ch, queue, auto_ack=True).body for _ in range(50)] == [
        str(n).encode() for n in range(50)
    ]


def test_receipts_come_in_order(talker: Talker, queue: str, is_rabbitmq: bool) -> None:
    """RabbitMQ lets those of transient messages overtake."""
    wanted = []
    for n in range(200):
        wanted.append(f"r{n}")
        persistent = {"persistent": "true"} if n % 3 else {}
        talker.send("SEND", {"destination": f"/queue/{queue}", "receipt": f"r{n}"} | persistent, b"x")
    came = [talker.expect("RECEIPT").header("receipt-id") for _ in range(200)]
    assert sorted(came) == sorted(wanted) if is_rabbitmq else came == wanted


def test_order_is_kept_from_stomp_to_amqp(talker: Talker, ch: Any, queue: str) -> None:
    talker.publish(f"/queue/{queue}", b"0")
    inbox = Inbox(ch, queue, auto_ack=True)
    for n in range(1, 500):
        talker.send("SEND", {"destination": f"/queue/{queue}"}, str(n).encode())
    inbox.wait(500)
    assert inbox.bodies == [str(n).encode() for n in range(500)]


def test_order_is_kept_from_amqp_to_stomp(talker: Talker, ch: Any, queue: str) -> None:
    talker.subscribe(f"/queue/{queue}")
    for n in range(500):
        ch.basic_publish("", queue, str(n).encode())
    assert [talker.message().body for _ in range(500)] == [str(n).encode() for n in range(500)]


def test_a_transaction_is_seen_by_amqp_once_it_is_committed(talker: Talker, ch: Any, queue: str) -> None:
    talker.publish(f"/queue/{queue}", b"before")
    talker.ask("BEGIN", {"transaction": "t"})
    for body in (b"1", b"2"):
        talker.send("SEND", {"destination": f"/queue/{queue}", "transaction": "t"}, body)
    assert talker.nothing_came()
    assert count(ch, queue) == 1
    talker.ask("COMMIT", {"transaction": "t"})
    assert [must_get(ch, queue, auto_ack=True).body for _ in range(3)] == [b"before", b"1", b"2"]


def test_acks_of_an_aborted_transaction_are_none(talk: Callable[..., Talker], ch: Any, queue: str) -> None:
    talker = talk()
    talker.publish(f"/queue/{queue}", b"x")
    talker.subscribe(f"/queue/{queue}", ack="client-individual")
    talker.ask("BEGIN", {"transaction": "t"})
    message = talker.message()
    talker.send("ACK", {"id": message.header("ack"), "transaction": "t"})
    talker.send("SEND", {"destination": f"/queue/{queue}", "transaction": "t"}, b"never")
    talker.ask("ABORT", {"transaction": "t"})
    talker.disconnect()
    found = must_get(ch, queue, auto_ack=True)
    assert (found.body, found.redelivered, count(ch, queue)) == (b"x", True, 0)


def test_both_consume_from_one_queue(talker: Talker, ch: Any, queue: str) -> None:
    """Turn by turn, and each message once."""
    talker.subscribe(f"/queue/{queue}")
    inbox = Inbox(ch, queue, auto_ack=True)
    for n in range(100):
        ch.basic_publish("", queue, str(n).encode())
    inbox.wait(50)
    theirs = [talker.message().body for _ in range(50)]
    assert sorted(theirs + inbox.bodies, key=int) == [str(n).encode() for n in range(100)]


def test_the_receipt_of_a_send_in_a_transaction(
    talker: Talker, ch: Any, queue: str, is_rabbitmq: bool
) -> None:
    """It comes with the commit: what it says has not happened before. RabbitMQ gives both in any order."""
    talker.publish(f"/queue/{queue}", b"before")
    talker.ask("BEGIN", {"transaction": "t"})
    headers = {"destination": f"/queue/{queue}", "persistent": "true", "transaction": "t", "receipt": "sent"}
    talker.send("SEND", headers, b"x")
    assert talker.nothing_came()
    assert count(ch, queue) == 1
    talker.send("COMMIT", {"transaction": "t", "receipt": "committed"})
    came = [talker.expect("RECEIPT").header("receipt-id") for _ in range(2)]
    assert sorted(came) == ["committed", "sent"]
    assert is_rabbitmq or came == ["sent", "committed"]
    await_count(ch, queue, 2)
