"""Destinations: what a STOMP client calls a queue, a topic or an exchange with a key, and how a route is told to it.

    RabbitMQ's style (rabbit_routing_parser)         ActiveMQ's style
    /queue/NAME          declared as it is used      /queue/NAME           the same
    /amq/queue/NAME      one that is there           /topic/A.*.B, A.>     exchange amq.topic; * one word, > the rest
    /topic/KEY           exchange amq.topic          /temp-queue/ID        as on the left
    /exchange/NAME/KEY   an exchange                 and /amq/queue/, /exchange/, /reply-queue/ as on the left
    /temp-queue/ID       a queue for one session
    /reply-queue/NAME    what temp-queues become

RabbitMQ escapes in a destination that it tells / as %2F, % as %25, and bytes below 32 or above 127 as %XX. Read is
exactly what is written so, so that a destination that was told leads back to where it came from; RabbitMQ itself reads
only %2F. Any other % is itself. ActiveMQ's queues and topics know no escapes.

Knows names only, not what is there.
"""

from __future__ import annotations

from typing import Final, final

from leveret.errors import InvalidDestination
from leveret.limits import SHORT_STRING_BYTES
from leveret.native import i64
from leveret.wire.methods import route_bytes

RABBITMQ: Final[i64] = 0  # styles
ACTIVEMQ: Final[i64] = 1
STYLES: Final = ("rabbitmq", "activemq")

QUEUE: Final[i64] = 1  # kinds
AMQ_QUEUE: Final[i64] = 2
TOPIC: Final[i64] = 3
EXCHANGE: Final[i64] = 4
TEMP_QUEUE: Final[i64] = 5
REPLY_QUEUE: Final[i64] = 6
KINDS: Final = (
    "",
    "queue",
    "amqqueue",
    "topic",
    "exchange",
    "temp_queue",
    "reply_queue",
)  # as RabbitMQ's texts

TOPICS: Final = "amq.topic"
VALID: Final = "/temp-queue, /exchange, /topic, /queue, /amq/queue, /reply-queue/"
VALID_ACTIVEMQ: Final = "/queue/, /topic/, /temp-queue/, /amq/queue/, /exchange/, /reply-queue/"
HEX: Final = b"0123456789ABCDEF"
REPLY: Final = b"/reply-queue/"
TOLD: Final = (b"/exchange", b"/topic", b"/queue", b"/amq/queue", REPLY)  # beginnings that stay in a reply-to


@final
class Place:
    """kind: one of the constants above; exchange and key: where a SEND goes, and what a SUBSCRIBE binds with; queue: the
    name of the queue, of a temp-queue the name that its session has for it, else empty; wild: the key has wildcards of
    the style "activemq", in AMQP's words: only to subscribe to."""

    def __init__(self, kind: i64, exchange: str, key: str, queue: str, wild: bool) -> None:
        self.kind: i64 = kind
        self.exchange = exchange
        self.key = key
        self.queue = queue
        self.wild = wild

    def route(self) -> bytes:
        """Exchange and key as in `Message.route`."""
        return route_bytes(self.exchange, self.key)


def parse(destination: bytes, style: i64) -> Place:
    """Raises InvalidDestination."""
    try:
        text = destination.decode("utf-8")
    except UnicodeDecodeError:
        shown = destination.decode("utf-8", "backslashreplace")
        raise invalid(f"'{shown}' is not UTF-8") from None
    place = _parse_activemq(text) if style == ACTIVEMQ else _parse_rabbitmq(text)
    _check_length(place.exchange)
    _check_length(place.key)
    _check_length(place.queue)
    return place


def invalid(text: str) -> InvalidDestination:
    return InvalidDestination("Invalid destination", text)


def _check_length(name: str) -> None:
    size = len(name.encode("utf-8"))
    if size > SHORT_STRING_BYTES:
        raise invalid(f"a name of {size} bytes, {SHORT_STRING_BYTES} are allowed: '{name[:60]}...'")


def _parse_rabbitmq(text: str) -> Place:
    parts = text.split("/")
    count: i64 = len(parts)
    if count == 1:  # a name alone is a queue
        return _queue(QUEUE, unescape(text))
    if parts[0] == "":
        what = parts[1]
        if what == "queue":
            return _queue(QUEUE, _only(QUEUE, parts, 2))
        if what == "topic":
            return Place(TOPIC, TOPICS, _only(TOPIC, parts, 2), "", False)
        if what == "exchange":
            return _exchange(parts)
        if what == "temp-queue":
            return Place(TEMP_QUEUE, "", "", _only(TEMP_QUEUE, parts, 2), False)
        if what == "amq" and count >= 3 and parts[2] == "queue":
            return _queue(AMQ_QUEUE, _only(AMQ_QUEUE, parts, 3))
        if what == "reply-queue" and count >= 3:
            return _reply_queue(text)
    raise InvalidDestination(
        "Unknown destination",
        f"'{text}' is not a valid destination.\nValid destination types are: {VALID}.\n",
    )


def _queue(kind: i64, name: str) -> Place:
    if not name:
        raise invalid("Destination cannot be blank")
    return Place(kind, "", name, name, False)


def _only(kind: i64, parts: list[str], at: i64) -> str:
    """The one part from `at` on, which has to be there."""
    if i64(len(parts)) == at + 1 and parts[at]:
        return unescape(parts[at])
    raise _wrong(kind, parts[at:])


def _wrong(kind: i64, rest: list[str]) -> InvalidDestination:
    text = "/" + "/".join(rest) if rest else ""
    return invalid(f"'{text}' is not a valid {KINDS[kind]} destination\n")


def _exchange(parts: list[str]) -> Place:
    count: i64 = len(parts)
    if count < 3 or count > 4 or not parts[2]:
        raise _wrong(EXCHANGE, parts[2:])
    key = unescape(parts[3]) if count == 4 else ""
    return Place(EXCHANGE, unescape(parts[2]), key, "", False)


def _reply_queue(text: str) -> Place:
    """All behind the prefix is the name, slashes too."""
    name = unescape(text[len(REPLY) :])
    if not name:
        raise _wrong(REPLY_QUEUE, [""])
    return Place(REPLY_QUEUE, "", name, name, False)


def _parse_activemq(text: str) -> Place:
    if text.startswith(("/amq/queue/", "/exchange/", "/reply-queue/")):
        return _parse_rabbitmq(text)
    for prefix in ("/queue/", "/topic/", "/temp-queue/"):
        if text.startswith(prefix):
            name = text[len(prefix) :]
            if not name:
                raise invalid("Destination cannot be blank")
            _refuse_options(text, name)
            if prefix == "/queue/":
                return _activemq_queue(text, name)
            if prefix == "/topic/":
                return _activemq_topic(text, name)
            return Place(TEMP_QUEUE, "", "", name, False)
    raise InvalidDestination(
        "Unknown destination",
        f"'{text}' is not a valid destination. Destinations begin with one of {VALID_ACTIVEMQ}",
    )


def _refuse_options(text: str, name: str) -> None:
    if "," in name:
        raise invalid(f"'{text}': several destinations in one are not possible, send or subscribe to each")
    if "?" in name:
        raise invalid(f"'{text}': options behind a ? are not possible, use headers of SUBSCRIBE")


def _activemq_queue(text: str, name: str) -> Place:
    for word in name.split("."):
        if word == "*" or word == ">":
            raise invalid(f"'{text}': wildcards are for topics, a subscription has one queue")
    return Place(QUEUE, "", name, name, False)


def _activemq_topic(text: str, name: str) -> Place:
    words = name.split(".")
    last = len(words) - 1
    wild = False
    for at in range(len(words)):
        word = words[at]
        if word == "*":
            wild = True
        elif word == ">":
            if at != last:
                raise invalid(f"'{text}': > stands for all that follows, and has to be the last word")
            wild = True
            words[at] = "#"
        elif word == "#":
            raise invalid(f"'{text}': # cannot be a word of a topic, the wildcards are * and >")
    return Place(TOPIC, TOPICS, ".".join(words), "", wild)


def format_route(route: bytes, style: i64) -> bytes:
    """The destination of a message that was published with this route."""
    key_at: i64 = 1 + i64(route[0])
    exchange = route[1:key_at]
    key = route[key_at + 1 :]
    if not exchange or exchange == b"amq.topic":
        prefix = b"/topic/" if exchange else b"/queue/"
        return prefix + (key.replace(b"\0", b"%00") if style == ACTIVEMQ else escape(key))
    if not key:
        return b"/exchange/" + escape(exchange)
    return b"/exchange/" + escape(exchange) + b"/" + escape(key)


def escape(name: bytes) -> bytes:
    if name.isalnum():  # ASCII letters and digits
        return name
    out: list[bytes] = []
    for at in range(len(name)):
        byte: i64 = i64(name[at])
        if byte == 37 or byte == 47 or byte < 32 or byte > 127:
            out.append(b"%" + HEX[byte >> 4 : (byte >> 4) + 1] + HEX[byte & 15 : (byte & 15) + 1])
        else:
            out.append(name[at : at + 1])
    return b"".join(out)


def unescape(text: str) -> str:
    """Undoes `escape`: of %XX only what that writes."""
    if "%" not in text:
        return text
    out = bytearray()
    raw = text.encode("utf-8")
    at: i64 = 0
    size: i64 = len(raw)
    while at < size:
        byte: i64 = i64(raw[at])
        if byte == 37 and at + 2 < size:
            high = HEX.find(raw[at + 1 : at + 2])
            low = HEX.find(raw[at + 2 : at + 3])
            value: i64 = high * 16 + low if high >= 0 and low >= 0 else 64
            if value == 37 or value == 47 or value < 32 or value > 127:
                out.append(int(value))
                at += 3
                continue
        out.append(int(byte))
        at += 1
    try:
        return out.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(f"'{text}' is not UTF-8 once its %XX are undone") from None


def told_reply_to(reply_to: bytes) -> bytes:
    """A reply-to as a STOMP consumer gets it: the name of a queue, unless it is a destination already."""
    if not reply_to or reply_to.startswith(TOLD):
        return reply_to
    return REPLY + reply_to.replace(b"%", b"%25")


def plain_reply_to(reply_to: bytes) -> bytes:
    """The same for an AMQP consumer: what stands in /reply-queue/ is the queue's name."""
    if reply_to.startswith(REPLY) and len(reply_to) > len(REPLY):
        return reply_to[len(REPLY) :].replace(b"%2F", b"/").replace(b"%25", b"%")
    return reply_to
