"""Headers exchanges: modes, presence, types, and that the index says the same as looking at every binding."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.destination import Binding, Destination, Matched, Table
from leveret.core.headers import HeadersMatcher
from leveret.errors import PreconditionFailed
from leveret.wire.field import Timestamp
from tests.core.places import Letter

SOURCE = Destination("h", False, True)

MATCHES: list[tuple[Table, Table, bool]] = [
    # arguments, headers, whether they match
    ({}, {}, True),
    ({}, {"a": 1}, True),
    ({"x-match": "any"}, {"a": 1}, False),
    ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
    ({"a": 1, "b": 2}, {"a": 1}, False),
    ({"x-match": "all", "a": 1}, {"a": 2}, False),
    ({"x-match": "any", "a": 1, "b": 2}, {"b": 2}, True),
    ({"x-match": "any", "a": 1, "b": 2}, {"a": 2, "b": 1}, False),
    ({"a": None}, {"a": "anything"}, True),
    ({"a": None}, {"a": None}, True),
    ({"a": None}, {"b": 1}, False),
    ({"x-match": "any", "a": None, "b": 1}, {"a": 7}, True),
    ({"a": 1}, {"a": None}, False),
    # headers that begin with x- count only where the mode says so; then x-match alone does not
    ({"x-a": 1}, {}, True),
    ({"x-a": 1, "b": 1}, {"b": 1}, True),
    ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
    ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 1}, True),
    ({"x-match": "all-with-x", "x-a": 1}, {}, False),
    ({"x-match": "any-with-x", "x-a": 1, "b": 1}, {"x-a": 1}, True),
    ({"x-match": "any-with-x", "x-a": 1}, {"x-match": "any-with-x"}, False),
    # types
    ({"a": 1}, {"a": True}, False),
    ({"a": True}, {"a": 1}, False),
    ({"a": True}, {"a": True}, True),
    ({"a": 1}, {"a": 1.0}, False),
    ({"a": 1.5}, {"a": 1.5}, True),
    ({"a": "1"}, {"a": 1}, False),
    ({"a": "text"}, {"a": b"text"}, True),
    ({"a": b"\xff"}, {"a": "\udcff"}, True),
    ({"a": 1}, {"a": Decimal(1)}, False),
    ({"a": Decimal("1.0")}, {"a": Decimal("1.0")}, True),
    ({"a": Decimal("1.0")}, {"a": Decimal("1.00")}, False),
    ({"a": [1, "b"]}, {"a": [1, "b"]}, True),
    ({"a": [1]}, {"a": [True]}, False),
    ({"a": {"b": [1]}}, {"a": {"b": [1]}}, True),
    ({"a": {"b": [1]}}, {"a": {"b": [2]}}, False),
    # RabbitMQ reads a header's timestamp in milliseconds, an argument's in seconds (mc_amqpl:routing_value)
    ({"a": Timestamp(5)}, {"a": Timestamp(5)}, False),
    ({"a": 5000}, {"a": Timestamp(5)}, True),
]


def bound(*arguments: Table) -> tuple[HeadersMatcher, list[Binding]]:
    matcher = HeadersMatcher()
    bindings = [
        Binding(SOURCE, Destination(str(n), True, True), "", table, n) for n, table in enumerate(arguments)
    ]
    for binding in bindings:
        matcher.add(binding)
    return matcher, bindings


def matches(matcher: HeadersMatcher, headers: Table | None) -> set[int]:
    out: Matched = {}
    matcher.match(Letter("key", headers), out)
    return {int(d.name) for d in out}


@pytest.mark.parametrize(("arguments", "headers", "expected"), MATCHES)
def test_binding(arguments: Table, headers: Table, expected: bool) -> None:
    matcher, bindings = bound(arguments)
    assert matches(matcher, headers) == ({0} if expected else set())
    matcher.remove(bindings[0])
    assert matches(matcher, headers) == set()
    assert not matcher.headers
    assert not matcher.homes


def test_message_without_headers() -> None:
    matcher, _ = bound({}, {"a": 1}, {"x-match": "any"})
    assert matches(matcher, None) == {0}
    assert matches(matcher, {}) == {0}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "some",
            'Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x',
        ),
        (1, "Invalid x-match field type signedint (value 1); expected longstr"),
        (True, "Invalid x-match field type bool (value true); expected longstr"),
    ],
)
def test_invalid_mode(value: object, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        HeadersMatcher().check("", {"x-match": value})
    assert caught.value.text == text


@pytest.mark.parametrize("mode", ["all", "any", "all-with-x", "any-with-x"])
def test_valid_mode(mode: str) -> None:
    HeadersMatcher().check("", {"x-match": mode, "a": 1})


def test_bindings_that_share_a_pair_are_filed_apart() -> None:
    """A common pair must not gather all bindings: the work for a message would be that of all of them."""
    matcher, _ = bound(*[{"format": "pdf", "user": n} for n in range(1_000)])
    fullest = max(slot.count() for header in matcher.headers.values() for slot in header.values.values())
    assert fullest <= 2
    assert matches(matcher, {"format": "pdf", "user": 500}) == {500}


VALUES = st.sampled_from([1, True, "1", 1.0, None, "v"])
NAMES = st.sampled_from(["a", "b", "c", "x-d", "x-e"])
MODES = st.sampled_from([None, "all", "any", "all-with-x", "any-with-x"])


@st.composite
def argument_tables(draw: st.DrawFn) -> Table:
    table: Table = dict(draw(st.dictionaries(NAMES, VALUES, max_size=3)))
    mode = draw(MODES)
    if mode is not None:
        table["x-match"] = mode
    return table


def plainly(arguments: Table, headers: Table) -> bool:
    mode = str(arguments.get("x-match", "all"))
    asked = {
        name: value
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("x") or not name.startswith("x-"))
    }
    holds = [
        name in headers and (value is None or (type(headers[name]) is type(value) and headers[name] == value))
        for name, value in asked.items()
    ]
    return any(holds) if mode.startswith("any") else all(holds)


@given(
    st.lists(argument_tables(), max_size=10),
    st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4),
    st.data(),
)
def test_index_is_the_plain_matcher(tables: list[Table], messages: list[Table], data: st.DataObject) -> None:
    matcher, bindings = bound(*tables)
    left = set(range(len(tables)))
    for _ in range(2):
        for headers in messages:
            assert matches(matcher, headers) == {n for n in left if plainly(tables[n], headers)}
        for n in data.draw(st.sets(st.sampled_from(sorted(left)))) if left else set():
            matcher.remove(bindings[n])
            left.discard(n)
    for headers in messages:
        assert matches(matcher, headers) == {n for n in left if plainly(tables[n], headers)}
