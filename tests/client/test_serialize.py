"""Values into bodies and back: by content type, checked before anything leaves, errors that name the field."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import subprocess
import sys
import uuid
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest

from leveret.client.serialize import DEFAULT, Serializer, Serializers
from leveret.errors import InvalidMessage


class Item(msgspec.Struct):
    name: str
    price: int


class Order(msgspec.Struct):
    items: list[Item]
    by_name: dict[str, Item] = {}


@dataclasses.dataclass
class LineItem:
    count: int
    when: datetime.date | None = None


class Point(NamedTuple):
    x: int
    y: int


class Small(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, le=9)]


def wrong(value: Any) -> Any:
    """A value whose type the checker is not to see."""
    return value


WRONG_ORDER = Order([Item("a", 1), Item("b", 2), Item("c", wrong("3"))])


@pytest.mark.parametrize(
    "body, data, content_type",
    [
        (b"\x00\xff", b"\x00\xff", b"application/octet-stream"),
        (bytearray(b"ab"), b"ab", b"application/octet-stream"),
        (memoryview(b"abcd")[::2], b"ac", b"application/octet-stream"),
        ("é", b"\xc3\xa9", b"text/plain; charset=utf-8"),
        (None, b"null", b"application/json"),
        (True, b"true", b"application/json"),
        ([1, "a", None], b'[1,"a",null]', b"application/json"),
        ({"a": 1}, b'{"a":1}', b"application/json"),
        (Order([Item("a", 1)]), b'{"items":[{"name":"a","price":1}],"by_name":{}}', b"application/json"),
        (LineItem(2, datetime.date(2030, 1, 2)), b'{"count":2,"when":"2030-01-02"}', b"application/json"),
        (Point(1, 2), b"[1,2]", b"application/json"),
    ],
)
def test_what_a_body_becomes(body: object, data: bytes, content_type: bytes) -> None:
    assert DEFAULT.encode(body) == (data, content_type)


def test_bytes_are_not_copied() -> None:
    body = b"x" * 100
    assert DEFAULT.encode(body)[0] is body


@pytest.mark.parametrize("serializer", ["json", "msgpack", "application/json", "application/x-msgpack"])
@pytest.mark.parametrize(
    "value, into",
    [
        (Order([Item("a", 1)], {"x y": Item("b", 2)}), Order),
        (LineItem(3, datetime.date(2030, 1, 2)), LineItem),
        (Point(1, 2), Point),
        ([Item("a", 1)], list[Item]),
        ({"at": datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)}, dict[str, datetime.datetime]),
        (decimal.Decimal("1.50"), decimal.Decimal),
        (uuid.UUID(int=5), uuid.UUID),
        ("text", str),
        ({"k": [1, 2.5, None, "x"]}, None),
        ({"k": [1]}, Any),
        (2**63, int),
    ],
)
def test_there_and_back(serializer: str, value: object, into: Any) -> None:
    data, content_type = DEFAULT.encode(value, serializer)
    assert DEFAULT.decode(data, content_type.decode(), into) == value


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    "body, as_type, text",
    [
        (WRONG_ORDER, None, "order.items[2].price: expected int, got str"),
        ([[WRONG_ORDER]], None, "body[0][0].items[2].price: expected int, got str"),
        ({"a": {"b c": WRONG_ORDER}}, None, "body.a['b c'].items[2].price: expected int, got str"),
        (LineItem(wrong(1.5)), None, "line_item.count: expected int, got float"),
        (Point(1, wrong("2")), None, "point[1]: expected int, got str"),
        (Small(10), None, "small.size: expected int <= 9"),
        (Order(wrong(None)), None, "order.items: expected array, got null"),
        ({"items": [{"name": "a"}]}, Order, "order.items[0].price: missing"),
        ([1, "2"], list[int], "body[1]: expected int, got str"),
        ("5", int, "body: expected int, got str"),
    ],
)
def test_what_does_not_fit_never_leaves(serializer: str, body: object, as_type: Any, text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        DEFAULT.encode(body, serializer, as_type)
    assert str(caught.value) == text


class Foreign:
    pass


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "body, text",
    [
        ({"a": [1, Foreign()]}, "body.a[1]: Foreign cannot be encoded: register a serializer for it"),
        (Order([Item("a", wrong(Foreign()))]), "order.items[0].price: Foreign cannot be encoded"),
        ({"a": {"b": {(1, 2): 3}}}, "body.a.b: tuple cannot be encoded"),
        ({"a": "\ud800"}, "body.a: the text has a surrogate at 0"),
        ("\ud800", "body: the text has a surrogate at 0"),
        (LOOP, "body: nested too deep, or it contains itself"),
    ],
)
def test_what_cannot_be_encoded_is_named(body: object, text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        DEFAULT.encode(body)
    assert text in str(caught.value)


def test_a_type_that_cannot_be_checked_is_not_sent_unchecked() -> None:
    @dataclasses.dataclass
    class Odd:
        value: list[int] | list[str]

    with pytest.raises(InvalidMessage, match="odd: its type cannot be checked"):
        DEFAULT.encode(Odd([1]))


@pytest.mark.parametrize(
    "body, content_type, into, value",
    [
        (b"[1]", "application/json", None, [1]),
        (b"[1]", "Application/JSON; charset=utf-8", None, [1]),
        (b"[1]", "application/vnd.shop+json", None, [1]),
        (b"\x91\x01", "application/x-msgpack", None, [1]),
        (b"[1]", "application/json", bytes, b"[1]"),
        (b"abc", "text/plain", None, "abc"),
        (b"\xe9", "text/plain; charset=ISO-8859-1", None, "é"),
        (b"<a/>", "text/xml", None, "<a/>"),
        (b"abc", "application/octet-stream", None, b"abc"),
        (b"abc", "image/png", None, b"abc"),
        (b"abc", None, None, b"abc"),
        (b"abc", "", None, b"abc"),
        (b"abc", None, str, "abc"),
        (b"[1]", None, list[int], [1]),
        (b"abc", "application/octet-stream", bytes, b"abc"),
        (b"\x80\x04K\x01.", "application/x-python-serialize", None, b"\x80\x04K\x01."),
    ],
)
def test_what_a_body_is_read_as(body: bytes, content_type: str | None, into: Any, value: object) -> None:
    for _ in range(2):  # looked up, and remembered
        assert DEFAULT.decode(body, content_type, into) == value


@pytest.mark.parametrize(
    "body, content_type, into, text",
    [
        (
            b'{"items":[{"name":"a","price":"1"}]}',
            "application/json",
            Order,
            "order.items[0].price: expected int, got str",
        ),
        (b'{"items":[{"name":"a"}]}', "application/json", Order, "order.items[0].price: missing"),
        (
            b'{"items":[],"by_name":{"x":5}}',
            "application/json",
            Order,
            "order.by_name[...]: expected object, got int",
        ),
        (b'{"x":1}', "application/json", dict[int, int], "a key of body: expected int, got str"),
        (b"5", "application/json", list[int], "body: expected array, got int"),
        (b"{", "application/json", Order, "order: input data was truncated"),
        (b"[" * 100_000, "application/json", None, "body: nested too deep"),
        (b"\xc1", "application/msgpack", None, "body: MessagePack data is malformed"),
        (b"\xff", "text/plain", None, "body: not utf-8 at byte 0"),
        (b"abc", "text/plain; charset=klingon", None, "'klingon'"),
        (b"abc", "text/plain", int, "body: expected int, got text"),
        (
            b"[1]",
            "image/png",
            list[int],
            "the content type image/png says nothing of it; there are application/json",
        ),
        (b"[1]", "application/octet-stream", Order, "Order is expected"),
        (b"\x80\x04K\x01.", "application/x-python-serialize", int, "pickle, which runs code, is never read"),
    ],
)
def test_what_cannot_be_read_is_named(body: bytes, content_type: str, into: Any, text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        DEFAULT.decode(body, content_type, into)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "body, serializer, text",
    [("a", "bytes", "takes bytes, not str"), (b"a", "text", "takes str, not bytes"), (5, "bytes", "not int")],
)
def test_bytes_and_text_take_nothing_else(body: object, serializer: str, text: str) -> None:
    with pytest.raises(InvalidMessage, match=text):
        DEFAULT.encode(body, serializer)
    with pytest.raises(InvalidMessage, match="only holds"):
        DEFAULT.encode(body, serializer, int)


def test_a_serializer_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="'jsn': do you mean 'json'"):
        DEFAULT.encode(5, "jsn")
    with pytest.raises(ValueError, match="there are application/json"):
        DEFAULT.find("x/y/z")
    assert "json" in DEFAULT and "application/msgpack; q=1" in DEFAULT and "application/xml" not in DEFAULT


CSV = Serializer(
    "text/csv; header=absent",
    encode=lambda rows: "\n".join(",".join(row) for row in rows).encode(),
    decode=lambda data, into: [line.split(",") for line in data.decode().split("\n")],
    types=(Foreign,),
)


def test_serializers_of_ones_own_belong_to_their_registry() -> None:
    mine = DEFAULT.extended(CSV)
    assert mine.encode([["a", "b"], ["c", "d"]], "text/csv") == (b"a,b\nc,d", b"text/csv; header=absent")
    assert mine.decode(b"a,b", "text/csv; header=present", list) == [["a", "b"]]
    assert "text/csv" in mine and "text/csv" not in DEFAULT
    assert DEFAULT.decode(b"a,b", "text/csv") == "a,b"
    assert "text/csv" in mine.extended(default="msgpack")


def test_serializers_are_chosen_by_type_and_by_what_is_above_it() -> None:
    class Below(Foreign):
        pass

    names = Serializer(
        "application/x-name", lambda v: type(v).__name__.encode(), lambda data, into: data, (Foreign,)
    )
    mine = Serializers(names)
    assert mine.encode(Below()) == (b"Below", b"application/x-name")
    assert mine.encode({}) == (b"{}", b"application/json")
    assert mine.encode(Below(), as_type=Foreign)[0] == b"Below"
    with pytest.raises(InvalidMessage, match="expected int, got Below"):
        mine.encode(Below(), as_type=int)


def test_another_default() -> None:
    assert DEFAULT.extended(default="msgpack").encode([1]) == (b"\x91\x01", b"application/msgpack")
    assert DEFAULT.extended(default="msgpack").decode(b"\x91\x01", None, list[int]) == [1]
    assert DEFAULT.encode([1])[1] == b"application/json"


def test_what_serializers_of_ones_own_raise_is_an_invalid_message() -> None:
    def fail(*_: object) -> bytes:
        raise KeyError("price")

    mine = Serializers(Serializer("a/b", fail, fail), Serializer("a/c", wrong(lambda value: "text"), fail))
    with pytest.raises(InvalidMessage, match="a/b cannot hold it: 'price'"):
        mine.encode(5, "a/b")
    with pytest.raises(InvalidMessage, match="read as a/b: 'price'"):
        mine.decode(b"", "a/b", int)
    with pytest.raises(InvalidMessage, match="gave str instead of bytes"):
        mine.encode(5, "a/c")


def test_serializers_that_could_never_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="a content type is like"):
        Serializers(Serializer("csv", bytes, lambda data, into: data))
    with pytest.raises(ValueError, match="str is sent as it is"):
        Serializers(Serializer("a/b", bytes, lambda data, into: data, (str,)))
    with pytest.raises(ValueError, match="no serializer for 'xml'"):
        Serializers(default="xml")


def test_content_types_of_peers_are_not_remembered_without_bound() -> None:
    mine = Serializers()
    for number in range(1000):
        mine.decode(b"", f"x/y; n={number}")
    assert len(mine._found) <= 256


def test_pydantic_is_not_imported_by_us() -> None:
    code = "import sys; from leveret.client.serialize import DEFAULT; DEFAULT.encode([1])"
    code += "; DEFAULT.decode(b'1', 'application/json', int); assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
