"""Exchange types of RabbitMQ's plugins, and sender-selected distribution (through pika).

RabbitMQ needs rabbitmq_consistent_hash_exchange, rabbitmq_sharding and rabbitmq_random_exchange; of a type that it does
not have nothing is tested. Which key goes to which queue is each broker's own business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest

from .clients import drain, expect_channel_error, must_get

Fresh = Callable[..., str]
UNKNOWN = "unknown exchange type"
INVALID = "PRECONDITION_FAILED - invalid message: "


def declare(conn: Any, ch: Any, name: str, kind: str, **options: Any) -> None:
    """Declare it, or skip the test where there is no such type."""
    try:
        with conn.channel() as trial:
            trial.exchange_declare(name, kind, **options)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_text.startswith(f"PRECONDITION_FAILED - {UNKNOWN} '{kind}'"):
            pytest.skip(f"the broker has no exchange type {kind}")
        raise


def own_queues(ch: Any, exchange: str, weights: list[str]) -> list[str]:
    names = [str(ch.queue_declare("", exclusive=True).method.queue) for _ in weights]
    for name, weight in zip(names, weights, strict=True):
        ch.queue_bind(name, exchange, weight)
    return names


def publish(
    ch: Any, exchange: str, keys: list[str], properties: Callable[[str], pika.BasicProperties] | None = None
) -> None:
    """A message for each key, whose body is the key. All of them are routed when this returns."""
    with ch.connection.channel() as publisher:
        publisher.confirm_delivery()
        for key in keys:
            made = properties(key) if properties else pika.BasicProperties()
            publisher.basic_publish(exchange, "k" if properties else key, key.encode(), made)


def homes(ch: Any, queues: list[str]) -> dict[str, str]:
    """Where each body is, each in one place."""
    found: dict[str, str] = {}
    for queue in queues:
        for body in drain(ch, queue):
            key = body.decode()
            assert key not in found
            found[key] = queue
    return found


KEYS = [f"key {n}" for n in range(300)]


@pytest.mark.parametrize("kind", ["x-consistent-hash", "x-modulus-hash"])
def test_a_key_has_one_home(conn: Any, ch: Any, fresh: Fresh, kind: str) -> None:
    exchange = fresh("x")
    declare(conn, ch, exchange, kind)
    queues = own_queues(ch, exchange, ["1", "1", "1"])
    publish(ch, exchange, KEYS)
    first = homes(ch, queues)
    assert set(first) == set(KEYS)
    assert min(Counter(first.values())[queue] for queue in queues) > 60
    publish(ch, exchange, KEYS)
    assert homes(ch, queues) == first


def test_weights(conn: Any, ch: Any, fresh: Fresh) -> None:
    exchange = fresh("x")
    declare(conn, ch, exchange, "x-consistent-hash")
    light, heavy = own_queues(ch, exchange, ["1", "9"])
    publish(ch, exchange, KEYS)
    counts = Counter(homes(ch, [light, heavy]).values())
    assert counts[heavy] + counts[light] == len(KEYS)
    assert counts[heavy] > 230


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        ({"hash-header": "who"}, lambda key: pika.BasicProperties(headers={"who": key})),
        ({"hash-property": "message_id"}, lambda key: pika.BasicProperties(message_id=key)),
        ({"hash-property": "correlation_id"}, lambda key: pika.BasicProperties(correlation_id=key)),
        ({"hash-property": "timestamp"}, lambda key: pika.BasicProperties(timestamp=int(key[4:]))),
    ],
    ids=["header", "message_id", "correlation_id", "timestamp"],
)
def test_hash_on_something_else(
    conn: Any,
    ch: Any,
    fresh: Fresh,
    arguments: dict[str, Any],
    properties: Callable[[str], pika.BasicProperties],
) -> None:
    exchange = fresh("x")
    declare(conn, ch, exchange, "x-consistent-hash", arguments=arguments)
    queues = own_queues(ch, exchange, ["1", "1"])
    publish(ch, exchange, KEYS, properties)
    first = homes(ch, queues)
    assert set(first.values()) == set(queues)
    publish(ch, exchange, KEYS, properties)
    assert homes(ch, queues) == first
    publish(ch, exchange, KEYS)  # without it all go to one
    assert len(set(homes(ch, queues).values())) == 1


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "The binding key must be an integer: <<>>"),
        ("x", 'The binding key must be an integer: <<"x">>'),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        ('"', 'The binding key must be an integer: <<"\\"">>'),
        ("é", 'The binding key must be an integer: <<"é"/utf8>>'),
        ("0", "The binding key must be greater than 0"),
        ("10001", "The binding key must not exceed 10000"),
    ],
)
def test_what_is_no_weight(conn: Any, ch: Any, fresh: Fresh, key: str, text: str) -> None:
    exchange = fresh("x")
    declare(conn, ch, exchange, "x-consistent-hash")
    with expect_channel_error(406, f"PRECONDITION_FAILED - {text}"):
        own_queues(ch, exchange, [key])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
    ],
    ids=["both", "property"],
)
def test_arguments_refused(conn: Any, ch: Any, fresh: Fresh, arguments: dict[str, str], text: str) -> None:
    declare(conn, ch, fresh("x"), "x-consistent-hash")
    with expect_channel_error(406, f"PRECONDITION_FAILED - {text}"):
        ch.exchange_declare(fresh("x"), "x-consistent-hash", arguments=arguments)


def test_random(conn: Any, ch: Any, fresh: Fresh) -> None:
    exchange = fresh("x")
    declare(conn, ch, exchange, "x-random")
    queues = own_queues(ch, exchange, ["a", "b"])
    publish(ch, exchange, KEYS)
    counts = Counter(homes(ch, queues).values())
    assert min(counts[queue] for queue in queues) > 90  # less happens once in a million million times


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": 1}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        (
            {"x-delayed-type": "x-delayed-message"},
            "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'",
        ),
        ({"x-delayed-type": "nope"}, "unknown exchange type 'nope'"),
    ],
    ids=["none", "number", "itself", "unknown"],
)
def test_delayed_type(conn: Any, ch: Any, fresh: Fresh, arguments: dict[str, Any], text: str) -> None:
    declare(conn, ch, fresh("x"), "x-delayed-message", arguments={"x-delayed-type": "fanout"})
    with expect_channel_error(406, f"PRECONDITION_FAILED - {text}"):
        ch.exchange_declare(fresh("x"), "x-delayed-message", arguments=arguments)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"CC": "a"}, '{unacceptable_type_in_header,"CC",longstr}'),
        ({"BCC": 5}, '{unacceptable_type_in_header,"BCC",signedint}'),
        ({"BCC": 5, "CC": None}, '{unacceptable_type_in_header,"CC",void}'),
    ],
    ids=["CC", "BCC", "both"],
)
def test_copies_are_arrays(ch: Any, headers: dict[str, Any], text: str) -> None:
    ch.confirm_delivery()
    with expect_channel_error(406, INVALID + text):
        ch.basic_publish("", "nobody", b"x", pika.BasicProperties(headers=headers))


def test_copies_by_queue_name(ch: Any) -> None:
    queues = [str(ch.queue_declare("", exclusive=True).method.queue) for _ in range(3)]
    ch.confirm_delivery()
    headers = {"CC": [queues[1], 5, queues[0]], "BCC": [queues[2], queues[1]]}
    ch.basic_publish("", queues[0], b"x", pika.BasicProperties(headers=headers))
    for queue in queues:
        found = must_get(ch, queue)
        assert found.properties.headers == {"CC": headers["CC"]}
        assert found.method.routing_key == queues[0]
        assert drain(ch, queue) == []


def test_a_returned_message_has_no_bcc(ch: Any) -> None:
    ch.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as caught:
        ch.basic_publish(
            "", "nobody", b"x", pika.BasicProperties(headers={"CC": ["a"], "BCC": ["b"]}), mandatory=True
        )
    assert caught.value.messages[0].properties.headers == {"CC": ["a"]}


def test_copies_in_a_transaction(ch: Any) -> None:
    queues = [str(ch.queue_declare("", exclusive=True).method.queue) for _ in range(2)]
    ch.tx_select()
    ch.basic_publish("", queues[0], b"x", pika.BasicProperties(headers={"BCC": [queues[1]]}))
    ch.tx_commit()
    for queue in queues:
        assert must_get(ch, queue).properties.headers == {}
