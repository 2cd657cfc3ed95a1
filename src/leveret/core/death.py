"""Dead letters: what a message becomes when it is rejected, expires, or is one too many.

Its history is in the header `x-death`, an array with a table for each queue and reason it died of, the last one first;
the first and the last death are told in headers of their own. All as RabbitMQ 4.3 has it (mc:record_death,
mc_amqpl:deaths_to_headers, rabbit_dead_letter), down to order and types of the fields, so that only bytes are put
together here and none are taken apart but to count one death more.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i64_be

from leveret.core.view import View, view_of
from leveret.message import Message
from leveret.native import i64
from leveret.wire.buffer import patch_long, put_longstr, put_shortstr
from leveret.wire.find import find_field
from leveret.wire.splice import Names

REJECTED: Final[i64] = 1
EXPIRED: Final[i64] = 2
MAXLEN: Final[i64] = 3
DELIVERY_LIMIT: Final[i64] = 4
NAMES: Final = ("", "rejected", "expired", "maxlen", "delivery_limit")
ENCODED: Final = tuple([name.encode() for name in NAMES])

DEATH_NAMES: Final = Names(
    {
        b"x-death",
        b"x-first-death-exchange",
        b"x-first-death-queue",
        b"x-first-death-reason",
        b"x-last-death-exchange",
        b"x-last-death-queue",
        b"x-last-death-reason",
    }
)
HISTORY_BYTES: Final[i64] = 65_536  # longer histories lose their oldest deaths

# Fields of tables up to their lengths: the length of the name, the name, the type byte.
DEATH: Final = b"\x07x-deathA"
ORIGINAL_EXPIRATION: Final = b"\x13original-expirationS"
COUNT_1: Final = b"\x05countl\0\0\0\0\0\0\0\x01"
REASON: Final = b"\x06reasonS"
QUEUE: Final = b"\x05queueS"
TIME: Final = b"\x04timeT"
EXCHANGE: Final = b"\x08exchangeS"
KEYS: Final = b"\x0crouting-keysA"
FIRST_EXCHANGE: Final = b"\x16x-first-death-exchangeS"
FIRST_QUEUE: Final = b"\x13x-first-death-queueS"
FIRST_REASON: Final = b"\x14x-first-death-reasonS"
LAST_EXCHANGE: Final = b"\x15x-last-death-exchangeS"
LAST_QUEUE: Final = b"\x12x-last-death-queueS"
LAST_REASON: Final = b"\x13x-last-death-reasonS"


def reason_name(reason: i64) -> str:
    return NAMES[reason]


@final
class DeadMessage:
    """message: ready to be published; queue_name: where it died; exchange and keys: where to; deaths: the elements of
    its `x-death`; first: it has died once."""

    def __init__(
        self,
        message: Message,
        queue_name: str,
        exchange: str,
        keys: list[str],
        reason: i64,
        deaths: bytes,
        first: bool,
    ) -> None:
        self.message = message
        self.queue_name = queue_name
        self.exchange = exchange
        self.keys = keys
        self.reason: i64 = reason
        self.deaths = deaths
        self.first = first

    def circles(self, queue_name: str) -> bool:
        """Whether a message that goes to this queue would come back to it for ever: it died there, and nobody rejected
        it since (mc:is_death_cycle). Such a message is dropped."""
        if self.reason == REJECTED:
            return False
        if self.first:
            return queue_name == self.queue_name
        name = queue_name.encode("utf-8", "surrogateescape")
        deaths = self.deaths
        end: i64 = i64(len(deaths))
        at: i64 = 0
        while at < end:
            if text_in(deaths, at, b"reason") == ENCODED[REJECTED]:
                return False
            if text_in(deaths, at, b"queue") == name:
                return True
            at = after(deaths, at)
        return False

    def circle(self, queue_name: str) -> list[str]:
        """The queues of such a circle, for people."""
        found = [queue_name]
        at: i64 = 0
        while at < i64(len(self.deaths)):
            found.append(text_in(self.deaths, at, b"queue").decode("utf-8", "surrogateescape"))
            at = after(self.deaths, at)
        return found


def told_by(a: bytes, exchange: bytes, b: bytes, queue: bytes, c: bytes, reason: bytes) -> bytes:
    return text_field(a, exchange) + text_field(b, queue) + text_field(c, reason)


def text_field(head: bytes, text: bytes) -> bytes:
    out = BytesWriter()
    out.write(head)
    put_longstr(out, text)
    return out.getvalue()


@final
class Wording:
    """What is the same in all dead letters that one queue makes of messages from one exchange, for one reason."""

    def __init__(self, queue_name: str, reason: i64, exchange: bytes) -> None:
        self.queue_name = queue_name
        self.reason: i64 = reason
        self.exchange = exchange
        self.queue = queue_name.encode("utf-8", "surrogateescape")
        name = ENCODED[reason]
        self.death = COUNT_1 + text_field(REASON, name) + text_field(QUEUE, self.queue) + TIME
        self.origin = text_field(EXCHANGE, exchange) + KEYS
        self.first = told_by(FIRST_EXCHANGE, exchange, FIRST_QUEUE, self.queue, FIRST_REASON, name)
        self.last = told_by(LAST_EXCHANGE, exchange, LAST_QUEUE, self.queue, LAST_REASON, name)


@final
class Kind:
    """What dead letters have in common that died first of the same reason in the same queue and second, came by the
    same route, have no headers and no expiration, and go the same way."""

    def __init__(
        self, queue_name: str, reason: i64, route: bytes, second: i64, dlx: str, dlx_key: str | None
    ) -> None:
        self.queue_name = queue_name
        self.reason: i64 = reason
        self.route = route
        self.second: i64 = second
        self.dlx = dlx
        self.dlx_key = dlx_key
        self.to = b""
        self.keys: list[str] = []
        self.deaths = b""
        self.fields = b""

    def has(
        self, queue_name: str, reason: i64, route: bytes, second: i64, dlx: str, dlx_key: str | None
    ) -> bool:
        return (
            self.second == second
            and self.reason == reason
            and (self.route is route or self.route == route)
            and self.queue_name == queue_name
            and self.dlx == dlx
            and self.dlx_key == dlx_key
        )


@final
class LastWording:
    """Dead letters come in runs of the same kind."""

    def __init__(self) -> None:
        self.wording = Wording("", REJECTED, b"")
        self.kind = Kind("", 0, b"", -1, "", None)

    def of(self, queue_name: str, reason: i64, exchange: bytes) -> Wording:
        wording = self.wording
        if wording.queue_name != queue_name or wording.reason != reason or wording.exchange != exchange:
            wording = Wording(queue_name, reason, exchange)
            self.wording = wording
        return wording


LAST_WORDING: Final = LastWording()


def bury(m: Message, queue_name: str, reason: i64, dlx: str, dlx_key: str | None, now_ms: i64) -> DeadMessage:
    """The dead letter of a message that died in a queue. dlx_key: its new routing key, None to keep its own."""
    view = view_of(m)
    route = m.route
    second = now_ms // 1_000
    bare = view.is_bare(m)
    if bare:
        kind = LAST_WORDING.kind
        if kind.has(queue_name, reason, route, second, dlx, dlx_key):
            message = view.dead_letter(m, kind.to, kind.fields, DEATH_NAMES, False)
            return DeadMessage(message, queue_name, dlx, kind.keys, reason, kind.deaths, True)
    key_at: i64 = 1 + i64(route[0])
    wording = LAST_WORDING.of(queue_name, reason, route[1:key_at])
    copies = view.copy_keys(m)
    older = view.deaths(m)
    deaths = older_and(older, wording.queue, ENCODED[reason])
    if not deaths:
        deaths = death_of(m, view.ttl_ms(m), wording, copies, now_ms)
        if older:
            deaths = shortened(deaths + older)
    fields = BytesWriter()
    fields.write(DEATH)
    put_longstr(fields, deaths)
    fields.write(first_told(m, view) if older else wording.first)
    fields.write(wording.last)
    to = BytesWriter()
    put_shortstr(to, dlx)
    if dlx_key is None:
        to.write(route[key_at:])
        keys = [route[key_at + 1 :].decode("utf-8", "surrogateescape")]
        if copies is not None:
            keys += copies
    else:
        put_shortstr(to, dlx_key)
        keys = [dlx_key]
    if bare:
        kind = Kind(queue_name, reason, route, second, dlx, dlx_key)
        kind.to = to.getvalue()
        kind.keys = keys
        kind.deaths = deaths
        kind.fields = fields.getvalue()
        LAST_WORDING.kind = kind
    dead = view.dead_letter(m, to.getvalue(), fields.getvalue(), DEATH_NAMES, dlx_key is not None)
    return DeadMessage(dead, queue_name, dlx, keys, reason, deaths, not older)


def first_told(m: Message, view: View) -> bytes:
    """The headers about its first death, of a message that was buried before."""
    return told_by(
        FIRST_EXCHANGE,
        told(m, view, "x-first-death-exchange"),
        FIRST_QUEUE,
        told(m, view, "x-first-death-queue"),
        FIRST_REASON,
        told(m, view, "x-first-death-reason"),
    )


def told(m: Message, view: View, name: str) -> bytes:
    value = view.header(m, name)
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else b""


def death_of(m: Message, ttl_ms: i64, wording: Wording, copies: list[str] | None, now_ms: i64) -> bytes:
    """An element of `x-death` (mc_amqpl:death_table)."""
    out = BytesWriter()
    out.write(b"F\0\0\0\0")
    if ttl_ms >= 0:
        out.write(ORIGINAL_EXPIRATION)
        put_longstr(out, str(ttl_ms).encode())
    out.write(wording.death)
    write_i64_be(out, now_ms // 1_000)
    out.write(wording.origin)
    begin: i64 = i64(len(out))
    out.write(b"\0\0\0\0S")
    put_longstr(out, m.route[2 + i64(len(wording.exchange)) :])
    if copies is not None:
        for key in copies:
            out.append(83)  # S
            put_longstr(out, key.encode("utf-8", "surrogateescape"))
    end: i64 = i64(len(out))
    patch_long(out, begin, end - begin - 4)
    patch_long(out, 1, end - 5)
    return out.getvalue()


def older_and(deaths: bytes, queue: bytes, reason: bytes) -> bytes:
    """The deaths with one more of a queue and reason that it died of before, empty if it did not. It keeps the time of
    the first (mc:update_death)."""
    end: i64 = i64(len(deaths))
    at: i64 = 0
    while at < end:
        next_at = after(deaths, at)
        if text_in(deaths, at, b"queue") == queue and text_in(deaths, at, b"reason") == reason:
            count_at = find_field(deaths, at + 1, next_at, b"count") + 1
            out = BytesWriter()
            out.write(deaths[at:count_at])
            write_i64_be(out, read_i64_be(deaths, count_at) + 1)
            out.write(deaths[count_at + 8 : next_at])
            return out.getvalue() + deaths[:at] + deaths[next_at:]
        at = next_at
    return b""


def shortened(deaths: bytes) -> bytes:
    """As many of the newest deaths as may be; the newest in any case."""
    at = after(deaths, 0)
    while at < i64(len(deaths)):
        next_at = after(deaths, at)
        if next_at > HISTORY_BYTES:
            break
        at = next_at
    return deaths[:at]


def after(deaths: bytes, at: i64) -> i64:
    """Where the element behind the one at `at` begins."""
    return at + 5 + i64(read_i32_be(deaths, at + 1))


def text_in(deaths: bytes, at: i64, name: bytes) -> bytes:
    """A text of the element at `at`."""
    type_at = find_field(deaths, at + 1, after(deaths, at), name)
    if type_at < 0:
        return b""
    return deaths[type_at + 5 : type_at + 5 + i64(read_i32_be(deaths, type_at + 1))]
