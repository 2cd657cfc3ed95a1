"""The fields of every method, as a table, and what can be done with it: take a method apart, or check it.

`decode_method` is for those who want values by name: the client, tools, tests. `check_method` says whether the
bytes are a method at all, before anybody acts on the first half of it. Fields are named as in the
specification with underscores; reserved ones keep the names of RabbitMQ's `amqp-rabbitmq-0.9.1.json`.

RabbitMQ demands UTF-8 of short strings except in methods that carry content (rabbit_framing_amqp_0_9_1), so
exchange and routing key of a publish may be any bytes.
"""

from __future__ import annotations

from typing import Final, final

from leveret.errors import CommandInvalid, FrameError, MalformedFrame
from leveret.native import i64
from leveret.wire import methods
from leveret.wire.buffer import Reader
from leveret.wire.find import check_table
from leveret.wire.methods import carries_content, method_name
from leveret.wire.table import read_table

OCTET: Final = 1
SHORT: Final = 2
LONG: Final = 3
LONGLONG: Final = 4
SHORTSTR: Final = 5
LONGSTR: Final = 6
TABLE: Final = 7
BIT: Final = 8

KINDS: Final[dict[str, int]] = {
    "octet": OCTET,
    "short": SHORT,
    "long": LONG,
    "longlong": LONGLONG,
    "shortstr": SHORTSTR,
    "longstr": LONGSTR,
    "table": TABLE,
    "bit": BIT,
}

CLOSE: Final = "short reply_code, shortstr reply_text, short class_id, short method_id"
BINDING: Final = "shortstr routing_key, bit no_wait, table arguments"
TUNING: Final = "short channel_max, long frame_max, short heartbeat"

FIELDS: Final[dict[int, str]] = {
    methods.CONNECTION_START: "octet version_major, octet version_minor, table server_properties, "
    "longstr mechanisms, longstr locales",
    methods.CONNECTION_START_OK: "table client_properties, shortstr mechanism, longstr response, shortstr locale",
    methods.CONNECTION_SECURE: "longstr challenge",
    methods.CONNECTION_SECURE_OK: "longstr response",
    methods.CONNECTION_TUNE: TUNING,
    methods.CONNECTION_TUNE_OK: TUNING,
    methods.CONNECTION_OPEN: "shortstr virtual_host, shortstr capabilities, bit insist",
    methods.CONNECTION_OPEN_OK: "shortstr known_hosts",
    methods.CONNECTION_CLOSE: CLOSE,
    methods.CONNECTION_CLOSE_OK: "",
    methods.CONNECTION_BLOCKED: "shortstr reason",
    methods.CONNECTION_UNBLOCKED: "",
    methods.CONNECTION_UPDATE_SECRET: "longstr new_secret, shortstr reason",
    methods.CONNECTION_UPDATE_SECRET_OK: "",
    methods.CHANNEL_OPEN: "shortstr out_of_band",
    methods.CHANNEL_OPEN_OK: "longstr channel_id",
    methods.CHANNEL_FLOW: "bit active",
    methods.CHANNEL_FLOW_OK: "bit active",
    methods.CHANNEL_CLOSE: CLOSE,
    methods.CHANNEL_CLOSE_OK: "",
    methods.ACCESS_REQUEST: "shortstr realm, bit exclusive, bit passive, bit active, bit write, bit read",
    methods.ACCESS_REQUEST_OK: "short ticket",
    methods.EXCHANGE_DECLARE: "short ticket, shortstr exchange, shortstr type, bit passive, bit durable, "
    "bit auto_delete, bit internal, bit no_wait, table arguments",
    methods.EXCHANGE_DECLARE_OK: "",
    methods.EXCHANGE_DELETE: "short ticket, shortstr exchange, bit if_unused, bit no_wait",
    methods.EXCHANGE_DELETE_OK: "",
    methods.EXCHANGE_BIND: "short ticket, shortstr destination, shortstr source, " + BINDING,
    methods.EXCHANGE_BIND_OK: "",
    methods.EXCHANGE_UNBIND: "short ticket, shortstr destination, shortstr source, " + BINDING,
    methods.EXCHANGE_UNBIND_OK: "",
    methods.QUEUE_DECLARE: "short ticket, shortstr queue, bit passive, bit durable, bit exclusive, "
    "bit auto_delete, bit no_wait, table arguments",
    methods.QUEUE_DECLARE_OK: "shortstr queue, long message_count, long consumer_count",
    methods.QUEUE_BIND: "short ticket, shortstr queue, shortstr exchange, " + BINDING,
    methods.QUEUE_BIND_OK: "",
    methods.QUEUE_PURGE: "short ticket, shortstr queue, bit no_wait",
    methods.QUEUE_PURGE_OK: "long message_count",
    methods.QUEUE_DELETE: "short ticket, shortstr queue, bit if_unused, bit if_empty, bit no_wait",
    methods.QUEUE_DELETE_OK: "long message_count",
    methods.QUEUE_UNBIND: "short ticket, shortstr queue, shortstr exchange, shortstr routing_key, "
    "table arguments",
    methods.QUEUE_UNBIND_OK: "",
    methods.BASIC_QOS: "long prefetch_size, short prefetch_count, bit global",
    methods.BASIC_QOS_OK: "",
    methods.BASIC_CONSUME: "short ticket, shortstr queue, shortstr consumer_tag, bit no_local, bit no_ack, "
    "bit exclusive, bit no_wait, table arguments",
    methods.BASIC_CONSUME_OK: "shortstr consumer_tag",
    methods.BASIC_CANCEL: "shortstr consumer_tag, bit no_wait",
    methods.BASIC_CANCEL_OK: "shortstr consumer_tag",
    methods.BASIC_PUBLISH: "short ticket, shortstr exchange, shortstr routing_key, bit mandatory, bit immediate",
    methods.BASIC_RETURN: "short reply_code, shortstr reply_text, shortstr exchange, shortstr routing_key",
    methods.BASIC_DELIVER: "shortstr consumer_tag, longlong delivery_tag, bit redelivered, shortstr exchange, "
    "shortstr routing_key",
    methods.BASIC_GET: "short ticket, shortstr queue, bit no_ack",
    methods.BASIC_GET_OK: "longlong delivery_tag, bit redelivered, shortstr exchange, shortstr routing_key, "
    "long message_count",
    methods.BASIC_GET_EMPTY: "shortstr cluster_id",
    methods.BASIC_ACK: "longlong delivery_tag, bit multiple",
    methods.BASIC_REJECT: "longlong delivery_tag, bit requeue",
    methods.BASIC_RECOVER_ASYNC: "bit requeue",
    methods.BASIC_RECOVER: "bit requeue",
    methods.BASIC_RECOVER_OK: "",
    methods.BASIC_NACK: "longlong delivery_tag, bit multiple, bit requeue",
    methods.CONFIRM_SELECT: "bit no_wait",
    methods.CONFIRM_SELECT_OK: "",
    methods.TX_SELECT: "",
    methods.TX_SELECT_OK: "",
    methods.TX_COMMIT: "",
    methods.TX_COMMIT_OK: "",
    methods.TX_ROLLBACK: "",
    methods.TX_ROLLBACK_OK: "",
}


@final
class Signature:
    """The fields of one method, in order."""

    def __init__(self, fields: str) -> None:
        self.names: list[str] = []
        self.kinds: list[int] = []
        for field in fields.split(", ") if fields else []:
            kind, name = field.split(" ")
            self.kinds.append(KINDS[kind])
            self.names.append(name)


SIGNATURES: Final[dict[int, Signature]] = {method: Signature(fields) for method, fields in FIELDS.items()}


@final
class Method:
    """A method taken apart: its number, its name ('queue.declare_ok') and its fields' values by name."""

    def __init__(self, number: int, name: str, fields: dict[str, object]) -> None:
        self.number = number
        self.name = name
        self.fields = fields

    def __repr__(self) -> str:
        return f"Method({self.name}, {self.fields!r})"


def signature_of(method: i64) -> Signature:
    signature = SIGNATURES.get(int(method))
    if signature is None:
        raise CommandInvalid(f"unknown method {{{method >> 16},{method & 0xFFFF}}}")
    return signature


def decode_method(payload: bytes) -> Method:
    """The payload of a method frame. Any fault in it raises: `MalformedFrame`, `FrameError`, `CommandInvalid`."""
    reader = Reader(payload)
    method = reader.long()
    signature = signature_of(method)
    utf8 = not carries_content(method)
    fields: dict[str, object] = {}
    bits: i64 = 0
    bit: i64 = 0  # the one to look at next; 0 where a new octet begins (4.2.5.2)
    for name, kind in zip(signature.names, signature.kinds, strict=True):
        if kind == BIT:
            if bit == 0:
                bits = reader.octet()
                bit = 1
            fields[name] = bits & bit != 0
            bit <<= 1
        else:
            bit = 0
            fields[name] = _read(reader, kind, utf8)
    reader.finish()
    return Method(int(method), method_name(method), fields)


def _read(reader: Reader, kind: i64, utf8: bool) -> object:
    if kind == SHORTSTR:
        return reader.name() if utf8 else reader.shortstr()
    if kind == LONGLONG:
        return reader.longlong()
    if kind == TABLE:
        return read_table(reader)
    if kind == LONGSTR:
        return reader.longstr()
    if kind == SHORT:
        return int(reader.short())
    if kind == LONG:
        return int(reader.long())
    return int(reader.octet())


def check_method(data: bytes, pos: i64, end: i64, method: i64) -> None:
    """Raises where `data[pos:end]` are not exactly the fields of `method`.

    Fields that are too short or too long, or no UTF-8 where it is due, are a `FrameError` in RabbitMQ's words.
    What is wrong inside a table is a `MalformedFrame` that says so; RabbitMQ fails with an internal error there.
    """
    signature = signature_of(method)
    utf8 = not carries_content(method)
    reader = Reader(data, pos, end)
    table_at: i64 = -1  # no method has more than one
    in_bits = False
    try:
        for kind in signature.kinds:
            if kind != BIT or not in_bits:
                if kind == TABLE:
                    table_at = reader.pos
                _step(reader, kind, utf8)
            in_bits = kind == BIT
        reader.finish()
    except MalformedFrame:
        octets = ",".join([str(octet) for octet in data[pos:end]])
        error = FrameError(f"cannot decode <<{octets}>>")
        error.method = int(method)
        raise error from None
    if table_at >= 0:
        try:
            check_table(Reader(data, table_at, end))
        except MalformedFrame as error:
            error.method = int(method)
            raise


def _step(reader: Reader, kind: i64, utf8: bool) -> None:
    """Over one field; a table is only its length here."""
    if kind == SHORTSTR:
        if utf8:
            reader.name()
        else:
            reader.take(reader.octet())
    elif kind == LONGSTR or kind == TABLE:
        reader.take(reader.long())
    elif kind == LONGLONG:
        reader.take(8)
    elif kind == LONG:
        reader.take(4)
    elif kind == SHORT:
        reader.take(2)
    else:
        reader.take(1)
