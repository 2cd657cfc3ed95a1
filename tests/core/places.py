"""A topology with stand-ins for what it is built on: queues that hold numbers, a journal that is a list."""

from __future__ import annotations

from leveret.core.destination import Destination, QueueBase, QueueFactory, Routed, Table
from leveret.core.exchange import Exchange
from leveret.core.topology import Ids, Topology
from leveret.seams import TopologyJournal


class FakeQueue(QueueBase):
    def __init__(
        self, name: str, vhost: str, qid: int, durable: bool, exclusive: bool, auto_delete: bool
    ) -> None:
        super().__init__(name, vhost, qid, durable, exclusive, auto_delete)
        self.ready = 0
        self.consumers = 0
        self.dropped = False

    def ready_count(self) -> int:
        return self.ready

    def unsettled_count(self) -> int:
        return 0

    def consumer_count(self) -> int:
        return self.consumers

    def purge(self) -> int:
        n, self.ready = self.ready, 0
        return n

    def drop(self) -> None:
        self.dropped = True


class FakeFactory(QueueFactory):
    """keeping: the exchanges that keep something, by name, with their numbers."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.keeping: dict[str, int] = {}

    def make_queue(
        self, name: str, vhost: str, qid: int, durable: bool, exclusive: bool, auto_delete: bool
    ) -> QueueBase:
        return FakeQueue(name, vhost, qid, durable, exclusive, auto_delete)

    def queue_gone(self, queue: QueueBase) -> None:
        self.gone.append(queue.name)

    def exchange_made(self, exchange: Destination) -> None:
        assert isinstance(exchange, Exchange)
        self.keeping[exchange.name] = int(exchange.qid)

    def exchange_gone(self, exchange: Destination) -> None:
        del self.keeping[exchange.name]


class Letter(Routed):
    """A message as it is told to be."""

    def __init__(
        self,
        key: str,
        headers: Table | None = None,
        *,
        more: list[str] | None = None,
        properties: dict[str, str] | None = None,
    ) -> None:
        super().__init__(key, more)
        self.table = headers
        self.properties = properties or {}

    def headers(self) -> Table | None:
        return self.table

    def property(self, name: str) -> str:
        return self.properties.get(name, "")


class ListJournal(TopologyJournal):
    """Its positions are 1, 2, 3 ..."""

    def __init__(self) -> None:
        self.ops: list[bytes] = []

    def topology(self, op: bytes) -> int:
        self.ops.append(op)
        return len(self.ops)


class Place:
    """A virtual host's topology and short ways to build in it. What is built is durable unless told otherwise."""

    def __init__(self, vhost: str = "/") -> None:
        self.journal = ListJournal()
        self.factory = FakeFactory()
        self.ids = Ids()
        self.topology = Topology(vhost, self.journal, self.factory, self.ids)

    def queue(
        self,
        name: str,
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, object] | None = None,
        passive: bool = False,
        owner: object = "me",
    ) -> FakeQueue:
        q = self.topology.declare_queue(
            name, durable, exclusive, auto_delete, arguments or {}, passive, owner
        )
        assert isinstance(q, FakeQueue)
        return q

    def exchange(
        self,
        name: str,
        kind: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: dict[str, object] | None = None,
        passive: bool = False,
    ) -> None:
        self.topology.declare_exchange(name, kind, durable, auto_delete, internal, arguments or {}, passive)

    def bind(self, queue: str, exchange: str, key: str = "", **arguments: object) -> None:
        self.topology.bind_queue(queue, exchange, key, dashed(arguments), "me")

    def unbind(self, queue: str, exchange: str, key: str = "", **arguments: object) -> None:
        self.topology.unbind_queue(queue, exchange, key, dashed(arguments), "me")

    def route(
        self,
        exchange: str,
        key: str = "",
        headers: Table | None = None,
        *,
        more: list[str] | None = None,
        properties: dict[str, str] | None = None,
    ) -> list[str]:
        """Names, sorted: a repeated one would show."""
        letter = Letter(key, headers, more=more, properties=properties)
        return sorted(d.name for d in self.topology.route(exchange, letter))

    def own_exchanges(self) -> set[str]:
        return {name for name in self.topology.exchanges if name and not name.startswith("amq.")}

    def listed(self) -> set[tuple[object, ...]]:
        """All bindings but a queue's own."""
        return {
            (
                b.source.name,
                b.destination.is_queue,
                b.destination.name,
                b.key,
                repr(sorted(b.arguments.items())),
            )
            for b in self.topology.bindings()
            if b.source.name
        }


def dashed(arguments: dict[str, object]) -> dict[str, object]:
    """x_match stands for x-match."""
    return {name.replace("_", "-"): value for name, value in arguments.items()}
