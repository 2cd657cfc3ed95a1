"""Headers exchanges: bindings that ask for headers by name and value (RabbitMQ's rabbit_exchange_type_headers).

    x-match       takes a message that has                 arguments that begin with x-
    all (default) every pair; with no pairs, any message   do not count
    any           at least one pair; with no pairs, none   do not count
    all-with-x, any-with-x: the same                       count, but for x-match

A void argument asks for the header's presence. Values compare by type and value: see `freeze`.

Bindings are filed by pair: one that asks for `any` under each of its pairs, one that asks for `all` under one, that
which has the fewest bindings so far, and its other pairs are looked at when that one is there. So a message costs
what its own headers have filed under them, not what the exchange has.
"""

from __future__ import annotations

from typing import Final, final

from leveret.core.destination import Binding, Destination, Matched, Matcher, Routed, Table, fewer, more
from leveret.core.values import freeze, freeze_header, shown, type_name
from leveret.errors import PreconditionFailed
from leveret.native import i64

X_MATCH: Final = "x-match"
MODES: Final = frozenset(("all", "any", "all-with-x", "any-with-x"))


@final
class Pair:
    """What a binding asks of one header. present: its presence is enough."""

    def __init__(self, name: str, value: object, present: bool) -> None:
        self.name = name
        self.value = value
        self.present = present


@final
class Filed:
    """A binding that asks for `all`, under one of its pairs. rest: the others."""

    def __init__(self, destination: Destination, rest: list[Pair]) -> None:
        self.destination = destination
        self.rest = rest

    def holds(self, headers: Table) -> bool:
        for pair in self.rest:
            name = pair.name
            if name not in headers:
                return False
            if not pair.present and freeze_header(headers[name]) != pair.value:
                return False
        return True


@final
class Slot:
    """The bindings filed under one pair. any: enough by itself; all: with more to look at."""

    def __init__(self) -> None:
        self.any: dict[Destination, int] = {}
        self.all: dict[Binding, Filed] = {}

    def count(self) -> i64:
        return i64(len(self.any)) + i64(len(self.all))

    def match(self, headers: Table, out: Matched) -> None:
        if self.any:
            out.update(self.any)
        for filed in self.all.values():
            if filed.holds(headers):
                out[filed.destination] = 1


@final
class Header:
    """All that is asked of one header."""

    def __init__(self) -> None:
        self.present: Slot | None = None
        self.values: dict[object, Slot] = {}

    def slot(self, pair: Pair) -> Slot | None:
        return self.present if pair.present else self.values.get(pair.value)

    def open(self, pair: Pair) -> Slot:
        """The slot for a pair, made if it is not there."""
        slot = self.slot(pair)
        if slot is None:
            slot = Slot()
            if pair.present:
                self.present = slot
            else:
                self.values[pair.value] = slot
        return slot

    def close(self, pair: Pair) -> None:
        if pair.present:
            self.present = None
        else:
            self.values.pop(pair.value, None)


def mode_of(arguments: Table) -> str:
    """x-match; whatever is no mode cannot have been bound."""
    mode = arguments.get(X_MATCH)
    return mode if isinstance(mode, str) and mode in MODES else "all"


def pairs_of(arguments: Table, with_x: bool) -> list[Pair]:
    pairs: list[Pair] = []
    for name, value in arguments.items():
        if name.startswith("x-") and (not with_x or name == X_MATCH):
            continue
        pairs.append(Pair(name, freeze(value), value is None))
    return pairs


@final
class HeadersMatcher(Matcher):
    def __init__(self) -> None:
        super().__init__()
        self.headers: dict[str, Header] = {}
        self.always: dict[Destination, int] = {}  # bindings that ask for nothing
        self.homes: dict[Binding, Pair] = {}  # where each binding that asks for `all` is filed

    def check(self, key: str, arguments: Table) -> None:
        if X_MATCH not in arguments:
            return
        mode = arguments[X_MATCH]
        if not isinstance(mode, str):
            raise PreconditionFailed(
                f"Invalid x-match field type {type_name(mode)} (value {shown(mode)}); expected longstr"
            )
        if mode not in MODES:
            raise PreconditionFailed(
                f"Invalid x-match field value {shown(mode)}; expected all, any, all-with-x, or any-with-x"
            )

    def add(self, binding: Binding) -> None:
        mode = mode_of(binding.arguments)
        pairs = pairs_of(binding.arguments, mode.endswith("-with-x"))
        if mode.startswith("any"):
            for pair in pairs:
                more(self._open(pair).any, binding.destination)
        elif not pairs:
            more(self.always, binding.destination)
        else:
            home = self._emptiest(pairs)
            rest = [pair for pair in pairs if pair is not home]
            self._open(home).all[binding] = Filed(binding.destination, rest)
            self.homes[binding] = home
        self.reads_message = True

    def remove(self, binding: Binding) -> None:
        home = self.homes.pop(binding, None)
        if home is not None:
            slot = self._slot(home)
            if slot is not None:
                slot.all.pop(binding, None)
            self._tidy(home)
            return
        mode = mode_of(binding.arguments)
        if mode.startswith("any"):
            for pair in pairs_of(binding.arguments, mode.endswith("-with-x")):
                slot = self._slot(pair)
                if slot is not None:
                    fewer(slot.any, binding.destination)
                self._tidy(pair)
        else:
            fewer(self.always, binding.destination)

    def match(self, routed: Routed, out: Matched) -> None:
        if self.always:
            out.update(self.always)
        headers = routed.headers() if self.headers else None
        if headers is None:
            return
        index = self.headers
        for name, value in headers.items():
            header = index.get(name)
            if header is None:
                continue
            if header.present is not None:
                header.present.match(headers, out)
            if header.values:
                slot = header.values.get(freeze_header(value))
                if slot is not None:
                    slot.match(headers, out)

    def _slot(self, pair: Pair) -> Slot | None:
        header = self.headers.get(pair.name)
        return None if header is None else header.slot(pair)

    def _open(self, pair: Pair) -> Slot:
        header = self.headers.get(pair.name)
        if header is None:
            header = Header()
            self.headers[pair.name] = header
        return header.open(pair)

    def _tidy(self, pair: Pair) -> None:
        """Take out what has nothing in it any more."""
        header = self.headers.get(pair.name)
        if header is None:
            return
        slot = header.slot(pair)
        if slot is not None and slot.count() == 0:
            header.close(pair)
        if header.present is None and not header.values:
            del self.headers[pair.name]

    def _emptiest(self, pairs: list[Pair]) -> Pair:
        """The pair with the fewest bindings under it; of equals, one that asks for a value."""
        best = pairs[0]
        least: i64 = -1
        for pair in pairs:
            slot = self._slot(pair)
            n: i64 = 0 if slot is None else slot.count() * 2
            if pair.present:
                n += 1
            if least < 0 or n < least:
                best = pair
                least = n
        return best
