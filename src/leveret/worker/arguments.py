"""From a handler's type hints to what decodes its arguments: compiled once at import, used for every message.

A handler of one data parameter gets the body as a value of its type; of several, the body is an object with their names
as fields. A parameter annotated Message gets the message, one named like a resource the resource. A task's body is
`{"args": [...], "kwargs": {...}}`. Knows content types JSON, msgpack, text and octets; others are the client's.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from leveret.client.engine.message import Message
from leveret.errors import ConfigError, InvalidMessage

JSON: Final = "application/json"
MSGPACK: Final = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
TEXT: Final = "text/plain"

Fallback = Callable[[Any], Any]  # a type -> the body as a value of it


class BadArguments(InvalidMessage):
    """A message whose body does not fit the handler. It never will: no retry helps."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is decoded from the body."""

    name: str
    type: Any
    default: Any  # inspect.Parameter.empty: it has to be there


def _decode_custom(kind: type, value: Any) -> Any:
    """Pydantic's models among msgspec's types."""
    return kind.model_validate(value)  # type: ignore[attr-defined]


def encode_custom(value: Any) -> Any:
    """The same on the way out. Raises NotImplementedError for what is neither."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"{type(value).__module__}.{type(value).__qualname__} cannot be encoded")


def _check_type(kind: Any, where: str) -> None:
    """Raises ConfigError for what msgspec cannot decode into."""
    pending: list[Any]
    try:
        pending = [msgspec.inspect.type_info(kind)]
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from None
    while pending:
        found = pending.pop()
        if isinstance(found, msgspec.inspect.CustomType):
            if not hasattr(found.cls, "model_validate"):
                raise ConfigError(
                    f"{where}: nothing can be decoded into {found.cls.__module__}.{found.cls.__qualname__}; make it a"
                    " dataclass, a msgspec.Struct, a TypedDict or a pydantic model, or declare it as a resource"
                )
        for name in ("item_type", "key_type", "value_type", "type"):
            inner = getattr(found, name, None)
            if isinstance(inner, msgspec.inspect.Type):
                pending.append(inner)
        for name in ("types", "item_types"):
            pending.extend(getattr(found, name, ()))


class Arguments:
    """How a handler is called with a message. Raises ConfigError for a handler that cannot be.

    `data` are the parameters decoded from the body, `messages` and `resources` the names of the others.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        where: str,
        resources: Container[str] = (),
        *,
        task: bool = False,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.where = where
        self.task = task
        self.signature = inspect.signature(function)
        self.data: list[Parameter] = []
        self.messages: list[str] = []
        self.resources: list[str] = []
        self.returns: Any = Any
        self._read(resources, local_names)
        self.names = [parameter.name for parameter in self.data]
        self._single = self.data[0].type if len(self.data) == 1 and not task else None
        self._compile()

    def _read(self, resources: Container[str], local_names: Mapping[str, Any] | None) -> None:
        try:
            hints = typing.get_type_hints(
                self.function,
                localns=None if local_names is None else dict(local_names),
                include_extras=True,
            )
        except NameError as error:
            raise ConfigError(f"{self.where}: a type hint cannot be read: {error}") from None
        self.returns = hints.get("return", Any)
        for name, parameter in self.signature.parameters.items():
            kind = hints.get(name, Any)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigError(f"{self.where}: *{name} cannot be decoded; name each parameter")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise ConfigError(
                    f"{self.where}: {name} is positional only; leave out the / in the signature"
                )
            if kind is Message:
                self.messages.append(name)
            elif name in resources:
                self.resources.append(name)
            else:
                _check_type(kind, f"{self.where}, parameter {name!r}")
                self.data.append(Parameter(name, kind, parameter.default))
        if not self.data and not self.messages and not self.task:
            raise ConfigError(
                f"{self.where} has no parameter for the message: take its body (body: bytes, or any type that it is to"
                " be decoded into), or `message: leveret.Message`"
            )

    def _compile(self) -> None:
        kind: Any = self._single
        if kind is None:
            fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
            for one in self.data:
                if one.default is inspect.Parameter.empty:
                    fields.append((one.name, one.type))
                else:
                    fields.append((one.name, one.type, _default_of(one.default)))
            kind = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=self.task)
        self._type = kind
        self._json = msgspec.json.Decoder(kind, dec_hook=_decode_custom)
        self._msgpack = msgspec.msgpack.Decoder(kind, dec_hook=_decode_custom)
        if self.task:
            types = tuple(one.type for one in self.data)
            exact: Any = tuple.__class_getitem__(types)
            call = msgspec.defstruct("Call", [("args", exact), ("kwargs", dict[str, msgspec.Raw], {})])
            self._exact: Any = msgspec.json.Decoder(call, dec_hook=_decode_custom)

    # ---- decoding

    def values(self, body: bytes, content_type: str | None, other: Fallback | None = None) -> tuple[Any, ...]:
        """The data parameters' values, in order. `other` decodes what is no JSON, msgpack, text or octets.

        Raises BadArguments, which names the field.
        """
        try:
            if self.task:
                return self._task_values(body, content_type, other)
            if not self.data:
                return ()
            if self._single is not None:
                return (self._one(body, content_type, other),)
            found = self._decode(self._type, body, content_type, other)
            return tuple(getattr(found, name) for name in self.names)
        except (msgspec.DecodeError, InvalidMessage, ValueError) as error:
            raise BadArguments(self._explain(error)) from None

    def _explain(self, error: Exception) -> str:
        what = f"argument {self.data[0].name!r}" if self._single is not None else "the arguments"
        return f"{self.where}: {what} cannot be decoded: {error}"

    def _one(self, body: bytes, content_type: str | None, other: Fallback | None) -> Any:
        kind = self._single
        if kind is bytes:
            return body
        if kind is str and (content_type is None or content_type.startswith("text/")):
            return body.decode()
        return self._decode(kind, body, content_type, other)

    def _decode(self, kind: Any, body: bytes, content_type: str | None, other: Fallback | None) -> Any:
        if content_type == JSON or (content_type is None and kind is not Any):
            return self._json.decode(body)
        if content_type in MSGPACK:
            return self._msgpack.decode(body)
        if other is not None:
            return other(kind)
        if content_type is None:
            return body
        if content_type.startswith(TEXT):
            return msgspec.convert(body.decode(), kind, dec_hook=_decode_custom)
        raise BadArguments(f"content type {content_type!r} cannot be decoded in a process pool")

    def _task_values(self, body: bytes, content_type: str | None, other: Fallback | None) -> tuple[Any, ...]:
        if content_type == JSON:
            try:
                call = self._exact.decode(body)
                if not call.kwargs:
                    found: tuple[Any, ...] = call.args
                    return found
            except msgspec.ValidationError:
                pass  # not all of them, or some by name; the long way says what is wrong
            call = msgspec.json.decode(body)
        elif content_type in MSGPACK:
            call = msgspec.msgpack.decode(body)
        elif other is not None:
            call = other(dict)
        else:
            raise BadArguments(f"content type {content_type!r} cannot be decoded in a process pool")
        return self._by_name(call)

    def _by_name(self, call: Any) -> tuple[Any, ...]:
        if not isinstance(call, dict) or not isinstance(call.get("args", []), list):
            raise BadArguments('a task\'s body is {"args": [...], "kwargs": {...}}')
        args: list[Any] = call.get("args", [])
        named: dict[str, Any] = dict(call.get("kwargs") or {})
        if len(args) > len(self.names):
            raise BadArguments(f"{len(args)} arguments came, and it takes {len(self.names)}")
        for name, value in zip(self.names, args, strict=False):
            if name in named:
                raise BadArguments(f"{name!r} came twice, by position and by name")
            named[name] = value
        found = msgspec.convert(named, self._type, dec_hook=_decode_custom)
        return tuple(getattr(found, name) for name in self.names)

    # ---- calling

    def caller(self, resources: Mapping[str, Any]) -> Callable[[Any], Any]:
        """`call(message)` calls the handler. `resources` are the values of those that it takes."""
        function = self.function
        if self.messages and not self.data and not self.resources and len(self.messages) == 1:
            if self.signature.parameters[self.messages[0]].kind is not inspect.Parameter.KEYWORD_ONLY:
                return function
        if not self.messages and not self.resources and not self._keyword_only():
            if self._single is bytes:
                return lambda message: function(message.body)
            if self.task and not self.data:
                values = self.of_message
                return lambda message: function(*values(message))
            return lambda message: function(*self.of_message(message))
        fixed = {name: resources[name] for name in self.resources if name in resources}
        return lambda message: function(**self.named(message), **fixed)

    def _keyword_only(self) -> bool:
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        return inspect.Parameter.KEYWORD_ONLY in kinds

    def of_message(self, message: Any) -> tuple[Any, ...]:
        """The data parameters' values of a message. Raises BadArguments."""
        try:
            return self.values(message.body, message.content_type, message.decode)
        except BadArguments:
            raise
        except InvalidMessage as error:  # it could not even be decompressed
            raise BadArguments(self._explain(error)) from None

    def named(self, message: Any) -> dict[str, Any]:
        """All but resources, by name. Raises BadArguments."""
        found = dict(zip(self.names, self.of_message(message), strict=True)) if self.data else {}
        for name in self.messages:
            found[name] = message
        return found

    # ---- posting a task

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The body of a task called with these, checked. Raises TypeError as a call does, InvalidMessage by its field."""
        body = self.pack(args, kwargs)
        try:
            encoded = msgspec.json.encode(body, enc_hook=encode_custom)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise InvalidMessage(f"{self.where}: an argument cannot be encoded: {error}") from None
        self.values(encoded, JSON)
        return encoded

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by position as far as possible. Raises TypeError as a call with them does."""
        if not kwargs and len(args) == len(self.names):
            return {"args": list(args), "kwargs": {}}
        left = dict(kwargs)
        found = list(args)
        if len(found) > len(self.names):
            raise TypeError(f"{self.where} takes {len(self.names)} arguments, and {len(found)} were given")
        for one in self.data[len(found) :]:
            if one.name in left:
                if len(found) == self.names.index(one.name):
                    found.append(left.pop(one.name))
            elif one.default is inspect.Parameter.empty:
                raise TypeError(f"{self.where} needs the argument {one.name!r}")
        strange = [name for name in left if name not in self.names[len(found) :]]
        if strange:
            raise TypeError(f"{self.where} has no argument {strange[0]!r}, or it was given twice")
        return {"args": found, "kwargs": left}

    def value_of(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The argument of that name; its default if it was not given."""
        at = self.names.index(name)
        if at < len(args):
            return args[at]
        return kwargs.get(name, self.data[at].default)


def _default_of(default: Any) -> Any:
    """Mutable defaults are shared by Python's calls; here each message has its own."""
    if isinstance(default, (list, dict, set, bytearray)):
        return msgspec.field(default_factory=lambda: copy.copy(default))
    return default
