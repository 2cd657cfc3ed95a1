"""A message's properties: decoded, encoded, stepped over."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pamqp.commands
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.errors import MalformedFrame
from leveret.wire import properties as wire
from leveret.wire.properties import (
    Properties,
    check_properties,
    decode_properties,
    encode_properties,
    find_property,
    without_header,
)

from .tables import table
from .test_table import names, plain_tables

# every property alone: flag, bytes, attribute, value
EACH: list[tuple[int, bytes, str, object]] = [
    (wire.CONTENT_TYPE, b"\x03a/b", "content_type", "a/b"),
    (wire.CONTENT_ENCODING, b"\x04gzip", "content_encoding", "gzip"),
    (wire.HEADERS, table(b"\x01kt\x01"), "headers", {"k": True}),
    (wire.DELIVERY_MODE, b"\x02", "delivery_mode", 2),
    (wire.PRIORITY, b"\xff", "priority", 255),
    (wire.CORRELATION_ID, b"\x01c", "correlation_id", "c"),
    (wire.REPLY_TO, b"\x01r", "reply_to", "r"),
    (wire.EXPIRATION, b"\x0510000", "expiration", "10000"),
    (wire.MESSAGE_ID, b"\x01m", "message_id", "m"),
    (wire.TIMESTAMP, b"\xff" * 8, "timestamp", (1 << 64) - 1),
    (wire.TYPE, b"\x00", "type", ""),
    (wire.USER_ID, b"\x05guest", "user_id", "guest"),
    (wire.APP_ID, b"\x01\xff", "app_id", "\udcff"),
    (wire.CLUSTER_ID, b"\x01x", "cluster_id", "x"),
]
ALL_FLAGS = 0xFFFC
ALL = ALL_FLAGS.to_bytes(2, "big") + b"".join(data for _, data, _, _ in EACH)


@pytest.mark.parametrize(("flag", "data", "name", "value"), EACH)
def test_each_property_alone(flag: int, data: bytes, name: str, value: object) -> None:
    encoded = flag.to_bytes(2, "big") + data
    decoded = decode_properties(encoded)
    assert decoded.as_dict() == {name: value}
    assert getattr(decoded, name) == value
    assert encode_properties(decoded) == encoded
    assert find_property(encoded, 0, len(encoded), flag) == 2
    check_properties(encoded, 0, len(encoded))
    for other, _, _, _ in EACH:
        if other != flag:
            assert find_property(encoded, 0, len(encoded), other) == -1


def test_all_properties() -> None:
    decoded = decode_properties(ALL)
    assert decoded.as_dict() == {name: value for _, _, name, value in EACH}
    assert encode_properties(decoded) == ALL
    around = b"\xff" * 12 + ALL + b"\xff"
    assert decode_properties(around, 12, len(around) - 1) == decoded
    check_properties(around, 12, len(around) - 1)
    at = 14
    for flag, data, _, _ in EACH:
        assert find_property(around, 12, len(around) - 1, flag) == at
        at += len(data)


def test_no_properties() -> None:
    assert encode_properties(Properties()) == b"\0\0"
    assert decode_properties(b"\0\0") == Properties()
    assert Properties().as_dict() == {}
    assert repr(Properties(type="t", priority=0)) == "Properties(priority=0, type='t')"


def test_properties_one_by_one() -> None:
    args = (ALL, 0, len(ALL))
    assert wire.text_at(*args, wire.CONTENT_TYPE) == "a/b"
    assert wire.headers_at(*args) == {"k": True}
    assert wire.headers_bytes_at(*args) == table(b"\x01kt\x01")
    assert wire.octet_at(*args, wire.DELIVERY_MODE) == 2
    assert wire.priority_at(*args) == 255
    assert wire.correlation_id_at(*args) == "c"
    assert wire.reply_to_at(*args) == "r"
    assert wire.expiration_at(*args) == "10000"
    assert wire.message_id_at(*args) == "m"
    assert wire.timestamp_at(*args) == (1 << 64) - 1
    assert wire.user_id_at(*args) == "guest"
    assert wire.text_at(*args, wire.APP_ID) == "\udcff"
    none = (b"\0\0", 0, 2)
    assert wire.headers_at(*none) is None
    assert wire.headers_bytes_at(*none) == b""
    assert wire.priority_at(*none) == -1
    assert wire.expiration_at(*none) is None
    assert wire.timestamp_at(*none) is None


def test_properties_that_are_cut_anywhere_are_malformed() -> None:
    for size in range(len(ALL)):
        for cut, end in ((ALL[:size], size), (ALL + b"behind", size)):
            with pytest.raises(MalformedFrame):
                decode_properties(cut, 0, end)
            with pytest.raises(MalformedFrame):
                check_properties(cut, 0, end)
            with pytest.raises(MalformedFrame):
                find_property(cut, 0, end, wire.CLUSTER_ID)
    with pytest.raises(MalformedFrame):
        decode_properties(ALL + b"x")
    with pytest.raises(MalformedFrame):
        check_properties(ALL + b"x", 0, len(ALL) + 1)


@pytest.mark.parametrize(("flag", "data", "name", "value"), EACH)
def test_a_property_that_is_cut_is_not_found(flag: int, data: bytes, name: str, value: object) -> None:
    encoded = flag.to_bytes(2, "big") + data
    for size in range(len(encoded)):
        with pytest.raises(MalformedFrame):
            find_property(encoded, 0, size, flag)


def test_an_end_behind_the_data_is_malformed() -> None:
    for call in (decode_properties, check_properties):
        with pytest.raises(MalformedFrame):
            call(ALL, 0, len(ALL) + 1)
        with pytest.raises(MalformedFrame):
            call(ALL, -1, len(ALL))
    with pytest.raises(MalformedFrame):
        find_property(ALL, 0, len(ALL) + 1, wire.TYPE)
    with pytest.raises(MalformedFrame):
        find_property(ALL, -1, len(ALL), wire.TYPE)
    with pytest.raises(MalformedFrame):
        wire.delivery_mode_at(ALL, 0, ALL_FLAGS, len(ALL) + 1)


def test_the_two_lowest_flags() -> None:
    with pytest.raises(MalformedFrame, match="second word"):
        decode_properties(b"\0\1\0\0")
    with pytest.raises(MalformedFrame, match="second word"):
        check_properties(b"\0\1\0\0", 0, 4)
    assert decode_properties(b"\0\2") == Properties()  # RabbitMQ does not look at it
    check_properties(b"\0\2", 0, 2)


LENGTHS_THAT_LIE = [
    (wire.HEADERS | wire.DELIVERY_MODE, b"\xff\xff\xff\xff\x02"),
    (wire.HEADERS | wire.DELIVERY_MODE, b"\x7f\xff\xff\xff\x02"),
    (wire.HEADERS | wire.DELIVERY_MODE, b"\x00\x00\x00\x02\x02"),
    (wire.CONTENT_TYPE | wire.DELIVERY_MODE, b"\xff\x02"),
    (wire.CONTENT_TYPE | wire.DELIVERY_MODE, b"\x01\x02"),
    (wire.CONTENT_TYPE | wire.CONTENT_ENCODING | wire.DELIVERY_MODE, b"\x00\x01\x02"),
]


@pytest.mark.parametrize(("flags", "data"), LENGTHS_THAT_LIE)
def test_a_length_that_lies_does_not_lead_outside(flags: int, data: bytes) -> None:
    encoded = flags.to_bytes(2, "big") + data
    long_after = encoded + b"\x02" * 300
    for held in (encoded, long_after):
        with pytest.raises(MalformedFrame):
            find_property(held, 0, len(encoded), wire.DELIVERY_MODE)
        with pytest.raises(MalformedFrame):
            wire.delivery_mode_at(held, 0, flags, len(encoded))
        with pytest.raises(MalformedFrame):
            check_properties(held, 0, len(encoded))


@pytest.mark.parametrize(
    ("present", "mode", "told"),
    [
        ({}, None, 0),
        ({}, 1, 1),
        ({}, 2, 2),
        ({}, 0, 0),
        ({}, 3, 0),
        ({"content_type": "text/plain"}, 2, 2),
        ({"content_encoding": ""}, 2, 2),
        ({"headers": {"a": {"b": [1, "x" * 400]}}}, 1, 1),
        ({"content_type": "x" * 255, "content_encoding": "gzip", "headers": {}, "priority": 2}, 2, 2),
        ({"content_type": "a", "headers": {"k": 2}, "cluster_id": "c"}, None, 0),
    ],
)
def test_delivery_mode_behind_whatever_precedes_it(
    present: dict[str, object], mode: int | None, told: int
) -> None:
    encoded = encode_properties(Properties(delivery_mode=mode, **present))  # type: ignore[arg-type]
    flags = int.from_bytes(encoded[:2], "big")
    assert wire.delivery_mode_at(b"\x01" * 19 + encoded + b"\xce", 19, flags, 19 + len(encoded)) == told
    for size in range(2, len(encoded)):
        with suppress(MalformedFrame):
            assert wire.delivery_mode_at(encoded, 0, flags, size) == told


def test_what_does_not_fit_is_a_value_error() -> None:
    for bad in (
        Properties(priority=256),
        Properties(delivery_mode=-1),
        Properties(type="x" * 256),
        Properties(timestamp=-1),
    ):
        with pytest.raises(ValueError):
            encode_properties(bad)


octets = st.integers(0, 255)
some_properties = st.fixed_dictionaries(
    {},
    optional={
        "headers": plain_tables,
        "delivery_mode": octets,
        "priority": octets,
        "timestamp": st.integers(0, (1 << 64) - 1),
        **{name: names for _, _, name, value in EACH if isinstance(value, str)},
    },
)


@given(some_properties)
def test_any_properties_come_back(values: dict[str, object]) -> None:
    encoded = encode_properties(Properties(**values))  # type: ignore[arg-type]
    assert decode_properties(encoded).as_dict() == values
    assert encode_properties(decode_properties(encoded)) == encoded
    check_properties(encoded, 0, len(encoded))
    for flag, _, name, _ in EACH:
        assert (find_property(encoded, 0, len(encoded), flag) >= 0) == (name in values)


@given(st.binary(max_size=60))
def test_checking_and_decoding_agree_on_any_bytes(data: bytes) -> None:
    try:
        decode_properties(data)
    except MalformedFrame:
        with pytest.raises(MalformedFrame):
            check_properties(data, 0, len(data))
    else:
        check_properties(data, 0, len(data))
        for flag, _, _, _ in EACH:
            find_property(data, 0, len(data), flag)


@given(st.binary(max_size=60), st.sampled_from([flag for flag, _, _, _ in EACH]))
def test_finding_in_any_bytes_stays_inside(data: bytes, flag: int) -> None:
    try:
        at = find_property(data, 0, len(data), flag)
    except MalformedFrame:
        return
    assert at == -1 or 2 <= at < len(data)


# pamqp sorts the fields of a table by name, so there is one field at most here.
PAMQP_NAMES = {"type": "message_type"}
shared = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(
            st.text(min_size=1, max_size=8),
            st.one_of(st.text(max_size=8), st.booleans()),
            min_size=1,
            max_size=1,
        ),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": octets,
        "timestamp": st.integers(1, 4_000_000_000),
        **{
            name: st.text(min_size=1, max_size=20)
            for _, _, name, value in EACH
            if isinstance(value, str) and name != "cluster_id"
        },
    },
)


@given(shared)
def test_pamqp_reads_and_writes_the_same_bytes(values: dict[str, object]) -> None:
    theirs = pamqp.commands.Basic.Properties()
    for name, value in values.items():
        moment = (
            datetime.fromtimestamp(value, UTC) if name == "timestamp" and isinstance(value, int) else value
        )
        setattr(theirs, PAMQP_NAMES.get(name, name), moment)
    encoded = encode_properties(Properties(**values))  # type: ignore[arg-type]
    assert encoded == theirs.marshal()
    header = pamqp.header.ContentHeader()
    header.unmarshal(b"\x00\x3c\x00\x00" + bytes(8) + encoded)
    for name, _ in theirs:
        assert getattr(header.properties, name) == getattr(theirs, name)


@given(some_properties, st.sampled_from(["BCC", "", "x" * 255]), st.integers(0, 3))
def test_a_header_is_cut_out(values: dict[str, object], name: str, at: int) -> None:
    """As if it had never been there, wherever it stands; whatever surrounds it is of no concern."""
    headers = values.get("headers")
    if isinstance(headers, dict):
        headers.pop(name, None)
    without = encode_properties(Properties(**values))  # type: ignore[arg-type]
    assert without_header(b"##" + without + b"##", 2, 2 + len(without), name.encode()) == without
    if isinstance(headers, dict):
        fields = list(headers.items())
        fields.insert(min(at, len(fields)), (name, ["a", {"b": [None]}]))
        values = {**values, "headers": dict(fields)}
        encoded = encode_properties(Properties(**values))  # type: ignore[arg-type]
        assert without_header(b"##" + encoded + b"##", 2, 2 + len(encoded), name.encode()) == without
