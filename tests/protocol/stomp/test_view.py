"""What the core sees of a STOMP message, and the messages it makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.view import view_of
from leveret.errors import PreconditionFailed
from leveret.message import AMQP091, STOMP, Message
from leveret.protocol.amqp091.foreign import as_amqp
from leveret.protocol.stomp import mapping
from leveret.protocol.stomp.view import headers_of, kept_block, made
from leveret.wire.methods import route_bytes
from leveret.wire.properties import Properties
from leveret.wire.splice import Names
from leveret.wire.stomp_headers import Headers

ALL: Headers = [
    (b"destination", b"/queue/q"),
    (b"content-type", b"text/x"),
    (b"persistent", b"true"),
    (b"priority", b"7"),
    (b"correlation-id", b"cor"),
    (b"reply-to", b"answers"),
    (b"expiration", b"1000"),
    (b"amqp-message-id", b"id"),
    (b"timestamp", b" 12"),
    (b"receipt", b"r-1"),
    (b"transaction", b"t-1"),
    (b"content-length", b"2"),
    (b"user:\n", b"a\\b\r"),
    (b"x-number", b"5"),
]


def sent(headers: Headers, body: bytes = b"hi", exchange: str = "", key: str = "q") -> Message:
    return made(kept_block(headers), body, route_bytes(exchange, key), mapping.persistent_of(headers))


def test_what_is_kept() -> None:
    m = sent(ALL)
    assert m.data == (
        b"content-type:text/x\npersistent:true\npriority:7\ncorrelation-id:cor\n"
        b"reply-to:/reply-queue/answers\nexpiration:1000\namqp-message-id:id\ntimestamp: 12\n"
        b"user\\c\\n:a\\\\b\\r\nx-number:5\n\nhi"
    )
    assert (m.size_bytes, m.persistent, m.protocol) == (2, True, STOMP)
    assert dict(headers_of(m))[b"user:\n"] == b"a\\b\r"


def test_properties_headers_and_body() -> None:
    m = sent(ALL, b"\n\nbody:1\n\n")
    view = view_of(m)
    assert view.properties(m) == Properties(
        content_type="text/x",
        headers={"user:\n": "a\\b\r", "x-number": "5"},
        delivery_mode=2,
        priority=7,
        correlation_id="cor",
        reply_to="answers",
        expiration="1000",
        message_id="id",
        timestamp=12,
    )
    assert view.body(m) == b"\n\nbody:1\n\n"
    assert view.headers(m) == {"user:\n": "a\\b\r", "x-number": "5"}
    assert view.header(m, "user:\n") == "a\\b\r"
    assert view.header(m, "x-number") == "5"
    assert view.header(m, "body") is None
    assert view.header(m, "content-type") is None  # a property
    assert (view.key_of(m, "x-number"), view.key_of(m, "x-none"), view.key_of(m, "priority")) == (
        b"5",
        b"",
        b"",
    )
    assert view.message_id(m) == b"id"
    assert view.priority(m) == 7
    assert view.ttl_ms(m) == 1000
    assert view.copy_keys(m) is None
    assert not view.is_bare(m)
    names = ("message_id", "correlation_id", "timestamp", "type")
    assert [view.property(m, name) for name in names] == ["id", "cor", "12", ""]


@pytest.mark.parametrize("body", [b"", b"\n", b"\n\n", b"a:b\n\n", b"priority:7\n"])
def test_nothing_is_there(body: bytes) -> None:
    m = sent([], body)
    view = view_of(m)
    assert m.data == b"\n" + body
    assert view.body(m) == body
    assert view.properties(m) == Properties()
    assert view.headers(m) == view.times(m) == {}
    assert view.header(m, "a") is None
    assert view.key_of(m, "a") == view.message_id(m) == view.deaths(m) == b""
    assert (view.priority(m), view.ttl_ms(m)) == (-1, -1)
    assert [view.property(m, name) for name in ("message_id", "correlation_id", "timestamp")] == ["", "", ""]
    assert view.is_bare(m)


@pytest.mark.parametrize(
    ("headers", "name", "value"),
    [
        ([(b"a", b"1"), (b"aa", b"2"), (b"ba", b"3")], "a", "1"),
        ([(b"aa", b"2"), (b"a", b"1")], "a", "1"),
        ([(b"aa", b"2"), (b"ba", b"1")], "a", None),
        ([(b"b", b"a:1"), (b"c", b"\na:2")], "a", None),
        ([(b"a", b"")], "a", ""),
        ([(b"a", b"\xff")], "a", "\udcff"),
        ([(b"\xff", b"1")], "\udcff", "1"),
    ],
    ids=repr,
)
def test_a_header_is_found_by_its_whole_name(headers: Headers, name: str, value: str | None) -> None:
    m = sent(headers, b"\na:body\n")
    assert view_of(m).header(m, name) == value
    assert view_of(m).key_of(m, name) == (value or "").encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("value", [b"", b"soon", b"5s", b"-1", b"1.5", b"9" * 20, "٣".encode()])
def test_an_expiration_that_means_nothing(value: bytes) -> None:
    m = sent([(b"expiration", value)])
    with pytest.raises(PreconditionFailed, match="invalid expiration"):
        view_of(m).ttl_ms(m)


def test_a_priority_that_means_nothing_is_none() -> None:
    for value in (b"", b"high", b"-1", b"256"):
        m = sent([(b"priority", value)])
        assert view_of(m).priority(m) == -1


def test_times() -> None:
    m = sent([(b"x-deliver-after", b"10s"), (b"x-delay", b"5"), (b"x-delivery", b"1")])
    assert view_of(m).times(m) == {"x-deliver-after": "10s", "x-delay": "5"}
    assert view_of(m).delay_ms(m) == -1


def test_what_changes_headers_makes_an_amqp_message() -> None:
    m = sent(ALL)
    view = view_of(m)
    changed = [
        view.with_headers(m, {"n": 1}, True),
        view.delivery(m, {"x-count": 3}),
        view.with_fields(m, b"\x07x-fieldt\x01", Names({b"x-number"})),
        view.dead_letter(m, route_bytes("dlx", "k"), b"\x07x-fieldt\x01", Names({b"x-number"}), True),
    ]
    plain = {"user:\n": "a\\b\r"}
    expected: list[dict[str, object]] = [
        {"n": 1},
        {**plain, "x-number": "5", "x-count": 3},
        {**plain, "x-field": True},
        {**plain, "x-field": True},
    ]
    for each, headers in zip(changed, expected, strict=True):
        told = view_of(each).properties(each)
        assert told.headers == headers
        assert (told.message_id, told.correlation_id, told.priority) == ("id", "cor", 7)
        assert (each.protocol, each.persistent, view_of(each).body(each)) == (AMQP091, True, b"hi")
    assert view_of(changed[0]).properties(changed[0]).expiration is None
    assert view_of(changed[2]).properties(changed[2]).expiration == "1000"
    assert view_of(changed[3]).properties(changed[3]).expiration is None
    assert changed[3].route == route_bytes("dlx", "k")


TEXT = st.lists(st.integers(1, 255), max_size=12).map(bytes)
NAMES = st.sampled_from(
    [b"priority", b"reply-to", b"a", b"a:", b"x-a", b"expiration", b"receipt"]
) | TEXT.filter(bool)


@given(st.dictionaries(NAMES, TEXT, max_size=8), st.binary(max_size=20))
def test_whatever_is_said_is_kept(headers: dict[bytes, bytes], body: bytes) -> None:
    m = sent(list(headers.items()), body)
    view = view_of(m)
    assert view.body(m) == body
    assert view.properties(m) == mapping.properties_of(list(headers.items()))
    kept = {name: value for name, value in headers.items() if name not in mapping.OF_FRAME}
    for name, value in kept.items():
        if name not in mapping.PROPERTIES:
            assert view.key_of(m, name.decode("utf-8", "surrogateescape")) == value
    told = as_amqp(m)
    assert view_of(told).properties(told) == view.properties(m)
    assert view_of(told).body(told) == body
