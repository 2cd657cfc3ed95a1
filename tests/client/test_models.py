"""pydantic's models as bodies: checked like all typed values, whether they are the body or a part of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

pydantic = pytest.importorskip("pydantic")

from leveret.client.serialize import DEFAULT
from leveret.errors import InvalidMessage

Item: Any = pydantic.create_model("Item", name=(str, ...), price=(int, pydantic.Field(alias="Price", ge=0)))
Order: Any = pydantic.create_model("Order", items=(list[Item], ...))


Parcel: Any = msgspec.defstruct("Parcel", [("order", Order), ("weight", float)])


def item(price: Any) -> Any:
    made = Item(name="a", Price=1)
    made.price = price  # pydantic checks what it is made of, not what is set later
    return made


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    "value, into",
    [
        (Order(items=[item(5)]), Order),
        ([item(5)], list[Item]),
        ({"a": item(5)}, dict[str, Item]),
        (Parcel(Order(items=[item(5)]), 1.5), Parcel),
    ],
)
def test_there_and_back(serializer: str, value: object, into: Any) -> None:
    data, content_type = DEFAULT.encode(value, serializer)
    assert DEFAULT.decode(data, content_type.decode(), into) == value
    assert DEFAULT.encode(value, serializer, into) == (data, content_type)


def test_names_are_the_aliases() -> None:
    assert DEFAULT.encode(item(5))[0] == b'{"name":"a","Price":5}'


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    "value, field",
    [
        (item("x"), "item.Price: "),
        (Order(items=[item(1), item("x")]), "order.items[1].Price: "),
        ([1, item("x")], "item.Price: "),
        (Parcel(Order(items=[item("x")]), 1.5), "order.items[0].Price: "),
    ],
)
def test_what_does_not_fit_never_leaves(serializer: str, value: object, field: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        DEFAULT.encode(value, serializer)
    assert field in str(caught.value)
    assert "valid integer" in str(caught.value)


@pytest.mark.parametrize(
    "body, into, text",
    [
        (
            b'{"items":[{"name":"a","Price":"x"}]}',
            Order,
            "order.items[0].Price: input should be a valid integer",
        ),
        (
            b'{"items":[{"name":"a","Price":-1}]}',
            Order,
            "order.items[0].Price: input should be greater than or equal",
        ),
        (b'{"items":[{}]}', Order, "order.items[0].name: field required (and 1 more)"),
        (b'{"order":{"items":5},"weight":1}', Parcel, "parcel.order.items: input should be a valid array"),
        (
            b'[{"items":[{"name":"a","Price":-1}]}]',
            list[Order],
            "body[0].items[0].Price: input should be greater",
        ),
        (b"{", Order, "order: invalid JSON"),
    ],
)
def test_what_cannot_be_read_is_named(body: bytes, into: Any, text: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        DEFAULT.decode(body, "application/json", into)
    assert str(caught.value).startswith(text)
