"""STOMP headers as AMQP 0-9-1 properties, and back (RabbitMQ's rabbit_stomp_util; the whole table is in
docs/reference/stomp.md).

Twelve headers are properties; all others are user headers, whose values are texts here. A property that does not fit
AMQP (a priority that is no number from 0 to 255, a timestamp that is none) is not there, as in RabbitMQ. A text that
is too long for AMQP is refused when it is sent (`check`).

Of typed values RabbitMQ tells texts and some of the integers; here whatever has one form as a text is told: arrays,
tables and voids have none.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.errors import PreconditionFailed
from leveret.limits import SHORT_STRING_BYTES
from leveret.native import i64
from leveret.protocol.stomp.destinations import plain_reply_to, told_reply_to
from leveret.wire.field import Timestamp
from leveret.wire.properties import PERSISTENT, Properties
from leveret.wire.stomp_headers import Headers, shown, value_of

CONTENT_TYPE: Final = b"content-type"
CONTENT_ENCODING: Final = b"content-encoding"
PERSISTENT_NAME: Final = b"persistent"
PRIORITY: Final = b"priority"
CORRELATION_ID: Final = b"correlation-id"
REPLY_TO: Final = b"reply-to"
EXPIRATION: Final = b"expiration"
MESSAGE_ID: Final = b"amqp-message-id"  # `message-id` is what a MESSAGE is settled by
TIMESTAMP: Final = b"timestamp"
TYPE: Final = b"type"
USER_ID: Final = b"user-id"
APP_ID: Final = b"app-id"

TEXTS: Final = frozenset(
    (
        CONTENT_TYPE,
        CONTENT_ENCODING,
        CORRELATION_ID,
        REPLY_TO,
        EXPIRATION,
        MESSAGE_ID,
        TYPE,
        USER_ID,
        APP_ID,
    )
)
PROPERTIES: Final = TEXTS | {PERSISTENT_NAME, PRIORITY, TIMESTAMP}

# Headers of a SEND that speak of the frame and not of its message: they are not kept.
OF_FRAME: Final = frozenset((b"destination", b"receipt", b"transaction", b"content-length"))
# Headers that a MESSAGE has of its own: nobody else's are told under these names.
OF_MESSAGE: Final = frozenset(
    (b"subscription", b"destination", b"message-id", b"redelivered", b"ack", b"content-length")
)
ASKING: Final = frozenset((b"x-deliver-at", b"x-deliver-after", b"x-delay", b"x-retry"))

TRUE: Final = (b"true", b"True")  # as RabbitMQ; all else is false
FALSE: Final = (b"false", b"False")
TIMESTAMP_MAX: Final = (1 << 64) - 1


def text_of(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def number_of(value: bytes) -> int:
    """A whole number as Erlang's binary_to_integer reads it, blanks around it aside; -1 for what is none."""
    value = value.strip()
    digits = value[1:] if value[:1] == b"+" else value
    return int(digits) if digits.isdigit() and len(digits) <= 20 else -1


def is_true(headers: Headers, name: bytes, default: bool = False) -> bool:
    """A header that says yes or no; `default` if it is not there, or says neither."""
    value = value_of(headers, name)
    if value is None or (value not in TRUE and value not in FALSE):
        return default
    return value in TRUE


def priority_of(value: bytes | None) -> i64:
    """-1 if it is none."""
    number = -1 if value is None else number_of(value)
    return number if number <= 255 else -1


def persistent_of(headers: Headers) -> bool:
    return is_true(headers, PERSISTENT_NAME)


def asks_of(headers: Headers) -> i64:
    """What they ask of core (core/intake.py)."""
    asks: i64 = 0
    for name, _ in headers:
        if name == EXPIRATION:
            asks |= ASKS_EXPIRATION
        elif name in ASKING:
            asks |= ASKS_BY_HEADERS
    return asks


def check(headers: Headers) -> None:
    """Raises PreconditionFailed for what AMQP has no room for, and for further keys, which would have to be an array
    (rabbit_basic:header_routes)."""
    for name, value in headers:
        if name == b"CC" or name == b"BCC":
            text = text_of(name)
            raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{text}",longstr}}')
        if name in TEXTS:
            if len(value) > SHORT_STRING_BYTES:
                raise PreconditionFailed(
                    f"header '{text_of(name)}' has {len(value)} bytes, {SHORT_STRING_BYTES} are allowed"
                )
        elif len(name) > SHORT_STRING_BYTES:
            raise PreconditionFailed(
                f"a header's name has {len(name)} bytes, {SHORT_STRING_BYTES} are allowed: {shown(name)}"
            )


def properties_of(headers: Headers) -> Properties:
    """What a message says of itself that was sent with these headers."""
    found = Properties()
    user: dict[str, object] = {}
    for name, value in headers:
        if name in PROPERTIES:
            _take(found, name, value)
        elif name not in OF_FRAME and len(name) <= SHORT_STRING_BYTES:
            user[text_of(name)] = text_of(value)
    if user:
        found.headers = user
    return found


def user_headers_of(headers: Headers) -> dict[str, object]:
    """Those that are no properties."""
    found = properties_of(headers).headers
    return {} if found is None else found


def _take(found: Properties, name: bytes, value: bytes) -> None:
    if name == PERSISTENT_NAME:
        if value in TRUE:
            found.delivery_mode = PERSISTENT
    elif name == PRIORITY:
        priority = priority_of(value)
        if priority >= 0:
            found.priority = int(priority)
    elif name == TIMESTAMP:
        seconds = number_of(value)
        if 0 <= seconds <= TIMESTAMP_MAX:
            found.timestamp = seconds
    else:
        if name == REPLY_TO:
            value = plain_reply_to(value)
        if len(value) <= SHORT_STRING_BYTES:
            _take_text(found, name, value)


def _take_text(found: Properties, name: bytes, value: bytes) -> None:
    text = text_of(value)
    if name == CONTENT_TYPE:
        found.content_type = text
    elif name == CONTENT_ENCODING:
        found.content_encoding = text
    elif name == CORRELATION_ID:
        found.correlation_id = text
    elif name == REPLY_TO:
        found.reply_to = text
    elif name == EXPIRATION:
        found.expiration = text
    elif name == MESSAGE_ID:
        found.message_id = text
    elif name == TYPE:
        found.type = text
    elif name == USER_ID:
        found.user_id = text
    elif name == APP_ID:
        found.app_id = text


def headers_of(properties: Properties) -> Headers:
    """What a MESSAGE tells of a message of another protocol, besides what is its own."""
    found: Headers = []
    _put_text(found, CONTENT_TYPE, properties.content_type)
    _put_text(found, CONTENT_ENCODING, properties.content_encoding)
    if properties.delivery_mode == PERSISTENT:
        found.append((PERSISTENT_NAME, b"true"))
    _put_number(found, PRIORITY, properties.priority)
    _put_text(found, CORRELATION_ID, properties.correlation_id)
    reply_to = properties.reply_to
    if reply_to is not None:
        _put(found, REPLY_TO, told_reply_to(reply_to.encode("utf-8", "surrogateescape")))
    _put_text(found, EXPIRATION, properties.expiration)
    _put_text(found, MESSAGE_ID, properties.message_id)
    _put_number(found, TIMESTAMP, properties.timestamp)
    _put_text(found, TYPE, properties.type)
    _put_text(found, USER_ID, properties.user_id)
    _put_text(found, APP_ID, properties.app_id)
    user = properties.headers
    if user is not None:
        taken = {name for name, _ in found}
        for key, value in user.items():
            name = key.encode("utf-8", "surrogateescape")
            if name and name not in taken and name not in OF_MESSAGE and b"\0" not in name:
                text = value_text(value)
                if text is not None:
                    _put(found, name, text)
    return found


def value_text(value: object) -> bytes | None:
    """A typed value as a text; None for what has no such form."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bool):  # before int, of which it is a subclass
        return b"true" if value else b"false"
    if isinstance(value, (int, float, Decimal)):
        return str(value).encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, Timestamp):
        return str(value.seconds).encode()
    return None


def _put(found: Headers, name: bytes, value: bytes) -> None:
    """A NUL would end the frame for its reader: what has one is not told."""
    if b"\0" not in value:
        found.append((name, value))


def _put_text(found: Headers, name: bytes, value: str | None) -> None:
    if value is not None:
        _put(found, name, value.encode("utf-8", "surrogateescape"))


def _put_number(found: Headers, name: bytes, value: int | None) -> None:
    if value is not None:
        found.append((name, str(value).encode()))


def expiration_of(expires: bytes, now_ms: i64) -> bytes | None:
    """ActiveMQ's header `expires` (ms since 1970, 0 for never) as an `expiration`. Raises PreconditionFailed."""
    at_ms = number_of(expires)
    if at_ms < 0:
        raise PreconditionFailed(
            f"invalid expires {shown(expires)}: it is a whole number of milliseconds since 1970, or 0 for never"
        )
    return None if at_ms == 0 else str(max(at_ms - int(now_ms), 0)).encode()
