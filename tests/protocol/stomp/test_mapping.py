"""STOMP headers and AMQP properties, in both directions: the table of docs/reference/stomp.md."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.errors import PreconditionFailed
from leveret.protocol.stomp.mapping import (
    asks_of,
    check,
    expiration_of,
    headers_of,
    is_true,
    persistent_of,
    priority_of,
    properties_of,
)
from leveret.wire.field import Timestamp
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.stomp_headers import Headers

BOTH: list[tuple[Headers, Properties]] = [
    ([(b"content-type", b"text/plain")], Properties(content_type="text/plain")),
    ([(b"content-encoding", b"UTF-8")], Properties(content_encoding="UTF-8")),
    ([(b"persistent", b"true")], Properties(delivery_mode=2)),
    ([(b"priority", b"1")], Properties(priority=1)),
    ([(b"correlation-id", b"123")], Properties(correlation_id="123")),
    ([(b"reply-to", b"/reply-queue/something")], Properties(reply_to="something")),
    ([(b"reply-to", b"/queue/something")], Properties(reply_to="/queue/something")),
    ([(b"expiration", b"1000")], Properties(expiration="1000")),
    ([(b"amqp-message-id", b"M123")], Properties(message_id="M123")),
    ([(b"timestamp", b"123456")], Properties(timestamp=123456)),
    ([(b"timestamp", b"18446744073709551615")], Properties(timestamp=(1 << 64) - 1)),
    ([(b"type", b"freshly-squeezed")], Properties(type="freshly-squeezed")),
    ([(b"user-id", b"joe")], Properties(user_id="joe")),
    ([(b"app-id", b"joe's app")], Properties(app_id="joe's app")),
    ([(b"str", b"foo"), (b"int", b"123")], Properties(headers={"str": "foo", "int": "123"})),
    ([(b"x-\xff", b"\xfe")], Properties(headers={"x-\udcff": "\udcfe"})),
    ([], Properties()),
]


@pytest.mark.parametrize(("headers", "properties"), BOTH, ids=repr)
def test_both_ways(headers: Headers, properties: Properties) -> None:
    assert properties_of(headers) == properties
    assert headers_of(properties) == headers
    assert decode_properties(encode_properties(properties)) == properties


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"persistent", b"false"),
        (b"persistent", b"TRUE"),
        (b"priority", b"high"),
        (b"priority", b"-1"),
        (b"priority", b"256"),
        (b"priority", b""),
        (b"timestamp", b"now"),
        (b"timestamp", b"1.5"),
        (b"timestamp", b"18446744073709551616"),
        (b"timestamp", b"9" * 30),
        (b"type", b"t" * 256),
        (b"h" * 256, b""),
        (b"destination", b"/queue/a"),
        (b"receipt", b"1"),
        (b"transaction", b"1"),
        (b"content-length", b"1"),
    ],
)
def test_what_becomes_of_nothing(name: bytes, value: bytes) -> None:
    assert properties_of([(name, value)]) == Properties()


def test_other_forms_of_the_same() -> None:
    headers = [(b"persistent", b"True"), (b"priority", b" +7 "), (b"timestamp", b" 5 "), (b"reply-to", b"q")]
    assert properties_of(headers) == Properties(delivery_mode=2, priority=7, timestamp=5, reply_to="q")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", b"text"),
        ("", b""),
        (True, b"true"),
        (False, b"false"),
        (-5, b"-5"),
        (1 << 40, b"1099511627776"),
        (1.5, b"1.5"),
        (Decimal("1.25"), b"1.25"),
        (b"\xff", b"\xff"),
        (Timestamp(12), b"12"),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        ("a\0b", None),
    ],
    ids=repr,
)
def test_typed_headers_as_text(value: object, text: bytes | None) -> None:
    assert headers_of(Properties(headers={"h": value})) == ([] if text is None else [(b"h", text)])


def test_what_a_message_has_of_its_own_is_not_told_by_others() -> None:
    names = ("destination", "subscription", "message-id", "redelivered", "ack", "content-length", "", "a\0")
    assert headers_of(Properties(headers=dict.fromkeys(names, "forged"))) == []
    assert headers_of(Properties(type="mine", headers={"type": "other", "app-id": "x"})) == [
        (b"type", b"mine"),
        (b"app-id", b"x"),
    ]


def test_other_delivery_modes_are_not_told() -> None:
    assert headers_of(Properties(delivery_mode=1, cluster_id="c")) == []


def test_what_a_message_asks_of_core() -> None:
    assert asks_of([(b"content-type", b"t"), (b"priority", b"1"), (b"x-other", b"1")]) == 0
    assert asks_of([(b"expiration", b"1")]) == ASKS_EXPIRATION
    for name in (b"x-deliver-at", b"x-deliver-after", b"x-delay", b"x-retry"):
        assert asks_of([(name, b"1")]) == ASKS_BY_HEADERS
    assert asks_of([(b"x-retry", b"1"), (b"expiration", b"1")]) == ASKS_EXPIRATION | ASKS_BY_HEADERS


def test_yes_no_or_neither() -> None:
    for text, expected in ((b"true", True), (b"True", True), (b"false", False), (b"False", False)):
        assert is_true([(b"durable", text)], b"durable", not expected) == expected
    assert is_true([(b"durable", b"yes")], b"durable", True)
    assert not is_true([], b"durable")
    assert persistent_of([(b"persistent", b"true")])
    assert [priority_of(value) for value in (None, b"0", b"255", b"256", b"x")] == [-1, 0, 255, -1, -1]


def test_what_is_too_long_for_amqp_is_refused() -> None:
    check([(b"type", b"t" * 255), (b"h" * 255, b"v" * 8_000), (b"priority", b"9" * 300)])
    with pytest.raises(PreconditionFailed, match="header 'type' has 256 bytes, 255 are allowed"):
        check([(b"type", b"t" * 256)])
    with pytest.raises(PreconditionFailed, match="a header's name has 256 bytes, 255 are allowed: 'hhh"):
        check([(b"h" * 256, b"")])


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_further_keys_are_refused_in_rabbitmqs_words(name: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        check([(name.encode(), b"k")])
    assert refused.value.text == f'invalid message: {{unacceptable_type_in_header,"{name}",longstr}}'
    check([(b"cc", b"k")])


def test_activemqs_expires() -> None:
    assert expiration_of(b"0", 5_000) is None
    assert expiration_of(b"7000", 5_000) == b"2000"
    assert expiration_of(b"4999", 5_000) == b"0"
    with pytest.raises(PreconditionFailed, match="invalid expires 'soon'"):
        expiration_of(b"soon", 5_000)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = st.sampled_from(["content-type", "persistent", "priority", "reply-to", "timestamp", "type", "ack"])


@given(st.dictionaries((NAMES | TEXT.filter(bool)).map(str.encode), TEXT.map(str.encode), max_size=8))
def test_whatever_is_sent_can_be_told_by_amqp_and_told_back(headers: dict[bytes, bytes]) -> None:
    properties = properties_of(list(headers.items()))
    assert decode_properties(encode_properties(properties)) == properties
    if properties.headers is not None and properties.headers.pop("ack", None) is not None:
        properties.headers = properties.headers or None  # a MESSAGE has one of its own
    assert properties_of(headers_of(properties)) == properties


def test_a_reply_to_as_long_as_may_be() -> None:
    properties = Properties(reply_to="q" * 255)
    assert properties_of(headers_of(properties)) == properties
