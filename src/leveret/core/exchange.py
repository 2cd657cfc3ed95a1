"""An exchange: its bindings, and the one type-specific thing, its matcher.

Knows which of its bindings go where, each only once; neither the graph of exchanges nor whether something may be
bound (topology.py). The types are those of RabbitMQ and of its plugins for spreading messages and for delaying them;
one that delays matches as the type that its argument names.
"""

from __future__ import annotations

from typing import Final, final

from leveret.core.arguments import QUEUES_ONLY
from leveret.core.dedup import WINDOW, wrong_window
from leveret.core.destination import (
    NO_ARGUMENTS,
    Binding,
    Destination,
    Matched,
    Matcher,
    Routed,
    Table,
    fewer,
    more,
)
from leveret.core.hashing import ConsistentMatcher, ModulusMatcher, RandomMatcher, check_hash_arguments
from leveret.core.headers import HeadersMatcher
from leveret.core.topic import TopicMatcher
from leveret.core.values import freeze_arguments
from leveret.errors import PreconditionFailed
from leveret.native import i64

CONSISTENT_HASH: Final = "x-consistent-hash"
DELAYED: Final = "x-delayed-message"
DELAYED_TYPE: Final = "x-delayed-type"
PLAIN_KINDS: Final = ("direct", "fanout", "topic", "headers", CONSISTENT_HASH, "x-modulus-hash", "x-random")
KINDS: Final = frozenset((*PLAIN_KINDS, DELAYED))


@final
class DirectMatcher(Matcher):
    """The routing key is the binding key."""

    def __init__(self) -> None:
        super().__init__()
        self.by_key: dict[str, dict[Destination, int]] = {}

    def add(self, binding: Binding) -> None:
        here = self.by_key.get(binding.key)
        if here is None:
            here = {}
            self.by_key[binding.key] = here
        more(here, binding.destination)

    def remove(self, binding: Binding) -> None:
        here = self.by_key.get(binding.key)
        if here is not None:
            fewer(here, binding.destination)
            if not here:
                del self.by_key[binding.key]

    def match(self, routed: Routed, out: Matched) -> None:
        here = self.by_key.get(routed.key)
        if here is not None:
            out.update(here)
        if routed.more is not None:
            for key in routed.more:
                here = self.by_key.get(key)
                if here is not None:
                    out.update(here)


@final
class FanoutMatcher(Matcher):
    """Every binding takes every message."""

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[Destination, int] = {}

    def add(self, binding: Binding) -> None:
        more(self.all, binding.destination)

    def remove(self, binding: Binding) -> None:
        fewer(self.all, binding.destination)

    def match(self, routed: Routed, out: Matched) -> None:
        out.update(self.all)


def make_matcher(kind: str, arguments: Table) -> Matcher | None:
    """None if there is no such type, or none for these arguments."""
    if kind == DELAYED:
        inner = delayed_type(arguments)
        return make_matcher(inner, arguments) if inner in PLAIN_KINDS else None
    if kind == CONSISTENT_HASH:
        return ConsistentMatcher(arguments)
    if kind == "x-modulus-hash":
        return ModulusMatcher()
    if kind == "x-random":
        return RandomMatcher()
    if kind == "direct":
        return DirectMatcher()
    if kind == "fanout":
        return FanoutMatcher()
    if kind == "topic":
        return TopicMatcher()
    if kind == "headers":
        return HeadersMatcher()
    return None


def delayed_type(arguments: Table) -> str:
    """The type that an exchange which delays behaves as; empty if its arguments name none."""
    inner = arguments.get(DELAYED_TYPE)
    if isinstance(inner, bytes):
        return inner.decode("utf-8", "surrogateescape")
    return inner if isinstance(inner, str) else ""


def check_exchange(kind: str, arguments: Table, what: str) -> None:
    """Whether an exchange of a type can have these arguments. Raises PreconditionFailed in the words of RabbitMQ's
    plugins (rabbit_exchange_type_consistent_hash, rabbit_exchange_type_delayed_message)."""
    if kind == DELAYED:
        inner = delayed_type(arguments)
        if inner == DELAYED:
            raise PreconditionFailed(f"Invalid argument, '{DELAYED}' can't be used for '{DELAYED_TYPE}'")
        if not isinstance(arguments.get(DELAYED_TYPE), (str, bytes)):
            raise PreconditionFailed(f"Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type")
        if inner not in KINDS:
            raise PreconditionFailed(f"unknown exchange type '{inner}'")
        check_exchange(inner, arguments, what)
    elif kind == CONSISTENT_HASH:
        check_hash_arguments(arguments, what)
    for name in QUEUES_ONLY:
        if name in arguments:
            raise PreconditionFailed(f"invalid arg '{name}' for {what}: only queues can have it")
    if WINDOW in arguments:
        wrong = wrong_window(arguments[WINDOW])
        if wrong:
            raise PreconditionFailed(f"invalid arg '{WINDOW}' for {what}: {wrong}")


def needs_store(kind: str, arguments: Table) -> bool:
    """Whether an exchange like this keeps something, and has a number for it."""
    return kind == DELAYED or WINDOW in arguments


@final
class Exchange(Destination):
    """kind: the type's name; qid: its number in the journal, of one sequence with those of queues, 0 for an exchange
    that keeps nothing; delays: holds back what is not due; alternate: the exchange for what matches nothing here;
    to_exchanges: how many bindings lead to exchanges; was_bound: has ever had a binding, so that an auto-delete
    exchange goes with the last."""

    def __init__(
        self,
        name: str,
        kind: str,
        matcher: Matcher,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        qid: i64,
    ) -> None:
        super().__init__(name, False, durable)
        self.kind = kind
        self.matcher = matcher
        self.qid: i64 = qid
        self.delays = kind == DELAYED
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments if arguments else NO_ARGUMENTS
        alternate = arguments.get("alternate-exchange")
        self.alternate: str | None = alternate if isinstance(alternate, str) else None
        self.to_exchanges = 0
        self.was_bound = False
        self.by_destination: dict[Destination, dict[object, Binding]] = {}

    def find(self, destination: Destination, key: str, arguments: Table) -> Binding | None:
        here = self.by_destination.get(destination)
        return None if here is None else here.get((key, freeze_arguments(arguments)))

    def bind(self, destination: Destination, key: str, arguments: Table) -> bool:
        """True when the binding is new. Raises PreconditionFailed where the type allows no such binding."""
        self.matcher.check(key, arguments)
        identity = (key, freeze_arguments(arguments))
        here = self.by_destination.get(destination)
        if here is None:
            here = {}
            self.by_destination[destination] = here
        elif identity in here:
            return False
        binding = Binding(self, destination, key, arguments if arguments else NO_ARGUMENTS, identity)
        here[identity] = binding
        self.matcher.add(binding)
        self.was_bound = True
        if not destination.is_queue:
            self.to_exchanges += 1
        sources = destination.sources
        if sources is None:
            sources = {}
            destination.sources = sources
        sources[self.name] = sources.get(self.name, 0) + 1
        return True

    def unbind(self, destination: Destination, key: str, arguments: Table) -> bool:
        """True when there was such a binding."""
        binding = self.find(destination, key, arguments)
        if binding is None:
            return False
        self._remove(binding)
        here = self.by_destination[destination]
        del here[binding.identity]
        if not here:
            del self.by_destination[destination]
        return True

    def unbind_all(self, destination: Destination) -> bool:
        """Remove all bindings to a destination: as much work as it has of them. True when there were any."""
        here = self.by_destination.pop(destination, None)
        if here is None:
            return False
        for binding in here.values():
            self._remove(binding)
        return True

    def clear(self) -> None:
        """Remove all bindings."""
        for destination in list(self.by_destination):
            self.unbind_all(destination)

    def _remove(self, binding: Binding) -> None:
        destination = binding.destination
        self.matcher.remove(binding)
        if not destination.is_queue:
            self.to_exchanges -= 1
        sources = destination.sources
        if sources is not None:
            n = sources.get(self.name, 0)
            if n > 1:
                sources[self.name] = n - 1
            elif n == 1:
                del sources[self.name]

    def in_use(self) -> bool:
        return len(self.by_destination) > 0

    def bindings(self) -> list[Binding]:
        found: list[Binding] = []
        for here in self.by_destination.values():
            found.extend(here.values())
        return found

    def needs_message(self) -> bool:
        """What matches depends on more than the routing key."""
        return self.matcher.reads_message and len(self.by_destination) > 0
