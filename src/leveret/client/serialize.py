"""Bodies made of values, and values of bodies: by content type, checked before anything leaves, never by pickle.

    bytes                                application/octet-stream     as they are
    str                                  text/plain; charset=utf-8
    everything else                      application/json (or the default that was chosen), by msgspec
                                         application/msgpack

A `Serializers` is a registry that never changes, so that clients share nothing by accident: `extended` makes another.
Knows content types; what is special about models is in `typed`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from leveret.client import typed
from leveret.errors import InvalidMessage

BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain"
JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
BYTES_TYPE: Final = BYTES.encode()
TEXT_TYPE: Final = b"text/plain; charset=utf-8"
SHORT_NAMES: Final = {"json": JSON, "msgpack": MSGPACK, "bytes": BYTES, "text": TEXT}
OTHER_NAMES: Final = {"application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK, "text/json": JSON}
PICKLE: Final = "application/x-python-serialize"  # Celery's name of it
REMEMBERED: Final = 256  # content types that were looked up, and types that decoders were made of


@dataclasses.dataclass(frozen=True, slots=True)
class Serializer:
    """A way to write values, for `Serializers`.

    `encode` gives the bytes of a value; `decode` gets bytes and the type that is asked for, or None for any. What
    either raises is given on as InvalidMessage. Values of one of `types`, or below it, use it without being told to.
    """

    content_type: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, Any], Any]
    types: tuple[type, ...] = ()


class Serializers:
    """What a client writes and reads: the four of the table above, and `own`. Unchangeable, fit for many threads.

    `default` is the content type (or json, msgpack) of values that are neither bytes nor str nor of an own type. An
    own serializer takes the place of one with the same content type. Raises ValueError.
    """

    __slots__ = ("_by_name", "_by_type", "_default", "_found", "_own")

    def __init__(self, *own: Serializer, default: str = JSON) -> None:
        self._own = own
        self._by_name: dict[str, _Codec] = {
            JSON: _Json(),
            MSGPACK: _Msgpack(),
            TEXT: _Text(),
            BYTES: _Bytes(BYTES),
        }
        self._by_type: dict[type, _Codec] = {}
        self._found: dict[str, _Codec] = {}
        for each in own:
            kind = _bare(each.content_type)
            if "/" not in kind:
                raise ValueError(f"a content type is like application/xml, not {each.content_type!r}")
            codec = self._by_name[kind] = _Own(each)
            for of in each.types:
                if of is bytes or of is str:
                    raise ValueError(
                        f"{of.__name__} is sent as it is: say serializer={kind!r} where it is sent"
                    )
                self._by_type[of] = codec
        self._default = self.find(default)

    def extended(self, *own: Serializer, default: str | None = None) -> Serializers:
        """Another registry, with more serializers or another default."""
        return Serializers(*self._own, *own, default=self._default.kind if default is None else default)

    def __contains__(self, name: str) -> bool:
        return SHORT_NAMES.get(name, _bare(name)) in self._by_name

    @property
    def content_types(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def find(self, name: str) -> _Codec:
        """The serializer of a content type, or of a short name: json, msgpack, text, bytes. Raises ValueError."""
        codec = self._by_name.get(SHORT_NAMES.get(name) or _known(_bare(name)))
        if codec is None:
            names = [*SHORT_NAMES, *self._by_name]
            near = difflib.get_close_matches(name, names, 1)
            hint = f"do you mean {near[0]!r}?" if near else "there are " + ", ".join(self._by_name)
            raise ValueError(f"no serializer for {name!r}: {hint}")
        return codec

    def encode(self, body: object, serializer: str | None = None, as_type: Any = None) -> tuple[bytes, bytes]:
        """The bytes of `body`, and their content type.

        `serializer` is a content type or a short name; None: by the type of `body`. Structs, dataclasses, named tuples
        and pydantic models are checked against their own types, also within lists and dicts; anything is against
        `as_type`, if given. Raises InvalidMessage, which names the field, as in `order.items[2].price`; ValueError for
        a serializer that is not there.
        """
        if serializer is None and as_type is None:
            kind = type(body)
            if kind is bytes:
                return body, BYTES_TYPE  # type: ignore[return-value]
            if kind is str:
                try:
                    return body.encode(), TEXT_TYPE  # type: ignore[attr-defined]
                except UnicodeEncodeError as error:
                    raise InvalidMessage(f"body: {typed.worded(error)}") from None
        codec = self._of(body) if serializer is None else self.find(serializer)
        return codec.encode(body, as_type), codec.content_type

    def _of(self, body: object) -> _Codec:
        if self._by_type:
            for kind in type(body).__mro__:
                if kind in self._by_type:
                    return self._by_type[kind]
        if isinstance(body, (bytes, bytearray, memoryview)):
            return self._by_name[BYTES]
        if isinstance(body, str):
            return self._by_name[TEXT]
        return self._default

    def decode(self, body: bytes, content_type: str | None, into: Any = None) -> Any:
        """The value of a body. `into` is the type it must fit; None for any; bytes for the body as it is.

        Without a content type, a body that must fit a type is read by the default serializer, or as text for str. A
        content type that nobody knows gives bytes. Raises InvalidMessage, which names the field that does not fit.
        """
        if into is bytes:
            return body
        if not content_type:
            if into is None:
                return body
            codec = self._by_name[TEXT] if into is str else self._default
            return codec.decode(body, into)
        found = self._found.get(content_type)
        if found is None:
            found = self._look_up(content_type)
        return found.decode(body, into)

    def _look_up(self, content_type: str) -> _Codec:
        """The one that reads this content type, remembered as it was written."""
        kind = _known(_bare(content_type))
        codec = self._by_name.get(kind)
        if kind == TEXT and kind in self._by_name and isinstance(codec, _Text):
            codec = _Text(_charset(content_type))
        if codec is None:
            if kind.endswith("+json"):
                codec = self._by_name[JSON]
            elif kind.startswith("text/"):
                codec = _Text(_charset(content_type))
            else:
                codec = _Bytes(kind, self.content_types)
        if len(self._found) >= REMEMBERED:
            self._found.clear()  # they come from peers
        self._found[content_type] = codec
        return codec


def _bare(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _known(kind: str) -> str:
    return OTHER_NAMES.get(kind, kind)


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or "utf-8"
    return "utf-8"


class _Codec:
    """One content type. `kind` is its name without parameters, `content_type` what goes into the message."""

    kind = ""
    content_type = b""

    def encode(self, body: Any, as_type: Any) -> bytes:
        raise NotImplementedError

    def decode(self, body: bytes, into: Any) -> Any:
        raise NotImplementedError


class _Bytes(_Codec):
    """Bytes as they are; also of content types that are not registered, when they are read."""

    def __init__(self, kind: str, known: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.content_type = kind.encode()
        self.known = known

    def encode(self, body: Any, as_type: Any) -> bytes:
        if as_type is not None and as_type is not bytes:
            raise InvalidMessage(
                f"body: {typed.name_of(as_type)} is asked for, and {self.kind} only holds bytes"
            )
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise InvalidMessage(f"body: {self.kind} takes bytes, not {type(body).__name__}")
        return bytes(body)

    def decode(self, body: bytes, into: Any) -> Any:
        if into is None or into is object or into is Any:
            return body
        if into is str and not self.known:
            return _text(body, "utf-8")
        wanted = typed.name_of(into)
        if self.kind == PICKLE:
            raise InvalidMessage(
                f"body: {wanted} is expected, and pickle, which runs code, is never read: send JSON"
            )
        known = f"; there are {', '.join(self.known)}" if self.known else ""
        raise InvalidMessage(
            f"body: {wanted} is expected, and the content type {self.kind} says nothing of it{known}"
        )


class _Text(_Codec):
    kind = TEXT
    content_type = TEXT_TYPE

    def __init__(self, charset: str = "utf-8") -> None:
        self.charset = charset

    def encode(self, body: Any, as_type: Any) -> bytes:
        if as_type is not None and as_type is not str:
            raise InvalidMessage(
                f"body: {typed.name_of(as_type)} is asked for, and text/plain only holds text"
            )
        if not isinstance(body, str):
            raise InvalidMessage(f"body: text/plain takes str, not {type(body).__name__}")
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessage(f"body: {typed.worded(error)}") from None

    def decode(self, body: bytes, into: Any) -> Any:
        if into is None or into is str or into is object or into is Any:
            return _text(body, self.charset)
        raise InvalidMessage(f"body: expected {typed.name_of(into)}, got text")


def _text(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"body: not {charset} at byte {error.start}") from None
    except LookupError:
        raise InvalidMessage(f"body: the charset {charset!r} of its content type is not known") from None


class _Own(_Codec):
    """One that the application registered."""

    def __init__(self, own: Serializer) -> None:
        self.kind = _bare(own.content_type)
        self.content_type = own.content_type.encode()
        self.own = own

    def encode(self, body: Any, as_type: Any) -> bytes:
        if as_type is not None and not (isinstance(as_type, type) and isinstance(body, as_type)):
            raise InvalidMessage(f"body: expected {typed.name_of(as_type)}, got {type(body).__name__}")
        try:
            data = self.own.encode(body)
        except InvalidMessage:
            raise
        except Exception as error:  # whatever it raises, the message is what cannot be used
            raise InvalidMessage(f"body: {self.kind} cannot hold it: {error}") from error
        if not isinstance(data, bytes):
            raise InvalidMessage(
                f"body: the serializer of {self.kind} gave {type(data).__name__} instead of bytes"
            )
        return data

    def decode(self, body: bytes, into: Any) -> Any:
        try:
            return self.own.decode(body, into)
        except InvalidMessage:
            raise
        except Exception as error:
            raise InvalidMessage(f"body: it cannot be read as {self.kind}: {error}") from error


class _Checked(_Codec):
    """JSON and msgpack, by msgspec."""

    encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder
    make_decoder: Callable[[Any], Any]

    def __init__(self) -> None:
        self._decoders: dict[Any, Any] = {}
        self._any = self.make_decoder(Any)

    def encode(self, body: Any, as_type: Any) -> bytes:
        try:
            data: bytes = self.encoder.encode(body)
        except InvalidMessage:
            raise
        except Exception as error:
            raise typed.cannot_encode(body, self.encoder.encode, error, self.kind) from None
        if as_type is not None:
            self._check(data, as_type, typed.subject_of(as_type))
        elif typed.is_typed(type(body)):
            self._check(data, type(body), typed.subject_of(type(body)))
        elif isinstance(body, (dict, list, tuple, set, frozenset)):
            for path, part in typed.typed_parts(body):
                self._check(self.encoder.encode(part), type(part), path)
        return data

    def _check(self, data: bytes, kind: Any, subject: str) -> None:
        """That it can be read again as what it is said to be: msgspec checks types when it reads."""
        try:
            self._decoder(kind).decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise typed.cannot_decode(error, subject) from None

    def decode(self, body: bytes, into: Any) -> Any:
        try:
            if into is None:
                return self._any.decode(body)
            if typed.is_model(into):
                return typed.read_model(into, self.as_json(body))
            return self._decoder(into).decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise typed.cannot_decode(error, typed.subject_of(into)) from None

    def as_json(self, body: bytes) -> bytes:
        raise NotImplementedError

    def _decoder(self, kind: Any) -> Any:
        try:
            found = self._decoders.get(kind)
        except TypeError:  # not hashable
            return self._new_decoder(kind)
        if found is None:
            found = self._new_decoder(kind)
            if len(self._decoders) >= REMEMBERED:
                self._decoders.clear()
            self._decoders[kind] = found
        return found

    def _new_decoder(self, kind: Any) -> Any:
        try:
            return self.make_decoder(kind)
        except (TypeError, NameError) as error:
            raise InvalidMessage(f"{typed.subject_of(kind)}: its type cannot be checked: {error}") from None


class _Json(_Checked):
    kind = JSON
    content_type = JSON.encode()

    def __init__(self) -> None:
        self.encoder = msgspec.json.Encoder(enc_hook=typed.model_as_json)
        self.make_decoder = lambda kind: msgspec.json.Decoder(kind, dec_hook=typed.model_of_json)
        super().__init__()

    def as_json(self, body: bytes) -> bytes:
        return body


class _Msgpack(_Checked):
    kind = MSGPACK
    content_type = MSGPACK.encode()

    def __init__(self) -> None:
        self.encoder = msgspec.msgpack.Encoder(enc_hook=typed.model_as_json)
        self.make_decoder = lambda kind: msgspec.msgpack.Decoder(kind, dec_hook=typed.model_of_json)
        super().__init__()

    def as_json(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._any.decode(body))


DEFAULT: Final = Serializers()
