"""Exchange types that give each message to one of their destinations: x-consistent-hash, x-modulus-hash, x-random.

    x-consistent-hash   a binding key is a weight; the same value goes to the same destination, and when a binding comes
                        or goes, only the values move that go to it or come from it
    x-modulus-hash      a hash of the routing keys modulo the number of bindings: nearly all moves when a binding comes
    x-random            whatever chance says

What is bound is RabbitMQ's, which value goes where is not: its ring moves more than it has to and differs by the order
of binding. Here the destinations race for each value (weighted rendezvous hashing, Thaler and Ravishankar 1998): each
has a number made of its name and the value, and the best one by weight wins. So the assignment is a function of names
and weights, the same after a restart; it costs a few multiplications for each destination, and routes by routing key
are remembered by the virtual host.
"""

from __future__ import annotations

import hashlib
import re
from math import log
from random import Random
from typing import Final, final

from librt.strings import read_i32_be

from leveret.core.destination import Binding, Destination, Matched, Matcher, Routed, Table
from leveret.core.values import freeze_header, type_name
from leveret.errors import PreconditionFailed
from leveret.native import i64

HASH_HEADER: Final = "hash-header"
HASH_PROPERTY: Final = "hash-property"
PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")
WEIGHT_MAX: Final = 10_000  # of one binding, as in RabbitMQ 4.3
INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
WORD: Final[i64] = 0xFFFF_FFFF
WORDS: Final = 4_294_967_296.0
ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\b": "\\b",
    "\f": "\\f",
}


def check_hash_arguments(arguments: Table, what: str) -> None:
    """Raises PreconditionFailed in the words of rabbit_exchange_type_consistent_hash; RabbitMQ has none for a value
    that is no string, and closes the connection with an internal error."""
    for name in (HASH_HEADER, HASH_PROPERTY):
        if name in arguments and not isinstance(arguments[name], str):
            raise PreconditionFailed(
                f"invalid type '{type_name(arguments[name])}' for arg '{name}' in {what}"
            )
    if HASH_PROPERTY not in arguments:
        return
    if HASH_HEADER in arguments:
        raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
    if arguments[HASH_PROPERTY] not in PROPERTIES:
        raise PreconditionFailed(f"Unsupported property: {arguments[HASH_PROPERTY]}")


def shown_binary(text: str) -> str:
    """Erlang's ~tp of a binary, on one line."""
    if not text:
        return "<<>>"
    raw = text.encode("utf-8", "surrogateescape")
    out: list[str] = []
    for char in text:
        if char in ESCAPES:
            out.append(ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            return "<<" + ",".join([str(octet) for octet in raw]) + ">>"
    return f'<<"{"".join(out)}"{"" if text.isascii() else "/utf8"}>>'


def digest(raw: bytes) -> bytes:
    """Eight bytes that every machine makes of these: Python's own hash differs from run to run."""
    return hashlib.blake2b(raw, digest_size=8).digest()


def word_at(hashed: bytes, at: i64) -> i64:
    return i64(read_i32_be(hashed, at)) & WORD


def mixed(x: i64) -> i64:
    """A word of 32 bits, each of which depends on all bits of the given one (the multipliers are those of Chris
    Wellons' hash-prospector). Both are below 2^31, so that no product leaves 64 bits."""
    x ^= x >> 16
    x = (x * 0x21F0AAAD) & WORD
    x ^= x >> 15
    x = (x * 0x735A2D97) & WORD
    return x ^ (x >> 15)


@final
class Racer:
    """A destination with its bindings' weights by their identities. The first counts, as in RabbitMQ, which wants one
    binding for each queue; when it goes, the next does."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.weights: dict[object, int] = {}
        self.seed: i64 = word_at(digest(place_of(destination)), 0)

    def weight(self) -> float:
        for weight in self.weights.values():
            return float(weight)
        return 1.0


def place_of(destination: Destination) -> bytes:
    """By which destinations are put in order: exchanges first, as in RabbitMQ."""
    kind = b"q" if destination.is_queue else b"e"
    return kind + destination.name.encode("utf-8", "surrogateescape")


@final
class ConsistentMatcher(Matcher):
    def __init__(self, arguments: Table) -> None:
        super().__init__()
        header = arguments.get(HASH_HEADER)
        named = arguments.get(HASH_PROPERTY)
        self.header = header if isinstance(header, str) else None
        self.property = named if isinstance(named, str) else None
        self.reads_message = self.header is not None or self.property is not None
        self.racers: dict[Destination, Racer] = {}
        self.order: list[Racer] = []  # by place
        self.weights: list[float] = []  # theirs; empty if they are all the same
        self.stale = False  # the two above

    def check(self, key: str, arguments: Table) -> None:
        if INTEGER.fullmatch(key) is None:
            raise PreconditionFailed(f"The binding key must be an integer: {shown_binary(key)}")
        weight = int(key)
        if weight < 1:
            raise PreconditionFailed("The binding key must be greater than 0")
        if weight > WEIGHT_MAX:
            raise PreconditionFailed(f"The binding key must not exceed {WEIGHT_MAX}")

    def add(self, binding: Binding) -> None:
        racer = self.racers.get(binding.destination)
        if racer is None:
            racer = Racer(binding.destination)
            self.racers[binding.destination] = racer
        racer.weights[binding.identity] = int(binding.key)
        self.stale = True

    def remove(self, binding: Binding) -> None:
        racer = self.racers.get(binding.destination)
        if racer is not None:
            racer.weights.pop(binding.identity, None)
            if not racer.weights:
                del self.racers[binding.destination]
            self.stale = True

    def match(self, routed: Routed, out: Matched) -> None:
        if self.stale:
            self._line_up()
        order = self.order
        if not order:
            return
        best = order[0]
        if len(order) > 1:
            value = digest(self._value(routed))
            best = order[self._winner(word_at(value, 0), word_at(value, 4))]
        out[best.destination] = 1

    def _line_up(self) -> None:
        self.stale = False
        order = list(self.racers.values())
        order.sort(key=place_of_racer)
        self.order = order
        weights = [racer.weight() for racer in order]
        self.weights = weights if len(set(weights)) > 1 else []

    def _winner(self, one: i64, other: i64) -> i64:
        """Which is the first of the race: the i-th needs -log(u)/weight, with u between 0 and 1, and so wins as often as
        its weight is part of all. Of equal weights the largest u wins."""
        weights = self.weights
        i: i64 = 0
        winner: i64 = 0
        if not weights:
            most: i64 = -1
            for racer in self.order:
                u = mixed(mixed(one ^ racer.seed) ^ other)
                if u > most:
                    most = u
                    winner = i
                i += 1
            return winner
        best = 0.0
        for racer in self.order:
            u = mixed(mixed(one ^ racer.seed) ^ other)
            score = log((float(u) + 0.5) / WORDS) / weights[i]
            if score > best or i == 0:
                best = score
                winner = i
            i += 1
        return winner

    def _value(self, routed: Routed) -> bytes:
        """What is hashed. All messages without it go to one destination."""
        if self.property is not None:
            return routed.property(self.property).encode("utf-8", "surrogateescape")
        if self.header is None:
            return routed.key.encode("utf-8", "surrogateescape")
        headers = routed.headers()
        if headers is None or self.header not in headers:
            return b""
        value = headers[self.header]
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        return repr(freeze_header(value)).encode("ascii", "backslashreplace")


def place_of_racer(racer: Racer) -> bytes:
    return place_of(racer.destination)


class EveryBinding(Matcher):
    """One of the bindings takes a message; a queue that is bound twice counts twice."""

    def __init__(self) -> None:
        super().__init__()
        self.bindings: dict[Binding, int] = {}
        self.order: list[Destination] = []  # one for each binding
        self.stale = False

    def add(self, binding: Binding) -> None:
        self.bindings[binding] = 1
        self.stale = True

    def remove(self, binding: Binding) -> None:
        self.bindings.pop(binding, None)
        self.stale = True

    def renew(self) -> bool:
        """Bring `order` up to date. True if it had to be."""
        if not self.stale:
            return False
        self.stale = False
        self.order = [binding.destination for binding in self.bindings]
        return True


@final
class ModulusMatcher(EveryBinding):
    def match(self, routed: Routed, out: Matched) -> None:
        if self.renew():
            self.order.sort(key=place_of)
        n: i64 = len(self.order)
        if n == 0:
            return
        keys = routed.key if routed.more is None else "\0".join([routed.key, *routed.more])
        out[self.order[word_at(digest(keys.encode("utf-8", "surrogateescape")), 0) % n]] = 1


@final
class RandomMatcher(EveryBinding):
    def __init__(self) -> None:
        super().__init__()
        self.reads_message = True  # in that it forgets where the last one went
        self.random = Random()

    def match(self, routed: Routed, out: Matched) -> None:
        self.renew()
        n = len(self.order)
        if n > 0:
            out[self.order[int(self.random.random() * n)]] = 1
