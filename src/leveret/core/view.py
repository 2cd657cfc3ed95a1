"""How the core reads what a message says of itself, without knowing any protocol.

A message keeps its publisher's bytes; each protocol registers a view of its own that finds things in them when
somebody asks. Nothing here is on the way of a message that asks for nothing.

The one vocabulary between protocols are AMQP 0-9-1's properties with its typed headers: a consumer that speaks another
protocol than the publisher did gets what `properties` and `body` say, in its own words.

Where the core hands over header fields it has them encoded as in an AMQP 0-9-1 field table (wire/table.py), so that a
protocol which has the same tables need not look into them.
"""

from __future__ import annotations

from typing import Final

from leveret.core.destination import Routed, Table
from leveret.errors import Bug
from leveret.message import Message
from leveret.native import i64, mypyc_attr
from leveret.wire.properties import Properties
from leveret.wire.splice import Names


@mypyc_attr(allow_interpreted_subclasses=True)
class View:
    def headers(self, m: Message) -> Table:
        """All of them, decoded."""
        raise NotImplementedError

    def properties(self, m: Message) -> Properties:
        """Everything that it says of itself, decoded: how another protocol is told of it."""
        raise NotImplementedError

    def body(self, m: Message) -> bytes:
        """Its body in one piece."""
        raise NotImplementedError

    def delay_ms(self, m: Message) -> i64:
        """Its header `x-deliver-after` if that is a plain number and nothing else says when it is due; else -1."""
        return -1

    def times(self, m: Message) -> Table:
        """Those of the headers `x-deliver-at`, `x-deliver-after` and `x-delay` that it has, maybe with others."""
        raise NotImplementedError

    def header(self, m: Message, name: str) -> object | None:
        """One header's value, None if it is not there."""
        raise NotImplementedError

    def key_of(self, m: Message, name: str) -> bytes:
        """A header's value as bytes that are equal exactly when the values are: a text is itself, numbers are equal
        whatever their width. Empty if it is not there, or holds nothing."""
        raise NotImplementedError

    def message_id(self, m: Message) -> bytes:
        """Empty if it has none."""
        raise NotImplementedError

    def property(self, m: Message, name: str) -> str:
        """message_id, correlation_id or timestamp as text, empty if it has none."""
        raise NotImplementedError

    def priority(self, m: Message) -> i64:
        """-1 if it has none."""
        raise NotImplementedError

    def ttl_ms(self, m: Message) -> i64:
        """How long it may wait by its own word, -1 for ever. Raises PreconditionFailed if that means nothing."""
        raise NotImplementedError

    def with_headers(self, m: Message, headers: Table, drop_expiration: bool) -> Message:
        """The message with these headers instead of its own."""
        raise NotImplementedError

    def delivery(self, m: Message, extra: Table) -> Message:
        """The message with a few headers more (or other values of them), as it is handed out. Their names begin with
        `x-`."""
        raise NotImplementedError

    def with_fields(self, m: Message, fields: bytes, names: Names) -> Message:
        """The same, with encoded fields; without those of the names `names` that it had."""
        raise NotImplementedError

    def is_bare(self, m: Message) -> bool:
        """It has no headers and no time to live of its own."""
        raise NotImplementedError

    def deaths(self, m: Message) -> bytes:
        """The elements of the header `x-death`, encoded, if this broker wrote it; empty if it did not. What a
        publisher calls so is no history (RabbitMQ since 4.0)."""
        raise NotImplementedError

    def copy_keys(self, m: Message) -> list[str] | None:
        """Routing keys that count besides the one of its route; None if there are none."""
        raise NotImplementedError

    def dead_letter(self, m: Message, route: bytes, fields: bytes, names: Names, new_key: bool) -> Message:
        """The message as a dead letter: on a new route, without its expiration, with the header fields `fields`, without
        those of the names `names` that it had. new_key: its copy_keys count no more."""
        raise NotImplementedError


VIEWS: Final[list[View | None]] = [None] * 16  # by protocol


def register(protocol: int, view: View) -> None:
    VIEWS[protocol] = view


def view_of(m: Message) -> View:
    view = VIEWS[m.protocol & 15]
    if view is None:
        raise Bug(f"nobody can read messages of protocol {int(m.protocol)}")
    return view


class Seen(Routed):
    """A message as routing sees it."""

    def __init__(self, m: Message, key: str, more: list[str] | None) -> None:
        super().__init__(key, more)
        self.message = m

    def headers(self) -> Table | None:
        return view_of(self.message).headers(self.message)

    def property(self, name: str) -> str:
        return view_of(self.message).property(self.message, name)
