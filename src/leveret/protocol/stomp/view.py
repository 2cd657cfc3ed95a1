"""What the core may ask of a message that came by STOMP (core/view.py), and how it is kept.

`Message.data` is what was said of it, then its body:

    name:value LF        in STOMP 1.2's escapes whatever the sender's version; each name once
    ...
    LF
    body                 the last `Message.size_bytes` bytes

A header is found by searching for its name at the beginning of a line, and nothing else is decoded. What changes
headers makes an AMQP 0-9-1 message of it, since only that has typed ones: a dead letter, a delivery with a count.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from leveret.core.destination import Table
from leveret.core.view import View, register, view_of
from leveret.message import STOMP, Message
from leveret.native import i64
from leveret.protocol.amqp091 import view as amqp_view  # noqa: F401  registers what is changed into
from leveret.protocol.amqp091.content import parse_expiration
from leveret.protocol.amqp091.foreign import as_amqp
from leveret.protocol.stomp import mapping
from leveret.protocol.stomp.destinations import told_reply_to
from leveret.wire.properties import Properties
from leveret.wire.splice import Names
from leveret.wire.stomp_headers import STOMP_12, Headers, escape, parse_headers, put_header, unescape

TIMES: Final = ("x-deliver-at", "x-deliver-after", "x-delay")
LF: Final[i64] = 10
NO_HEADERS: Final = b"\n"


def kept_block(headers: Headers) -> bytes:
    """What is kept of a SEND's headers, with the empty line behind them: all but those that speak of its frame. A
    reply-to is kept as consumers are to be told of it."""
    out = BytesWriter()
    for name, value in headers:
        if name not in mapping.OF_FRAME:
            if name == mapping.REPLY_TO:
                value = told_reply_to(value)
            put_header(out, name, value, STOMP_12)
    out.append(LF)
    return out.getvalue()


def made(block: bytes, body: bytes, route: bytes, persistent: bool) -> Message:
    """block: of `kept_block`."""
    return Message(block + body, route, i64(len(body)), persistent, STOMP)


def body_at(m: Message) -> i64:
    return i64(len(m.data)) - m.size_bytes


def headers_of(m: Message) -> Headers:
    """All that is kept, decoded."""
    return parse_headers(m.data[: body_at(m) - 1], STOMP_12, False)


class StompView(View):
    def __init__(self) -> None:
        self.name = ""  # the header asked for last, and how it begins
        self.first = b":"
        self.later = b"\n:"

    def _find(self, m: Message, name: str) -> bytes | None:
        """The value of one header, unescaped. Mostly the same one is asked for again and again."""
        data = m.data
        end = body_at(m)
        if end <= 1:
            return None
        if name is not self.name:
            self.name = name
            self.first = escape(name.encode("utf-8", "surrogateescape"), STOMP_12) + b":"
            self.later = b"\n" + self.first
        at: i64 = 0
        if not data.startswith(self.first):
            at = data.find(self.later, 0, end) + 1
            if at == 0:
                return None
        at += i64(len(self.first))
        return unescape(data[at : data.find(b"\n", at)], STOMP_12)

    def headers(self, m: Message) -> Table:
        return mapping.user_headers_of(headers_of(m))

    def properties(self, m: Message) -> Properties:
        return mapping.properties_of(headers_of(m))

    def body(self, m: Message) -> bytes:
        return m.data[body_at(m) :]

    def times(self, m: Message) -> Table:
        found: Table = {}
        for name in TIMES:
            value = self._find(m, name)
            if value is not None:
                found[name] = mapping.text_of(value)
        return found

    def header(self, m: Message, name: str) -> object | None:
        value = self._user_header(m, name)
        return None if value is None else mapping.text_of(value)

    def key_of(self, m: Message, name: str) -> bytes:
        value = self._user_header(m, name)
        return b"" if value is None else value

    def _user_header(self, m: Message, name: str) -> bytes | None:
        value = self._find(m, name)
        return (
            None if value is None or name.encode("utf-8", "surrogateescape") in mapping.PROPERTIES else value
        )

    def message_id(self, m: Message) -> bytes:
        value = self._find(m, "amqp-message-id")
        return b"" if value is None else value

    def property(self, m: Message, name: str) -> str:
        if name == "timestamp":
            seconds = mapping.properties_of(headers_of(m)).timestamp
            return "" if seconds is None else str(seconds)
        value: bytes | None = None
        if name == "message_id":
            value = self._find(m, "amqp-message-id")
        elif name == "correlation_id":
            value = self._find(m, "correlation-id")
        return "" if value is None else mapping.text_of(value)

    def priority(self, m: Message) -> i64:
        return mapping.priority_of(self._find(m, "priority"))

    def ttl_ms(self, m: Message) -> i64:
        value = self._find(m, "expiration")
        return -1 if value is None else parse_expiration(mapping.text_of(value))

    def is_bare(self, m: Message) -> bool:
        return body_at(m) <= 1

    def deaths(self, m: Message) -> bytes:
        return b""  # a dead letter of this broker is an AMQP message

    def copy_keys(self, m: Message) -> list[str] | None:
        return None  # CC is refused: it is an array, and a STOMP header is none

    # ---- what only AMQP's tables can say

    def with_headers(self, m: Message, headers: Table, drop_expiration: bool) -> Message:
        changed = as_amqp(m)
        return view_of(changed).with_headers(changed, headers, drop_expiration)

    def delivery(self, m: Message, extra: Table) -> Message:
        changed = as_amqp(m)
        return view_of(changed).delivery(changed, extra)

    def with_fields(self, m: Message, fields: bytes, names: Names) -> Message:
        changed = as_amqp(m)
        return view_of(changed).with_fields(changed, fields, names)

    def dead_letter(self, m: Message, route: bytes, fields: bytes, names: Names, new_key: bool) -> Message:
        changed = as_amqp(m)
        return view_of(changed).dead_letter(changed, route, fields, names, new_key)


register(STOMP, StompView())
