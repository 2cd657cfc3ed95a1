"""The exchanges, queues and bindings of one virtual host: what is there, and who may change it how.

Checks and texts are RabbitMQ's (rabbit_channel, rabbit_exchange, rabbit_binding, rabbit_amqqueue of 4.3). Each change
of something durable is given to the journal first and done then; `position` is what the answer to the last operation
waits for. `version` moves with every change that routing may depend on. Routing itself is in routing.py, replay in
recall.py. Knows no messages, protocols or files.

Names arrive as they are to be stored. `owner` is the connection that asks; None is the operator, before whom no
queue is locked.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final, final

from leveret.core import topology_ops as ops
from leveret.core.arguments import QUORUM, check_equivalent, check_queue, queue_type_of
from leveret.core.destination import (
    NO_ARGUMENTS,
    Binding,
    Destination,
    QueueBase,
    QueueFactory,
    Routed,
    Table,
    named,
    not_found,
)
from leveret.core.exchange import KINDS, Exchange, check_exchange, make_matcher, needs_store
from leveret.core.recall import recall, snapshot
from leveret.core.routing import route, route_needs_message
from leveret.core.values import check_equal, check_equal_argument, table_bytes, type_name
from leveret.errors import AccessRefused, Bug, PreconditionFailed, ResourceLocked
from leveret.limits import SHORT_STRING_BYTES
from leveret.native import i64
from leveret.seams import TopologyJournal

ALTERNATE: Final = "alternate-exchange"
DEFAULT_EXCHANGES: Final = (  # rabbit_vhost:declare_default_exchanges
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.topic", "topic", False),
    ("amq.match", "headers", False),
    ("amq.headers", "headers", False),
    ("amq.fanout", "fanout", False),
    ("amq.rabbitmq.trace", "topic", True),
)


@final
class Ids:
    """Numbers for queues, one sequence for all virtual hosts. last: the highest that was given."""

    def __init__(self) -> None:
        self.last = 0

    def take(self) -> int:
        self.last += 1
        return self.last

    def seen(self, taken: int) -> None:
        """Numbers up to this one are in use or were: none of them is given again."""
        if taken > self.last:
            self.last = taken


@final
class Topology:
    def __init__(self, vhost: str, journal: TopologyJournal, factory: QueueFactory, ids: Ids) -> None:
        self.vhost = vhost
        self.journal = journal
        self.factory = factory
        self.ids = ids
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, QueueBase] = {}
        self.owned: dict[object, dict[str, QueueBase]] = {}  # exclusive queues by their connection
        self.version: i64 = 1
        self.position: i64 = 0
        for name, kind, internal in DEFAULT_EXCHANGES:
            self.add_exchange(self._new_exchange(name, kind, True, False, internal, NO_ARGUMENTS))

    # ---- looking

    def exchange(self, name: str) -> Exchange:
        """Raises NotFound. The default exchange's name is empty."""
        x = self.exchanges.get(name)
        if x is None:
            raise not_found("exchange", name, self.vhost)
        return x

    def queue(self, name: str, owner: object | None) -> QueueBase:
        """Raises NotFound, and ResourceLocked when another connection has it to itself."""
        q = self.queues.get(name)
        if q is None:
            raise not_found("queue", name, self.vhost)
        self._check_access(q, owner)
        return q

    def owned_by(self, owner: object) -> list[QueueBase]:
        """The exclusive queues of a connection."""
        here = self.owned.get(owner)
        return [] if here is None else list(here.values())

    def bindings(self) -> list[Binding]:
        """All of them: first those of every queue to the default exchange, which exist by themselves."""
        default = self.exchanges[""]
        found: list[Binding] = [
            Binding(default, q, name, NO_ARGUMENTS, (name, None)) for name, q in self.queues.items()
        ]
        for x in self.exchanges.values():
            found.extend(x.bindings())
        return found

    def bindings_to(self, destination: Destination) -> list[Binding]:
        """Those of one exchange or queue, but for a queue's own to the default exchange."""
        found: list[Binding] = []
        if destination.sources is not None:
            for name in destination.sources:
                found.extend(self.exchanges[name].by_destination[destination].values())
        return found

    def route(self, exchange: str, routed: Routed) -> list[Destination]:
        """The queues that a message published to an exchange goes to, each once. Raises NotFound."""
        if exchange:
            return route(self.exchanges, self.exchange(exchange), routed)
        q = self.queues.get(routed.key)
        found: list[Destination] = [] if q is None else [q]
        if routed.more is not None:
            for key in routed.more:
                q = self.queues.get(key)
                if q is not None and q not in found:
                    found.append(q)
        return found

    def route_needs_message(self, exchange: str) -> bool:
        """Whether `route` may give something else for the same key. Raises NotFound."""
        return route_needs_message(self.exchanges, self.exchange(exchange))

    # ---- exchanges

    def declare_exchange(
        self,
        name: str,
        kind: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        passive: bool,
    ) -> Exchange:
        """Make it, or find it as it is declared. passive: only find it, and the rest says nothing."""
        self.position = 0
        if passive:
            self._check_not_default(name)
            return self.exchange(name)
        if kind not in KINDS:
            raise PreconditionFailed(f"unknown exchange type '{kind}'")
        self._check_not_default(name)
        x = self.exchanges.get(name)
        if x is not None:
            self._check_same_exchange(x, kind, durable, auto_delete, internal, arguments)
            return x
        self._check_name("exchange", name)
        what = named("exchange", name, self.vhost)
        if ALTERNATE in arguments and not isinstance(arguments[ALTERNATE], str):
            wrong = type_name(arguments[ALTERNATE])
            raise PreconditionFailed(f"invalid type '{wrong}' for arg '{ALTERNATE}' in {what}")
        check_exchange(kind, arguments, what)
        table_bytes(arguments)
        x = self._new_exchange(name, kind, durable, auto_delete, internal, arguments)
        if durable:
            self._write(ops.exchange_op(x))
        self.add_exchange(x)
        return x

    def _check_same_exchange(
        self, x: Exchange, kind: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        what = named("exchange", x.name, self.vhost)
        check_equal(kind, x.kind, "type", what)
        check_equal(durable, x.durable, "durable", what)
        check_equal(auto_delete, x.auto_delete, "auto_delete", what)
        check_equal(internal, x.internal, "internal", what)
        check_equal_argument(arguments, x.arguments, ALTERNATE, what)

    def _new_exchange(
        self, name: str, kind: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> Exchange:
        matcher = make_matcher(kind, arguments)
        if matcher is None:
            raise Bug(f"an exchange of the unknown type '{kind}'")
        qid = self.ids.take() if needs_store(kind, arguments) else 0
        return Exchange(name, kind, matcher, durable, auto_delete, internal, arguments, qid)

    def add_exchange(self, x: Exchange) -> None:
        self.exchanges[x.name] = x
        self.version += 1
        if x.qid > 0:
            self.factory.exchange_made(x)

    def delete_exchange(self, name: str, if_unused: bool) -> None:
        """Delete it with its bindings; one that is not there is deleted already."""
        self.position = 0
        self._check_not_default(name)
        if name.startswith("amq."):
            raise AccessRefused(f"deletion of system {named('exchange', name, self.vhost)} not allowed")
        x = self.exchanges.get(name)
        if x is None:
            return
        if if_unused and x.in_use():
            raise PreconditionFailed(f"{named('exchange', name, self.vhost)} in use")
        self._delete_exchange(x)

    def _delete_exchange(self, first: Exchange) -> None:
        """Also the auto-delete exchanges whose last binding led there, and so on."""
        doomed: list[Exchange] = [first]
        while doomed:
            x = doomed.pop()
            if self.exchanges.get(x.name) is not x:
                continue
            if x.durable:
                self._write(ops.no_exchange_op(x.name))
            doomed.extend(self._unused_without(x))
            self.remove_exchange(x)

    def remove_exchange(self, x: Exchange) -> None:
        """Take it out with all bindings from and to it, and nothing else."""
        x.clear()
        self.unbind_everywhere(x)
        self.exchanges.pop(x.name, None)
        self.version += 1
        if x.qid > 0:
            self.factory.exchange_gone(x)

    def _unused_without(self, destination: Destination) -> list[Exchange]:
        """Auto-delete exchanges that have bindings to a destination and to nothing else."""
        found: list[Exchange] = []
        if destination.sources is not None:
            for name in destination.sources:
                x = self.exchanges[name]
                if x.auto_delete and len(x.by_destination) == 1 and x is not destination:
                    found.append(x)
        return found

    def unbind_everywhere(self, destination: Destination) -> None:
        """Remove all bindings to a destination."""
        sources = destination.sources
        if sources is not None:
            for name in list(sources):
                self.exchanges[name].unbind_all(destination)
            destination.sources = None

    # ---- bindings

    def bind_queue(self, name: str, exchange: str, key: str, arguments: Table, owner: object | None) -> None:
        self.position = 0
        self._check_not_default(exchange)
        x = self.exchange(exchange)
        q = self.queues.get(name)
        if q is None:
            raise not_found("queue", name, self.vhost)
        x.matcher.check(key, arguments)
        self._check_access(q, owner)
        self._bind(x, q, key, arguments)

    def unbind_queue(
        self, name: str, exchange: str, key: str, arguments: Table, owner: object | None
    ) -> None:
        self.position = 0
        self._check_not_default(exchange)
        x = self.exchanges.get(exchange)
        q = self.queues.get(name)
        if x is not None and q is not None and x.find(q, key, arguments) is not None:
            self._check_access(q, owner)
            self._unbind(x, q, key, arguments)

    def bind_exchange(self, destination: str, source: str, key: str, arguments: Table) -> None:
        self.position = 0
        self._check_not_default(destination)
        self._check_not_default(source)
        x = self.exchange(source)
        to = self.exchange(destination)
        x.matcher.check(key, arguments)
        self._bind(x, to, key, arguments)

    def unbind_exchange(self, destination: str, source: str, key: str, arguments: Table) -> None:
        self.position = 0
        self._check_not_default(destination)
        self._check_not_default(source)
        x = self.exchanges.get(source)
        to = self.exchanges.get(destination)
        if x is not None and to is not None and x.find(to, key, arguments) is not None:
            self._unbind(x, to, key, arguments)

    def _bind(self, x: Exchange, to: Destination, key: str, arguments: Table) -> None:
        """Binding what is bound changes nothing."""
        if x.find(to, key, arguments) is not None:
            return
        table_bytes(arguments)
        if x.durable and to.durable:
            self._write(ops.binding_op(x.name, to.is_queue, to.name, key, arguments))
        elif x.durable and x.auto_delete and not x.was_bound:
            self._write(ops.bound_op(x.name))
        x.bind(to, key, arguments)
        self.version += 1

    def _unbind(self, x: Exchange, to: Destination, key: str, arguments: Table) -> None:
        if x.durable and to.durable:
            self._write(ops.no_binding_op(x.name, to.is_queue, to.name, key, arguments))
        x.unbind(to, key, arguments)
        self.version += 1
        if x.auto_delete and not x.in_use():
            self._delete_exchange(x)

    # ---- queues

    def declare_queue(
        self,
        name: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Table,
        passive: bool,
        owner: object | None,
    ) -> QueueBase:
        """Make it, or find it as it is declared; an empty name asks for one of ours. passive: only find it."""
        self.position = 0
        if passive:
            return self.queue(name, owner)
        if exclusive:
            durable = False  # as RabbitMQ does: it ends with its connection in any case
        if not name:
            name = self._server_name(arguments)
        else:
            q = self.queues.get(name)
            if q is None or name.startswith("amq."):
                self._check_name("queue", name)
            if q is not None:
                self._check_same_queue(q, durable, exclusive, auto_delete, arguments, owner)
                return q
        what = named("queue", name, self.vhost)
        queue_type = check_queue(arguments, what, durable, exclusive, auto_delete)
        table_bytes(arguments)
        qid = self.ids.take()
        if durable:
            self._write(ops.queue_op(name, qid, auto_delete, arguments, queue_type))
        q = self.add_queue(name, qid, durable, exclusive, auto_delete, arguments, queue_type)
        if exclusive:
            q.owner = owner
            here = self.owned.get(owner)
            if here is None:
                here = {}
                self.owned[owner] = here
            here[name] = q
        return q

    def _server_name(self, arguments: Table) -> str:
        if queue_type_of(arguments) == QUORUM:
            raise PreconditionFailed("Cannot declare a server-named queue for type rabbit_quorum_queue")
        while True:
            name = "amq.gen-" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")
            if name not in self.queues:
                return name

    def _check_same_queue(
        self,
        q: QueueBase,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Table,
        owner: object | None,
    ) -> None:
        if q.exclusive != exclusive or (exclusive and q.owner is not owner):
            raise self._locked(q)
        what = named("queue", q.name, self.vhost)
        check_equal(durable, q.durable, "durable", what)
        check_equal(auto_delete, q.auto_delete, "auto_delete", what)
        check_equivalent(arguments, q.arguments, q.queue_type, what)

    def add_queue(
        self,
        name: str,
        qid: int,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Table,
        queue_type: str,
    ) -> QueueBase:
        q = self.factory.make_queue(name, self.vhost, qid, durable, exclusive, auto_delete)
        if arguments:
            q.arguments = arguments
        q.queue_type = queue_type
        self.factory.queue_made(q)
        self.queues[name] = q
        self.version += 1
        return q

    def delete_queue(self, name: str, if_unused: bool, if_empty: bool, owner: object | None) -> int:
        """Returns how many messages waited in it; one that is not there is deleted already."""
        self.position = 0
        q = self.queues.get(name)
        if q is None:
            return 0
        self._check_access(q, owner)
        what = named("queue", name, self.vhost)
        waiting = q.ready_count()
        if if_empty and waiting > 0:
            raise PreconditionFailed(f"{what} not empty")
        if if_unused and q.consumer_count() > 0:
            raise PreconditionFailed(f"{what} in use")
        self._delete_queue(q)
        return waiting

    def consumer_gone(self, q: QueueBase) -> None:
        """A consumer of a queue went: an auto-delete queue goes with the last that it has had."""
        self.position = 0
        if q.auto_delete and q.had_consumers and q.consumer_count() == 0 and self.queues.get(q.name) is q:
            self._delete_queue(q)

    def _delete_queue(self, q: QueueBase) -> None:
        if q.durable:
            self._write(ops.no_queue_op(q))
        unused = self._unused_without(q)
        self.remove_queue(q)
        for x in unused:
            self._delete_exchange(x)

    def remove_queue(self, q: QueueBase) -> None:
        """Take it out with all bindings to it, and nothing else."""
        self.unbind_everywhere(q)
        self.queues.pop(q.name, None)
        here = self.owned.get(q.owner) if q.exclusive else None
        if here is not None:
            here.pop(q.name, None)
            if not here:
                del self.owned[q.owner]
        self.version += 1
        q.drop()
        self.factory.queue_gone(q)

    # ---- checks

    def _check_access(self, q: QueueBase, owner: object | None) -> None:
        if q.exclusive and owner is not None and q.owner is not owner:
            raise self._locked(q)

    def _locked(self, q: QueueBase) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {named('queue', q.name, self.vhost)}. It could be originally "
            "declared on another connection or the exclusive property value does not match that of the original "
            "declaration."
        )

    def _check_not_default(self, exchange: str) -> None:
        if not exchange:
            raise AccessRefused("operation not permitted on the default exchange")

    def _check_name(self, kind: str, name: str) -> None:
        if name.startswith("amq."):
            raise AccessRefused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")
        if len(name.encode("utf-8", "surrogateescape")) > SHORT_STRING_BYTES:
            raise PreconditionFailed(f"{kind} name '{name}' is longer than {SHORT_STRING_BYTES} bytes")

    # ---- the journal

    def _write(self, op: bytes) -> None:
        position = self.journal.topology(op)
        if position > self.position:
            self.position = position

    def apply(self, op: bytes) -> None:
        """Replay a change from the journal: nothing is checked, nothing is journaled, once more changes nothing."""
        recall(self, op)

    def recovered(self) -> None:
        """All changes are replayed: auto-delete exchanges go whose last bindings did not come back."""
        self.position = 0
        for x in list(self.exchanges.values()):
            if x.auto_delete and x.was_bound and not x.in_use():
                self._delete_exchange(x)

    def snapshot(self) -> list[bytes]:
        """The changes that make all that is durable here."""
        return snapshot(self)
