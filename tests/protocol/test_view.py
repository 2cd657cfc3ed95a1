"""What the core sees of an AMQP 0-9-1 message, and the messages it has made of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from leveret.core.view import view_of
from leveret.errors import Bug, PreconditionFailed
from leveret.message import Message
from leveret.protocol.amqp091.content import properties_of
from leveret.wire.field import Timestamp
from leveret.wire.properties import Properties

from ..core.test_death import message

HEADERS: dict[str, object] = {"a": 1, "x-a": "text", "b": None, "x-b": [1, {"c": "d"}], "e": {"f": True}}
ALL = Properties(
    content_type="t/x",
    headers=HEADERS,
    priority=7,
    correlation_id="cor",
    expiration="1000",
    message_id="id",
    timestamp=12,
)


def with_field(field: bytes) -> Message:
    m = message(Properties(headers={"k": None}))
    m.data = m.data.replace(b"\0\0\0\3\1kV", (len(field) + 2).to_bytes(4, "big") + b"\1k" + field)
    m.data = m.data[:3] + (len(m.data) - 18).to_bytes(4, "big") + m.data[7:]
    return m


def test_headers_and_properties() -> None:
    m = message(ALL)
    view = view_of(m)
    assert view.headers(m) == HEADERS
    for name, value in HEADERS.items():
        assert view.header(m, name) == value
    assert view.header(m, "none") is None
    assert view.message_id(m) == b"id"
    assert view.priority(m) == 7
    assert view.ttl_ms(m) == 1000
    assert [view.property(m, name) for name in ("message_id", "correlation_id", "timestamp", "type")] == [
        "id",
        "cor",
        "12",
        "",
    ]


def test_nothing_is_there() -> None:
    m = message(Properties())
    view = view_of(m)
    assert view.headers(m) == {}
    assert view.header(m, "a") is None
    assert view.key_of(m, "a") == view.message_id(m) == view.deaths(m) == b""
    assert (view.priority(m), view.ttl_ms(m), view.copy_keys(m)) == (-1, -1, None)
    assert view.property(m, "message_id") == ""


SAME_KEYS = [
    [b"S\0\0\0\1a", b"x\0\0\0\1a"],
    [
        b"b\7",
        b"B\7",
        b"s\0\7",
        b"u\0\7",
        b"I\0\0\0\7",
        b"i\0\0\0\7",
        b"l" + b"\0" * 7 + b"\7",
        b"L" + b"\0" * 7 + b"\7",
    ],
    [b"b\xff", b"I\xff\xff\xff\xff"],
    [b"B\xff", b"I\0\0\0\xff"],
    [b"t\1", b"t\2"],
    [b"t\0"],
    [b"f\x3f\xc0\0\0", b"d\x3f\xf8\0\0\0\0\0\0"],
    [b"T\0\0\0\0\0\0\0\7"],
    [b"D\0\0\0\0\7"],
    [b"S\0\0\0\x017"],
    [b"S\0\0\0\3\0i7"],
    [b"S\0\0\0\4\0S\0i"],
    [b"A\0\0\0\0"],
    [b"F\0\0\0\0"],
]


def test_keys_are_equal_exactly_when_values_are() -> None:
    seen: dict[bytes, int] = {}
    for n, fields in enumerate(SAME_KEYS):
        keys = set()
        for field in fields:
            m = with_field(field)
            keys.add(view_of(m).key_of(m, "k"))
        assert len(keys) == 1
        key = keys.pop()
        assert key
        assert key not in seen
        seen[key] = n


@pytest.mark.parametrize("field", [b"V", b"S\0\0\0\0"])
def test_what_holds_nothing_is_no_key(field: bytes) -> None:
    m = with_field(field)
    assert view_of(m).key_of(m, "k") == b""


def test_a_text_is_its_own_key() -> None:
    m = message(Properties(headers={"j": 1, "k": "zoë\udcff"}))
    assert view_of(m).key_of(m, "k") == "zoë".encode() + b"\xff"


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0", 0), ("7", 7), ("007", 7), ("+7", 7), ("-0", 0), ("315360000000", 315_360_000_000)],
)
def test_expirations(text: str, ms: int) -> None:
    m = message(Properties(expiration=text))
    assert view_of(m).ttl_ms(m) == ms


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no_integer"),
        ("a", "no_integer"),
        ("+", "no_integer"),
        ("7a", '{leftover_string,"a"}'),
        ("1.5", '{leftover_string,".5"}'),
        ("-7", "{value_negative,-7}"),
        ("315360000001", "{value_too_big,315360000001}"),
        ("9" * 40, "{value_too_big," + "9" * 40 + "}"),
        ("7٣", '{leftover_string,"٣"}'),
    ],
)
def test_expirations_that_mean_nothing(text: str, error: str) -> None:
    m = message(Properties(expiration=text))
    with pytest.raises(PreconditionFailed) as raised:
        view_of(m).ttl_ms(m)
    assert raised.value.text == f"invalid expiration '{text}': {error}"


def test_other_headers() -> None:
    m = message(ALL)
    changed = view_of(m).with_headers(m, {"new": Decimal("1.5")}, True)
    properties = properties_of(changed)
    assert properties.headers == {"new": Decimal("1.5")}
    assert (properties.expiration, properties.message_id) == (None, "id")
    assert changed.data.endswith(m.data[-10:])
    assert changed.data[:3] == m.data[:3]
    assert changed.route == m.route
    assert properties_of(m).expiration == "1000"
    assert properties_of(view_of(m).with_headers(m, {}, False)).headers is None


def test_headers_added_for_a_delivery() -> None:
    m = message(ALL)
    extra: dict[str, object] = {"x-a": 1 << 40, "x-new": Timestamp(7)}
    given = view_of(m).delivery(m, extra)
    assert properties_of(given).headers == HEADERS | extra
    assert list(properties_of(given).headers or {}) == ["a", "b", "x-b", "e", "x-a", "x-new"]
    assert properties_of(given).expiration == "1000"
    bare = message(Properties(), body=b"")
    assert properties_of(view_of(bare).delivery(bare, extra)).headers == extra


def test_a_copy_key_that_is_none() -> None:
    m = message(Properties(headers={"CC": ["a", 7, "b"]}))
    assert view_of(m).copy_keys(m) == ["a", "b"]


def test_a_protocol_without_a_view_is_a_bug() -> None:
    with pytest.raises(Bug):
        view_of(Message(b"", b"", 0, False, 99))
