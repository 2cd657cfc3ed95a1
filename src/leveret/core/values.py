"""How values of field tables compare, and how RabbitMQ shows them in its texts.

Plain Python values would compare wrongly: `1 == True == 1.0`, and lists and dicts cannot be hashed. `freeze` gives
something that can be hashed and is equal exactly when Erlang's `=:=` holds between the values in RabbitMQ: integers
of any width are equal, strings and binaries too, all else only to its own type.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from leveret.core.destination import Table
from leveret.errors import PreconditionFailed
from leveret.wire.field import TYPE_NAMES, Timestamp, type_byte_of
from leveret.wire.table import encode_table, seconds_of

TRUE: Final[object] = ("bool", True)
FALSE: Final[object] = ("bool", False)
NONE: Final[object] = ("void",)
INTEGERS: Final = frozenset(
    ("byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint")
)


def freeze(value: object) -> object:
    """A timestamp freezes to its seconds: an integer in RabbitMQ."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):  # before int, of which it is a subclass
        return TRUE if value else FALSE
    if isinstance(value, int):
        return value
    if value is None:
        return NONE
    if isinstance(value, float):
        return ("float", value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Timestamp):
        return value.seconds
    if isinstance(value, datetime):
        return seconds_of(value)
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        return ("decimal", sign, digits, exponent)
    if isinstance(value, list):
        return ("array", tuple([_typed(each) for each in value]))
    if isinstance(value, dict):
        return ("table", tuple([(name, _typed(each)) for name, each in value.items()]))
    raise PreconditionFailed(f"a table cannot hold a {type(value).__name__}")


def _typed(value: object) -> object:
    """Inside arrays and tables RabbitMQ compares the types as well."""
    return (type_name(value), freeze(value))


def freeze_header(value: object) -> object:
    """A message's header as a headers exchange sees it: RabbitMQ counts a timestamp there in milliseconds."""
    if isinstance(value, str):
        return value
    if isinstance(value, Timestamp):
        return value.seconds * 1000
    return freeze(value)


def freeze_arguments(arguments: Table) -> object:
    """Arguments of a binding: equal whatever their order, also when repeated (rabbit_binding:sort_args)."""
    if not arguments:
        return None
    return tuple([(name, _typed(arguments[name])) for name in sorted(arguments)])


def type_name(value: object) -> str:
    """RabbitMQ's name of the type a value has. A number's width is not kept: it is the one it is written with."""
    try:
        return TYPE_NAMES[type_byte_of(value)]
    except (TypeError, ValueError) as error:
        raise PreconditionFailed(f"{error}") from None


def brief(value: object, most: int) -> str:
    """A value in an error that has to fit a reply's short string."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(value: object) -> str:
    """Erlang's ~p of a table's value: strings there are binaries."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'<<"{value}">>'
    if isinstance(value, bytes):
        return f'<<"{value.decode("utf-8", "surrogateescape")}">>'
    if value is None:
        return "undefined"
    if isinstance(value, Timestamp):
        return str(value.seconds)
    if isinstance(value, list):
        return "[" + ",".join([f"{{{type_name(each)},{shown(each)}}}" for each in value]) + "]"
    if isinstance(value, dict):
        fields = [f'{{<<"{name}">>,{type_name(each)},{shown(each)}}}' for name, each in value.items()]
        return "[" + ",".join(fields) + "]"
    return str(value)


def bare(value: object) -> str:
    """The same, but a string is itself (rabbit_misc:val)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return shown(value)


def check_equal(received: object, current: object, name: str, what: str) -> None:
    """Raises PreconditionFailed unless two values that are there are the same (assert_field_equivalence)."""
    if bare(received) != bare(current):
        raise unequal(name, what, f"'{bare(received)}'", f"'{bare(current)}'")


def check_equal_argument(received: Table, current: Table, name: str, what: str) -> None:
    """One argument of a declaration against that of what is there (rabbit_misc:assert_args_equivalence1)."""
    here, there = name in received, name in current
    if not here and not there:
        return
    if here and there:
        new, old = received[name], current[name]
        if freeze(new) == freeze(old):
            return
        raise unequal(name, what, f"'{bare(new)}'", f"'{bare(old)}'")
    raise unequal(name, what, _with_type(received, name), _with_type(current, name))


def _with_type(table: Table, name: str) -> str:
    if name not in table:
        return "none"
    value = table[name]
    return f"the value '{bare(value)}' of type '{type_name(value)}'"


def unequal(name: str, what: str, received: str, current: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"inequivalent arg '{name}' for {what}: received {received} but current is {current}"
    )


def table_bytes(arguments: Table) -> bytes:
    """A table as it is kept in the journal: with its types, which msgpack has not."""
    if not arguments:
        return b""
    try:
        return encode_table(arguments)
    except (TypeError, ValueError) as error:
        raise PreconditionFailed(f"arguments that cannot be kept: {error}") from None
