"""Typed values for the serializers: which there are, pydantic's models, and errors that name the field.

msgspec says ``Expected `int`, got `str` - at `$.items[2].price` ``; here it becomes
`order.items[2].price: expected int, got str`. pydantic is never imported, only used if somebody has.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from leveret.errors import InvalidMessage

DEPTH: Final = 64  # how deep lists and dicts are looked into for typed values
_MESSAGE: Final = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object (?P<how>missing required|contains unknown) field `(?P<field>.*)`$")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def name_of(kind: Any) -> str:
    """A type as people write it: `int`, `Order`, `list[Order]`."""
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def subject_of(kind: Any) -> str:
    """What a value of this type is called in errors: `order` for Order, `body` where the type has no name of its own."""
    if isinstance(kind, type) and (is_typed(kind) or is_model(kind)):
        return _WORDS.sub("_", kind.__name__.partition("[")[0]).lower()
    return "body"


def is_typed(kind: type) -> bool:
    """Whether values of this type have fields with types: structs, dataclasses, attrs classes, named tuples."""
    return (
        hasattr(kind, "__struct_fields__")
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__attrs_attrs__")
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, each with how it is written behind the value's name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield _step(key), part
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from ((f".{name}", part) for name, part in zip(value._fields, value, strict=True))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif hasattr(value, "__struct_fields__"):
        yield from ((f".{name}", getattr(value, name)) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value):
        yield from (
            (f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)
        )


def typed_parts(body: Any, path: str = "body", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The typed values within lists and dicts, with their paths; what is within those is checked with them."""
    pairs = body.items() if isinstance(body, dict) else enumerate(body)
    for key, part in pairs:
        kind = type(part)
        if kind is str or kind is int or kind is float or kind is bool or part is None:
            continue
        if is_typed(kind):
            yield path + _step(key), part
        elif depth < DEPTH and isinstance(part, (dict, list, tuple, set, frozenset)):
            yield from typed_parts(part, path + _step(key), depth + 1)


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


# ---- pydantic


def _base_model() -> Any:
    pydantic = sys.modules.get("pydantic")
    return None if pydantic is None else getattr(pydantic, "BaseModel", None)


def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic (2): if pydantic was not imported, nothing is."""
    base = _base_model()
    return (
        base is not None
        and isinstance(kind, type)
        and issubclass(kind, base)
        and hasattr(base, "model_validate")
    )


def model_as_json(value: Any) -> Any:
    """msgspec's hook for what it cannot encode itself. Raises InvalidMessage for a model whose fields do not fit."""
    kind = type(value)
    if not is_model(kind):
        raise TypeError(f"{kind.__name__} cannot be encoded: register a serializer for it")
    try:
        return value.model_dump(mode="json", by_alias=True, warnings="error")
    except ValueError as error:  # pydantic's errors are
        raise InvalidMessage(_why_unfit(value, error)) from None


def _why_unfit(value: Any, error: ValueError) -> str:
    """Which field of a model does not fit: pydantic says it with the whole path when it validates."""
    kind = type(value)
    try:
        kind.model_validate(value.model_dump(by_alias=True, warnings=False))
    except ValueError as found:
        if hasattr(found, "errors"):
            return _worded_model(found, subject_of(kind))
    field = re.search(r"(Expected `[^`]*`).*?field_name='([^']*)'.*?input_type=(\w+)", str(error), re.DOTALL)
    if field:
        return f"{subject_of(kind)}.{field[2]}: {field[1].replace('`', '').lower()}, got {field[3]}"
    return f"{subject_of(kind)}: {error}"


def model_of_json(kind: Any, value: Any) -> Any:
    """msgspec's hook for what it cannot decode itself: models within other values."""
    if is_model(kind):
        return kind.model_validate_json(msgspec.json.encode(value))
    raise TypeError(f"{name_of(kind)} cannot be decoded: register a serializer for it")


def read_model(kind: Any, body: bytes) -> Any:
    """A model of JSON. Raises InvalidMessage."""
    try:
        return kind.model_validate_json(body)
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        raise InvalidMessage(_worded_model(error, subject_of(kind))) from None


def _worded_model(error: Any, subject: str) -> str:
    """The first of pydantic's findings, and how many more there are."""
    found = error.errors(include_url=False, include_input=False)
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in found[0]["loc"]]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{subject}{''.join(steps)}: {_lowered(found[0]['msg'])}{more}"


# ---- what is wrong, in words


def worded(error: BaseException) -> str:
    """An error of Python or msgspec without its shell."""
    if isinstance(error, UnicodeEncodeError):
        return f"the text has a surrogate at {error.start}, which no encoding holds"
    if isinstance(error, RecursionError):
        return "nested too deep, or it contains itself"
    text = str(error).replace("`", "")
    return text if isinstance(error, TypeError) else _lowered(text)


def _lowered(text: str) -> str:
    """In the middle of a sentence now; names such as JSON and MessagePack stay as they are."""
    first = text.partition(" ")[0]
    return text[:1].lower() + text[1:] if first[1:] == first[1:].lower() else text


def cannot_encode(
    body: Any, encode: Callable[[Any], bytes], error: Exception, content_type: str
) -> InvalidMessage:
    """The error for a body that `encode` refuses: goes down to the innermost part that it refuses alone, too."""
    path, at = subject_of(type(body)), body
    for _ in range(DEPTH):
        if isinstance(error, RecursionError):
            break
        for step, part in children(at):
            try:
                encode(part)
            except InvalidMessage as inner:
                error = inner
            except Exception as inner:
                error = inner
            else:
                continue
            path, at = path + step, part
            break
        else:
            break
    return InvalidMessage(f"{path}: {worded(error)} ({content_type})")


def cannot_decode(error: Exception, subject: str) -> InvalidMessage:
    """The error for a body that msgspec could not read as `subject`."""
    if not isinstance(error, msgspec.ValidationError):
        return InvalidMessage(f"{subject}: {worded(error)}")
    found = _MESSAGE.match(str(error))
    assert found is not None  # everything is optional in it
    path, what = subject + (found["path"] or "$").removeprefix("$"), found["what"]
    if found["key"]:
        path = f"a key of {path}"
    cause = error.__cause__
    if cause is not None and hasattr(cause, "errors") and is_model_error(cause):
        return InvalidMessage(_worded_model(cause, path))
    field = _FIELD.match(what)
    if field:
        how = "missing" if field["how"] == "missing required" else "unknown"
        return InvalidMessage(f"{path}.{field['field']}: {how}")
    what = what.replace("`None`", "null").replace("`", "")
    return InvalidMessage(f"{path}: {_lowered(what)}")


def is_model_error(error: BaseException) -> bool:
    """Whether pydantic raised it."""
    return type(error).__module__.startswith("pydantic")
