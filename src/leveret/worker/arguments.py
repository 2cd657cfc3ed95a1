"""From a handler's type hints to what decodes its arguments: compiled once at import, used for every message.

A handler of one data parameter gets the body as a value of its type; of several, the body is an object with their names
as fields. A parameter annotated Message gets the message, one named like a resource the resource. A task's body is
`{"args": [...], "kwargs": {...}}`. Other
content types than JSON are read by the client's serializers.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from leveret.client import serialize, typed
from leveret.client.engine.message import Message
from leveret.client.serialize import Serializers
from leveret.errors import ConfigError, InvalidMessage

JSON: Final = "application/json"
_ENCODER: Final = msgspec.json.Encoder(enc_hook=typed.model_as_json)


class Names(Protocol):
    """Of resources."""

    def __contains__(self, name: str, /) -> bool: ...


class BadArguments(InvalidMessage):
    """A message whose body does not fit the handler. It never will: no retry helps."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is decoded from the body."""

    name: str
    type: Any
    default: Any  # inspect.Parameter.empty: it has to be there


def _check_type(kind: Any, where: str) -> bool:
    """Whether it leaves anything open. Raises ConfigError for what msgspec cannot decode into."""
    loose = False
    pending: list[Any]
    try:
        pending = [msgspec.inspect.type_info(kind)]
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from None
    seen: set[type] = set()  # types may contain themselves
    while pending:
        found = pending.pop()
        loose = loose or isinstance(found, msgspec.inspect.AnyType)
        if isinstance(found, msgspec.inspect.CustomType):
            if not typed.is_model(found.cls):
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
        if hasattr(found, "fields") and found.cls not in seen:
            seen.add(found.cls)
            pending.extend(field.type for field in found.fields)
    return loose


class Arguments:
    """How a handler is called with a message. Raises ConfigError for a handler that cannot be.

    `data` are the parameters decoded from the body, `messages` and `resources` the names of the others.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        where: str,
        resources: Names = (),
        *,
        task: bool = False,
        serializers: Serializers = serialize.DEFAULT,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.where = where
        self.task = task
        self.serializers = serializers
        self.signature = inspect.signature(function)
        self.data: list[Parameter] = []
        self.messages: list[str] = []
        self.resources: list[str] = []
        self.returns: Any = Any
        self._loose = serializers is not serialize.DEFAULT  # types, or own serializers, say less than all
        self._read(resources, local_names)
        self.names = [parameter.name for parameter in self.data]
        self._single = self.data[0].type if len(self.data) == 1 and not task else None
        self._compile()

    def _read(self, resources: Names, local_names: Mapping[str, Any] | None) -> None:
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
                self._loose = _check_type(kind, f"{self.where}, parameter {name!r}") or self._loose
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
        self._json = msgspec.json.Decoder(kind, dec_hook=typed.model_of_json)
        if self.task:
            types = tuple(one.type for one in self.data)
            exact: Any = tuple.__class_getitem__(types)
            call = msgspec.defstruct("Call", [("args", exact), ("kwargs", dict[str, msgspec.Raw], {})])
            self._exact: Any = msgspec.json.Decoder(call, dec_hook=typed.model_of_json)

    # ---- decoding

    def values(self, body: bytes, content_type: str | None) -> tuple[Any, ...]:
        """The data parameters' values, in order. Raises BadArguments, which names the field."""
        try:
            if self.task:
                return self._task_values(body, content_type)
            if not self.data:
                return ()
            if self._single is not None:
                return (self._decode(self._single, body, content_type),)
            found = self._decode(self._type, body, content_type)
            return tuple(getattr(found, name) for name in self.names)
        except InvalidMessage as error:
            raise BadArguments(f"{self.where}: {error.text}") from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            subject = self.data[0].name if self._single is not None else "arguments"
            raise BadArguments(f"{self.where}: {typed.cannot_decode(error, subject).text}") from None

    def _decode(self, kind: Any, body: bytes, content_type: str | None) -> Any:
        if kind is bytes:
            return body
        if content_type == JSON or (content_type is None and kind is not Any and kind is not str):
            return self._json.decode(body)
        return self.serializers.decode(body, content_type, None if kind is Any else kind)

    def _task_values(self, body: bytes, content_type: str | None) -> tuple[Any, ...]:
        if content_type == JSON:
            try:
                call = self._exact.decode(body)
                if not call.kwargs:
                    found: tuple[Any, ...] = call.args
                    return found
            except msgspec.ValidationError:
                pass  # not all of them, or some by name; the long way says what is wrong
        return self._by_name(self.serializers.decode(body, content_type or JSON))

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
        found = msgspec.convert(named, self._type, dec_hook=typed.model_of_json)
        return tuple(getattr(found, name) for name in self.names)

    # ---- calling

    def caller(self, resources: Mapping[str, Any]) -> Callable[[Any], Any]:
        """`call(message)` calls the handler. `resources` are the values of those that it takes."""
        function = self.function
        if self.messages and not self.data and not self.resources and len(self.messages) == 1:
            if self.signature.parameters[self.messages[0]].kind is not inspect.Parameter.KEYWORD_ONLY:
                return function
        if not self.messages and not self.resources and not self.keyword_only:
            if self._single is bytes:
                return lambda message: function(message.body)
            if self.task and not self.data:
                values = self.of_message
                return lambda message: function(*values(message))
            return lambda message: function(*self.of_message(message))
        fixed = {name: resources[name] for name in self.resources if name in resources}
        return lambda message: function(**self.named(message), **fixed)

    @property
    def keyword_only(self) -> bool:
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        return inspect.Parameter.KEYWORD_ONLY in kinds

    def of_message(self, message: Any) -> tuple[Any, ...]:
        """The data parameters' values of a message. Raises BadArguments."""
        try:
            return self.values(message.body, message.content_type)
        except BadArguments:
            raise
        except InvalidMessage as error:  # it could not even be decompressed
            raise BadArguments(f"{self.where}: {error.text}") from None

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
            if self._loose:
                encoded, _ = self.serializers.encode(body, JSON)
            else:
                encoded = _ENCODER.encode(
                    body
                )  # that it can be read again as what it is to be is looked at here
            self.values(encoded, JSON)
        except InvalidMessage as error:
            raise InvalidMessage(f"{self.where} cannot be posted: {error.text}") from None
        except Exception as error:
            worded = typed.cannot_encode(body, _ENCODER.encode, error, JSON).text
            raise InvalidMessage(f"{self.where} cannot be posted: {worded}") from None
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
