"""The changes of a virtual host's topology as the journal keeps them: small msgpack lists, a number first.

    1 EXCHANGE   name, kind, auto_delete, internal, arguments
    2 -EXCHANGE  name                      with all bindings from and to it
    3 QUEUE      name, qid, auto_delete, arguments, queue type
    4 -QUEUE     name, qid                 with all bindings to it
    5 BINDING    source, to a queue, destination, key, arguments
    6 -BINDING   the same
    7 BOUND      name                      an auto-delete exchange has had a binding, which is not in the journal
    8 IDS        qid                       numbers up to this one are taken
    9 KEEPING    name, kind, auto_delete, internal, arguments, qid      an exchange that keeps something

Everything in them is durable, so no op says so. Names are their bytes (msgpack's texts have to be UTF-8), arguments
an AMQP table (empty: none), since msgpack would lose types. To change the format: add ops with new numbers, and
read the old ones as long as directories of older versions are to be opened.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from leveret.core.destination import NO_ARGUMENTS, Binding, QueueBase, Table
from leveret.core.exchange import Exchange
from leveret.core.values import table_bytes
from leveret.errors import Damaged
from leveret.wire.table import decode_table

EXCHANGE: Final = 1
NO_EXCHANGE: Final = 2
QUEUE: Final = 3
NO_QUEUE: Final = 4
BINDING: Final = 5
NO_BINDING: Final = 6
BOUND: Final = 7
IDS: Final = 8
KEEPING: Final = 9

LENGTHS: Final[dict[int, int]] = {
    EXCHANGE: 6,
    NO_EXCHANGE: 2,
    QUEUE: 6,
    NO_QUEUE: 3,
    BINDING: 6,
    NO_BINDING: 6,
    BOUND: 2,
    IDS: 2,
    KEEPING: 7,
}


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def exchange_op(x: Exchange) -> bytes:
    name, kind, arguments = _raw(x.name), _raw(x.kind), table_bytes(x.arguments)
    if x.qid > 0:
        return _op([KEEPING, name, kind, x.auto_delete, x.internal, arguments, int(x.qid)])
    return _op([EXCHANGE, name, kind, x.auto_delete, x.internal, arguments])


def no_exchange_op(name: str) -> bytes:
    return _op([NO_EXCHANGE, _raw(name)])


def queue_op(name: str, qid: int, auto_delete: bool, arguments: Table, queue_type: str) -> bytes:
    return _op([QUEUE, _raw(name), qid, auto_delete, table_bytes(arguments), _raw(queue_type)])


def no_queue_op(queue: QueueBase) -> bytes:
    return _op([NO_QUEUE, _raw(queue.name), int(queue.qid)])


def binding_op(source: str, is_queue: bool, destination: str, key: str, arguments: Table) -> bytes:
    return _op([BINDING, _raw(source), is_queue, _raw(destination), _raw(key), table_bytes(arguments)])


def no_binding_op(source: str, is_queue: bool, destination: str, key: str, arguments: Table) -> bytes:
    return _op([NO_BINDING, _raw(source), is_queue, _raw(destination), _raw(key), table_bytes(arguments)])


def binding_op_of(b: Binding) -> bytes:
    return binding_op(b.source.name, b.destination.is_queue, b.destination.name, b.key, b.arguments)


def bound_op(name: str) -> bytes:
    return _op([BOUND, _raw(name)])


def ids_op(last: int) -> bytes:
    return _op([IDS, last])


def _op(parts: list[object]) -> bytes:
    return msgspec.msgpack.encode(parts)


class Op:
    """A change as it is read back: its number and what comes behind it."""

    def __init__(self, op: bytes) -> None:
        try:
            parts: Any = msgspec.msgpack.decode(op)
        except (msgspec.DecodeError, ValueError) as error:
            raise Damaged(f"a change of topology that cannot be read: {error}") from None
        if not isinstance(parts, list) or not parts:
            raise Damaged("a change of topology that is no list")
        self.kind = 0
        if isinstance(parts[0], int):
            self.kind = parts[0]
        if len(parts) != LENGTHS.get(self.kind, -1):
            raise Damaged(f"a change of topology of the unknown kind {self.kind} with {len(parts)} parts")
        self.parts: list[object] = parts

    def name(self, i: int) -> str:
        part = self.parts[i]
        if not isinstance(part, bytes):
            raise Damaged(f"a change of topology of kind {self.kind} whose part {i} is no name")
        return part.decode("utf-8", "surrogateescape")

    def number(self, i: int) -> int:
        part = self.parts[i]
        if not isinstance(part, int):
            raise Damaged(f"a change of topology of kind {self.kind} whose part {i} is no number")
        return part

    def flag(self, i: int) -> bool:
        part = self.parts[i]
        if not isinstance(part, bool):
            raise Damaged(
                f"a change of topology of kind {self.kind} whose part {i} is neither true nor false"
            )
        return part

    def table(self, i: int) -> Table:
        part = self.parts[i]
        if not isinstance(part, bytes):
            raise Damaged(f"a change of topology of kind {self.kind} whose part {i} is no table")
        return decode_table(part) if part else NO_ARGUMENTS
