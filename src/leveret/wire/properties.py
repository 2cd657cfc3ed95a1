"""The properties of a message, that is the end of a content header (AMQP 0-9-1, section 4.2.6.1).

A flags word says which of 14 properties follow, in a fixed order. On the way of a message they stay bytes:
`find_property` steps to one of them by reading lengths only, and `check_properties` says whether all of them
are sound. `decode_properties` is for those who want them all.

Every function takes the position of the flags word and the end of the properties, and never looks outside.
Knows nothing of what a property makes the broker do.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i16_be, read_i32_be

from leveret.errors import MalformedFrame
from leveret.native import i64
from leveret.wire.buffer import Reader, overrun, put_longlong, put_octet, put_short, put_shortstr
from leveret.wire.find import check_fields, field_end, find_field, table_end
from leveret.wire.table import put_table, read_table

CONTENT_TYPE: Final = 0x8000
CONTENT_ENCODING: Final = 0x4000
HEADERS: Final = 0x2000
DELIVERY_MODE: Final = 0x1000
PRIORITY: Final = 0x0800
CORRELATION_ID: Final = 0x0400
REPLY_TO: Final = 0x0200
EXPIRATION: Final = 0x0100
MESSAGE_ID: Final = 0x0080
TIMESTAMP: Final = 0x0040
TYPE: Final = 0x0020
USER_ID: Final = 0x0010
APP_ID: Final = 0x0008
CLUSTER_ID: Final = 0x0004  # reserved in 0-9-1, still passed on
CONTINUATION: Final = 0x0001  # another flags word follows; class basic has none

OCTETS: Final = DELIVERY_MODE | PRIORITY

PERSISTENT: Final = 2  # a delivery mode
TRANSIENT: Final = 1

FLAGS_OFFSET_BYTES: Final = 12  # of the flags word in the payload of a content header frame
FLAGS_OFFSET_IN_FRAME_BYTES: Final = 19  # and in the whole frame


@final
class Properties:
    """All 14 properties; one that is not there is None. `timestamp` is in seconds since 1970."""

    def __init__(
        self,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, object] | None = None,
        delivery_mode: int | None = None,
        priority: int | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        expiration: str | None = None,
        message_id: str | None = None,
        timestamp: int | None = None,
        type: str | None = None,
        user_id: str | None = None,
        app_id: str | None = None,
        cluster_id: str | None = None,
    ) -> None:
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.headers = headers
        self.delivery_mode = delivery_mode
        self.priority = priority
        self.correlation_id = correlation_id
        self.reply_to = reply_to
        self.expiration = expiration
        self.message_id = message_id
        self.timestamp = timestamp
        self.type = type
        self.user_id = user_id
        self.app_id = app_id
        self.cluster_id = cluster_id

    def as_dict(self) -> dict[str, object]:
        """The properties that are there, by name."""
        every: dict[str, object] = {
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
            "headers": self.headers,
            "delivery_mode": self.delivery_mode,
            "priority": self.priority,
            "correlation_id": self.correlation_id,
            "reply_to": self.reply_to,
            "expiration": self.expiration,
            "message_id": self.message_id,
            "timestamp": self.timestamp,
            "type": self.type,
            "user_id": self.user_id,
            "app_id": self.app_id,
            "cluster_id": self.cluster_id,
        }
        return {name: value for name, value in every.items() if value is not None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Properties) and other.as_dict() == self.as_dict()

    def __hash__(self) -> int:
        return hash((self.message_id, self.correlation_id, self.type))

    def __repr__(self) -> str:
        return f"Properties({', '.join([f'{name}={value!r}' for name, value in self.as_dict().items()])})"


def read_flags(reader: Reader) -> i64:
    """RabbitMQ ignores the two lowest bits. The lowest promises more flags that nobody could make sense of."""
    flags = reader.short()
    if flags & CONTINUATION != 0:
        raise continued()
    return flags


def continued() -> MalformedFrame:
    return MalformedFrame("the property flags continue in a second word, class basic has only one")


def decode_properties(data: bytes, pos: i64 = 0, end: i64 = -1) -> Properties:
    """The properties whose flags word is at `pos`, up to exactly `end` (-1: the end of `data`)."""
    reader = Reader(data, pos, end)
    flags = read_flags(reader)
    found = Properties()
    found.content_type = reader.shortstr() if flags & CONTENT_TYPE != 0 else None
    found.content_encoding = reader.shortstr() if flags & CONTENT_ENCODING != 0 else None
    found.headers = read_table(reader) if flags & HEADERS != 0 else None
    found.delivery_mode = int(reader.octet()) if flags & DELIVERY_MODE != 0 else None
    found.priority = int(reader.octet()) if flags & PRIORITY != 0 else None
    found.correlation_id = reader.shortstr() if flags & CORRELATION_ID != 0 else None
    found.reply_to = reader.shortstr() if flags & REPLY_TO != 0 else None
    found.expiration = reader.shortstr() if flags & EXPIRATION != 0 else None
    found.message_id = reader.shortstr() if flags & MESSAGE_ID != 0 else None
    found.timestamp = reader.timestamp() if flags & TIMESTAMP != 0 else None
    found.type = reader.shortstr() if flags & TYPE != 0 else None
    found.user_id = reader.shortstr() if flags & USER_ID != 0 else None
    found.app_id = reader.shortstr() if flags & APP_ID != 0 else None
    found.cluster_id = reader.shortstr() if flags & CLUSTER_ID != 0 else None
    reader.finish()
    return found


def encode_properties(properties: Properties) -> bytes:
    """Flags word and properties, fit for `content_header`."""
    body = BytesWriter()
    flags = _put_text(body, CONTENT_TYPE, properties.content_type)
    flags |= _put_text(body, CONTENT_ENCODING, properties.content_encoding)
    headers = properties.headers
    if headers is not None:
        put_table(body, headers)
        flags |= HEADERS
    flags |= _put_number(body, DELIVERY_MODE, properties.delivery_mode)
    flags |= _put_number(body, PRIORITY, properties.priority)
    flags |= _put_text(body, CORRELATION_ID, properties.correlation_id)
    flags |= _put_text(body, REPLY_TO, properties.reply_to)
    flags |= _put_text(body, EXPIRATION, properties.expiration)
    flags |= _put_text(body, MESSAGE_ID, properties.message_id)
    timestamp = properties.timestamp
    if timestamp is not None:
        put_longlong(body, timestamp)
        flags |= TIMESTAMP
    flags |= _put_text(body, TYPE, properties.type)
    flags |= _put_text(body, USER_ID, properties.user_id)
    flags |= _put_text(body, APP_ID, properties.app_id)
    flags |= _put_text(body, CLUSTER_ID, properties.cluster_id)
    out = BytesWriter()
    put_short(out, flags)
    out.write(body.getvalue())
    return out.getvalue()


def _put_text(out: BytesWriter, flag: i64, value: str | None) -> i64:
    if value is None:
        return 0
    put_shortstr(out, value)
    return flag


def _put_number(out: BytesWriter, flag: i64, value: int | None) -> i64:
    if value is None:
        return 0
    put_octet(out, value)
    return flag


# finding without decoding


def _after(data: bytes, at: i64, end: i64, flag: i64) -> i64:
    """Where the property of kind `flag` that begins at `at` ends."""
    if flag & OCTETS != 0:
        size: i64 = 1
    elif flag == HEADERS:
        if end - at < 4:
            raise overrun(4, end - at)
        size = 4 + (i64(read_i32_be(data, at)) & 0xFFFFFFFF)
    elif flag == TIMESTAMP:
        size = 8
    else:
        if at >= end:
            raise overrun(1, 0)
        size = 1 + i64(data[at])
    if end - at < size:
        raise overrun(size, end - at)
    return at + size


def _begin(data: bytes, pos: i64, end: i64) -> i64:
    """The flags word at `pos`, having made sure of the range."""
    if pos < 0 or end > len(data) or end - pos < 2:
        raise MalformedFrame(f"no property flags from {pos} to {end} in {len(data)} bytes")
    return i64(read_i16_be(data, pos)) & 0xFFFF


def find_property(data: bytes, pos: i64, end: i64, flag: i64) -> i64:
    """Where the value of one property begins, -1 if it is not there. The value lies before `end`.

    `flag` is one of the constants above. Reads lengths only, makes no objects.
    """
    if _begin(data, pos, end) & flag == 0:
        return -1
    at = place_of(data, pos, end, flag)
    _after(data, at, end, flag)
    return at


def place_of(data: bytes, pos: i64, end: i64, flag: i64) -> i64:
    """Where the value of one property begins, or would begin if it were there."""
    flags = _begin(data, pos, end)
    if flags & -(flag << 1) & 0xFFFF == 0:  # nothing ahead of it
        return pos + 2
    at = pos + 2
    ahead: i64 = CONTENT_TYPE
    while ahead != flag:
        if flags & ahead != 0:
            at = _after(data, at, end, ahead)
        ahead >>= 1
    return at


def delivery_mode_at(data: bytes, pos: i64, flags: i64, end: i64) -> i64:
    """The delivery mode: 1 or 2, or 0 where there is none or one that means nothing.

    `flags` is the flags word, which the caller has read from `pos` already.
    """
    if flags & DELIVERY_MODE == 0:
        return 0
    if pos < 0 or end > len(data):
        raise MalformedFrame(f"no property flags from {pos} to {end} in {len(data)} bytes")
    at = pos + 2
    if flags & (CONTENT_TYPE | CONTENT_ENCODING | HEADERS) != 0:
        if flags & CONTENT_TYPE != 0:
            at = _after(data, at, end, CONTENT_TYPE)
        if flags & CONTENT_ENCODING != 0:
            at = _after(data, at, end, CONTENT_ENCODING)
        if flags & HEADERS != 0:
            at = _after(data, at, end, HEADERS)
    if at >= end:
        raise overrun(1, end - at)
    mode = i64(data[at])
    return mode if mode == PERSISTENT or mode == TRANSIENT else 0


def check_properties(data: bytes, pos: i64, end: i64) -> i64:
    """Raises `MalformedFrame` where `decode_properties` would, without making the values.

    Returns what the headers may ask of a broker: HAS_COPIES | HAS_TERMS of find.py.
    """
    found: i64 = 0
    flags = _begin(data, pos, end)
    if flags & CONTINUATION != 0:
        raise continued()
    at = pos + 2
    flag: i64 = CONTENT_TYPE
    while flag >= CLUSTER_ID:
        if flags & flag != 0:
            if flag == HEADERS:
                stop = table_end(data, at, end)
                found = check_fields(data, at + 4, stop)
                at = stop
            else:
                at = _after(data, at, end, flag)
        flag >>= 1
    if at != end:
        Reader(data, at, end).finish()
    return found


def text_at(data: bytes, pos: i64, end: i64, flag: i64) -> str | None:
    """A property that is a short string: expiration, user-id, message-id, ..."""
    at = find_property(data, pos, end, flag)
    if at < 0:
        return None
    return data[at + 1 : at + 1 + i64(data[at])].decode("utf-8", "surrogateescape")


def octet_at(data: bytes, pos: i64, end: i64, flag: i64) -> i64:
    """The delivery mode or the priority as it is, -1 if it is not there."""
    at = find_property(data, pos, end, flag)
    return -1 if at < 0 else i64(data[at])


def priority_at(data: bytes, pos: i64, end: i64) -> i64:
    return octet_at(data, pos, end, PRIORITY)


def expiration_at(data: bytes, pos: i64, end: i64) -> str | None:
    return text_at(data, pos, end, EXPIRATION)


def user_id_at(data: bytes, pos: i64, end: i64) -> str | None:
    return text_at(data, pos, end, USER_ID)


def message_id_at(data: bytes, pos: i64, end: i64) -> str | None:
    return text_at(data, pos, end, MESSAGE_ID)


def correlation_id_at(data: bytes, pos: i64, end: i64) -> str | None:
    return text_at(data, pos, end, CORRELATION_ID)


def reply_to_at(data: bytes, pos: i64, end: i64) -> str | None:
    return text_at(data, pos, end, REPLY_TO)


def timestamp_at(data: bytes, pos: i64, end: i64) -> int | None:
    at = find_property(data, pos, end, TIMESTAMP)
    return None if at < 0 else Reader(data, at, end).timestamp()


def headers_at(data: bytes, pos: i64, end: i64) -> dict[str, object] | None:
    at = find_property(data, pos, end, HEADERS)
    return None if at < 0 else read_table(Reader(data, at, end))


def headers_bytes_at(data: bytes, pos: i64, end: i64) -> bytes:
    """The headers as encoded, length and all; empty if there are none."""
    at = find_property(data, pos, end, HEADERS)
    return b"" if at < 0 else data[at : _after(data, at, end, HEADERS)]


def without_header(data: bytes, pos: i64, end: i64, name: bytes) -> bytes:
    """The properties from `pos` to `end` without the first header of a name; all other bytes are as they were."""
    at = find_property(data, pos, end, HEADERS)
    type_at = -1 if at < 0 else find_field(data, at, end, name)
    if type_at < 0:
        return data[pos:end]
    begin = type_at - len(name) - 1
    stop = field_end(data, type_at, end)
    left = (i64(read_i32_be(data, at)) & 0xFFFFFFFF) - (stop - begin)
    return b"".join((data[pos:at], int(left).to_bytes(4, "big"), data[at + 4 : begin], data[stop:end]))
