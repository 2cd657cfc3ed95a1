"""Where a message can go: what exchanges and queues have in common, and what binds one to the other.

The base classes of exchange, queue and matcher, so that none of those has to import another. Knows no routing and
no messages.
"""

from __future__ import annotations

from typing import Final

from leveret.errors import NotFound
from leveret.native import i64, mypyc_attr

Table = dict[str, object]
NO_ARGUMENTS: Final[Table] = {}  # shared by all that have none; never changed


@mypyc_attr(allow_interpreted_subclasses=True)
class Destination:
    """An exchange or a queue. sources: the exchanges with bindings to it, by name, with how many there are."""

    def __init__(self, name: str, is_queue: bool, durable: bool) -> None:
        self.name = name
        self.is_queue = is_queue
        self.durable = durable
        self.sources: dict[str, int] | None = None

    def kind_name(self) -> str:
        return "queue" if self.is_queue else "exchange"


@mypyc_attr(allow_interpreted_subclasses=True)
class Routed:
    """What routing may look at of a message. key: its routing key; more: further ones, for an exchange that goes by
    keys (RabbitMQ's sender-selected distribution). The rest is found out when it is asked for."""

    def __init__(self, key: str, more: list[str] | None) -> None:
        self.key = key
        self.more = more

    def headers(self) -> Table | None:
        return None

    def property(self, name: str) -> str:
        """message_id, correlation_id or timestamp; empty without."""
        return ""


# What a match gathers, in the order in which it was found: a dict, so that each is in it once. The numbers say
# nothing.
Matched = dict[Destination, int]


@mypyc_attr(acyclic=True)
class Binding:
    """source: an exchange; identity: key and frozen arguments, what tells it from others of the same two ends."""

    def __init__(
        self, source: Destination, destination: Destination, key: str, arguments: Table, identity: object
    ) -> None:
        self.source = source
        self.destination = destination
        self.key = key
        self.arguments = arguments
        self.identity = identity

    def durable(self) -> bool:
        """Comes back after a restart, since both of its ends do."""
        return self.source.durable and self.destination.durable


class Matcher:
    """An exchange type: which bindings take a message. Keeps an index of its own over the bindings it is told of."""

    def __init__(self) -> None:
        self.reads_message = False  # the same routing key may lead elsewhere the next time

    def check(self, key: str, arguments: Table) -> None:
        """Raises PreconditionFailed when a binding cannot be like this."""

    def add(self, binding: Binding) -> None:
        raise NotImplementedError

    def remove(self, binding: Binding) -> None:
        raise NotImplementedError

    def match(self, routed: Routed, out: Matched) -> None:
        """Put the destinations of matching bindings into `out`."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class QueueBase(Destination):
    """What the topology knows of a queue. qid: its number in the journal, never used twice."""

    def __init__(
        self, name: str, vhost: str, qid: i64, durable: bool, exclusive: bool, auto_delete: bool
    ) -> None:
        super().__init__(name, True, durable)
        self.vhost = vhost
        self.qid: i64 = qid
        self.exclusive = exclusive
        self.auto_delete = auto_delete
        self.owner: object | None = None  # the connection that has it to itself, if exclusive
        self.arguments: Table = NO_ARGUMENTS
        self.queue_type = "classic"
        self.had_consumers = False

    def ready_count(self) -> int:
        """Messages that wait."""
        raise NotImplementedError

    def unsettled_count(self) -> int:
        """Messages that are out with consumers."""
        raise NotImplementedError

    def consumer_count(self) -> int:
        raise NotImplementedError

    def purge(self) -> int:
        """Drop what waits. Returns how many that were."""
        raise NotImplementedError

    def drop(self) -> None:
        """The queue is deleted: let go of everything."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class QueueFactory:
    """Makes the queues of a virtual host, so that the topology need not know what they are. Is told of exchanges that
    have a number, since they keep something."""

    def make_queue(
        self, name: str, vhost: str, qid: int, durable: bool, exclusive: bool, auto_delete: bool
    ) -> QueueBase:
        raise NotImplementedError

    def queue_made(self, queue: QueueBase) -> None:
        """Its arguments and its type are known now."""

    def queue_gone(self, queue: QueueBase) -> None:
        """A queue was deleted, also by a change that recovery replays. It was dropped already."""

    def exchange_made(self, exchange: Destination) -> None:
        """An exchange with a number is there, also by a change that recovery replays."""

    def exchange_gone(self, exchange: Destination) -> None:
        """It was deleted, also by a change that recovery replays."""


def more(counts: dict[Destination, int], destination: Destination) -> None:
    """Count one binding more for a destination."""
    counts[destination] = counts.get(destination, 0) + 1


def fewer(counts: dict[Destination, int], destination: Destination) -> None:
    """Count one binding less; the destination is taken out with its last."""
    n = counts.get(destination, 0)
    if n > 1:
        counts[destination] = n - 1
    elif n == 1:
        del counts[destination]


def named(kind: str, name: str, vhost: str) -> str:
    """How RabbitMQ's texts name something (rabbit_misc:rs)."""
    return f"{kind} '{name}' in vhost '{vhost}'"


def not_found(kind: str, name: str, vhost: str) -> NotFound:
    return NotFound("no " + named(kind, name, vhost))
