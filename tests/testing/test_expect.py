"""Which messages a test means, and what it is told when there is none like that."""

from __future__ import annotations

from typing import Any

import pytest

import leveret
from leveret.testing.expect import ANY, Expected, matches_topic, missing, went_to
from leveret.testing.tap import Published
from leveret.wire.properties import Properties


def message(
    body: bytes = b"hello",
    exchange: str = "",
    key: str = "emails",
    queues: tuple[str, ...] = ("emails",),
    **properties: Any,
) -> Published:
    return Published(body, exchange, key, properties=Properties(**properties), queues=queues)


@pytest.mark.parametrize(
    "pattern, key, matches",
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#.c", "a.b.c", True),
        ("#.b", "a.b.c", False),
        ("a.#.d.*", "a.b.c.d.e", True),
        ("a.#.d.*", "a.d", False),
        ("#.a.#", "b.a", True),
        ("*", "", False),
        ("", "", True),
    ],
)
def test_topics(pattern: str, key: str, matches: bool) -> None:
    assert matches_topic(pattern, key) is matches


@pytest.mark.parametrize(
    "to, matches",
    [
        ("billing", True),  # a queue that it was routed to
        ("orders.*.created", True),
        ("orders.us.*", False),
        ("amq.topic", True),
        ("", False),
        (leveret.topic("orders.eu.created"), True),
        (leveret.exchange("amq.topic"), True),
        (leveret.exchange("amq.topic", "orders.us.created"), False),
        (leveret.exchange("other"), False),
        (leveret.Queue("billing"), True),
    ],
)
def test_places(to: Any, matches: bool) -> None:
    assert went_to(message(exchange="amq.topic", key="orders.eu.created", queues=("billing",)), to) is matches


def test_a_message_to_a_queue_that_is_not_there_went_to_no_queue() -> None:
    assert not went_to(message(queues=()), "emails")


def test_what_is_no_place() -> None:
    with pytest.raises(TypeError, match="is no place"):
        went_to(message(), 7)


@pytest.mark.parametrize(
    "body, wanted, differs",
    [
        (b"hello", ANY, ""),
        (b"hello", b"hello", ""),
        (b"hello", "hello", ""),
        (b"hello", bytearray(b"hello"), ""),
        (b"hello", b"bye", "the body is b'hello', not b'bye'"),
        (b'{"a": 1}', {"a": 1}, ""),
        (b"[1, 2]", [1, 2], ""),
        (b"null", None, ""),
        (b'{"a": 1}', {"a": 2}, "the body is {'a': 1}, not {'a': 2}"),
        (b"{", {"a": 2}, "the body b'{' is not JSON"),
        (b"hello", lambda m: m.body.startswith(b"he"), ""),
        (b"hello", lambda m: m.headers, "the body b'hello' does not pass the test given"),
    ],
)
def test_bodies(body: bytes, wanted: Any, differs: str) -> None:
    assert Expected(wanted, None, {}).differs(message(body)) == differs


def test_headers_and_properties() -> None:
    sent = message(headers={"a": 1, "b": "x"}, correlation_id="7", delivery_mode=2)
    assert Expected(ANY, {"a": 1}, {"correlation_id": "7"}).differs(sent) == ""
    assert Expected(ANY, {"a": 2, "c": 1}, {"type": "t"}).differs(sent) == (
        "header 'a' is 1, not 2; it has no header 'c'; type is None, not 't'"
    )


def test_a_property_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="did you mean 'correlation_id'"):
        Expected(ANY, None, {"correlationid": "7"})


def test_the_text_for_the_wrong_queue() -> None:
    text = missing("email", Expected(ANY, None, {}), 0, None, [message()], ["emails", "other"])
    assert text.splitlines() == [
        "no message to 'email' was published",
        "did you mean 'emails'?",
        "published elsewhere (1):",
        "  1. to queue 'emails' (routed to emails): b'hello'",
    ]


def test_the_text_for_the_wrong_message() -> None:
    expected = Expected({"a": 1}, {"x": 1}, {"type": "t"})
    there = message(b'{"a": 2}', headers={"x": 1}, type="t")
    text = missing("emails", expected, 0, None, [there, message(key="other", queues=())], [])
    assert text.splitlines() == [
        "no message to 'emails' with body {'a': 1}, header x=1, type='t' was published",
        "published to 'emails' (1):",
        "  1. the body is {'a': 2}, not {'a': 1}: to queue 'emails' (routed to emails), headers {'x': 1}: b'{\"a\": 2}'",
    ]


def test_the_text_for_another_number() -> None:
    text = missing(
        leveret.topic("a.b"), Expected(ANY, None, {}), 1, 2, [message(exchange="amq.topic", key="a.b")], []
    )
    assert text.splitlines() == [
        "1 messages, not 2, to exchange 'amq.topic', key 'a.b' were published",
        "published to exchange 'amq.topic', key 'a.b' (1):",
        "  1. this one matches: to exchange 'amq.topic', key 'a.b' (routed to emails): b'hello'",
    ]


def test_the_text_for_nothing_and_for_much() -> None:
    assert missing("q", Expected(ANY, None, {}), 0, None, [], []).endswith("nothing at all was published")
    text = missing(
        "q", Expected(ANY, None, {}), 0, None, [message(b"x" * 1000, key="lost", queues=())] * 12, []
    )
    assert text.splitlines()[-1] == "  and 2 more"
    assert "no queue: it went nowhere" in text
    assert "... (1000 bytes)" in text
