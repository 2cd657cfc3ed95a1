"""Bodies decoded into the parameters of handlers, and what is said of those that do not fit."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from leveret.client.engine.message import Message
from leveret.errors import InvalidMessage
from leveret.worker.arguments import JSON, Arguments, BadArguments


class Image(msgspec.Struct):
    path: str
    width: int = 100


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


def one(image: Image) -> None: ...


def data(point: Point) -> None: ...


def several(path: str, width: int = 100) -> None: ...


def octets(body: bytes) -> None: ...


def text(body: str) -> None: ...


def untyped(body) -> None: ...  # type: ignore[no-untyped-def]


def moment(at: datetime.datetime, by: bytes = b"") -> None: ...


def shared(items: list[int] = []) -> None: ...  # noqa: B006


def values(function: Callable[..., Any], body: bytes, kind: str | None = JSON, task: bool = False) -> Any:
    return Arguments(function, function.__name__, task=task).values(body, kind)


def test_one_parameter_gets_the_body() -> None:
    assert values(one, b'{"path": "a", "width": 3}') == (Image("a", 3),)
    assert values(one, b'{"path": "a"}', None) == (Image("a"),)
    assert values(one, msgspec.msgpack.encode(Image("b", 4)), "application/msgpack") == (Image("b", 4),)
    assert values(data, b'{"x": 1, "y": [2]}', "application/json; charset=utf-8") == (Point(1, [2]),)


def test_several_are_fields_of_the_body() -> None:
    assert values(several, b'{"path": "a", "width": 3, "more": 1}') == ("a", 3)
    assert values(several, b'{"path": "a"}') == ("a", 100)


def test_octets_and_text_are_as_they_are() -> None:
    assert values(octets, b"\xff", "image/png") == (b"\xff",)
    assert values(text, b"grey", "text/plain") == ("grey",)
    assert values(text, b'"grey"') == ("grey",)
    assert values(untyped, b'{"a": 1}') == ({"a": 1},)
    assert values(untyped, b"x", None) == (b"x",)


@pytest.mark.parametrize(
    ("function", "body", "text"),
    [
        (one, b'{"path": 1}', "one: image.path: expected str, got int"),
        (one, b"{}", "one: image.path: missing"),
        (one, b"[", "one: image: "),
        (data, b'{"x": 1, "y": ["a"]}', "y[0]"),
        (several, b'{"width": 3}', "path: missing"),
    ],
)
def test_what_does_not_fit_is_named(function: Callable[..., Any], body: bytes, text: str) -> None:
    with pytest.raises(BadArguments) as error:
        values(function, body)
    assert text in error.value.text


def call(*args: Any, **kwargs: Any) -> bytes:
    return json.dumps({"args": args, "kwargs": kwargs}).encode()


def test_a_task_is_called_by_position_or_name() -> None:
    assert values(several, call("a", 3), task=True) == ("a", 3)
    assert values(several, call("a"), task=True) == ("a", 100)
    assert values(several, call("a", width=4), task=True) == ("a", 4)
    assert values(several, msgspec.msgpack.encode({"args": ["a"]}), "application/msgpack", True) == ("a", 100)
    assert values(moment, call("2024-01-01T00:00:00Z", "aGk="), task=True) == (
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), b"hi",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (call("a", "b"), "arguments.width: expected int, got str"),
        (call(), "arguments.path: missing"),
        (call("a", 1, 2), "3 arguments came, and it takes 2"),
        (call("a", path="b"), "'path' came twice"),
        (call("a", size=1), "size"),
        (b"[]", 'a task\'s body is {"args"'),
    ],
)
def test_calls_that_do_not_fit(body: bytes, text: str) -> None:
    with pytest.raises(BadArguments) as error:
        values(several, body, task=True)
    assert text in error.value.text


def test_a_posted_call_is_checked_before_it_leaves() -> None:
    arguments = Arguments(several, "several", task=True)
    assert arguments.values(arguments.encode(("a",), {"width": 3}), JSON) == ("a", 3)
    assert arguments.values(arguments.encode((), {"path": "a"}), JSON) == ("a", 100)
    assert arguments.values(arguments.encode((), {"width": 3, "path": "a"}), JSON) == ("a", 3)
    with pytest.raises(InvalidMessage, match="width: expected int, got str"):
        arguments.encode(("a", "b"), {})
    wrong: list[Any] = [((), {}), (("a", 1, 2), {}), (("a",), {"path": "b"}), (("a",), {"size": 1})]
    for args, kwargs in wrong:
        with pytest.raises(TypeError):
            arguments.encode(args, kwargs)


def test_types_survive_the_way() -> None:
    arguments = Arguments(moment, "moment", task=True)
    at = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    assert arguments.values(arguments.encode((at, b"\x00\xff"), {}), JSON) == (at, b"\x00\xff")


def test_a_mutable_default_is_each_messages_own() -> None:
    first = values(shared, call(), task=True)[0]
    first.append(1)
    assert values(shared, call(), task=True) == ([],)


def test_messages_and_resources_are_told_from_data() -> None:
    def handler(body: bytes, message: Message, database: object) -> None: ...

    arguments = Arguments(handler, "handler", ["database"])
    assert (arguments.names, arguments.messages, arguments.resources) == (["body"], ["message"], ["database"])


def test_the_shortest_way_to_call() -> None:
    class FakeMessage:
        body, content_type = b"7", JSON

    def whole(message: Message) -> Message:
        return message

    def number(body: int, *, extra: object) -> tuple[int, object]:
        return body, extra

    message = FakeMessage()
    assert Arguments(whole, "whole").caller({})(message) is message
    assert Arguments(octets_given, "octets").caller({})(message) == b"7"
    assert Arguments(number, "number", ["extra"]).caller({"extra": 5})(message) == (7, 5)


def octets_given(body: bytes) -> bytes:
    return body


def test_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", x=(int, ...))

    def handler(body: Any) -> None: ...

    handler.__annotations__["body"] = model
    assert values(handler, b'{"x": 3}')[0].x == 3
    with pytest.raises(BadArguments, match="x"):
        values(handler, b'{"x": "a"}')
