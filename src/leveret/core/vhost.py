"""The facade of one virtual host: what a peer may ask of the broker there.

Commands, not calls: whatever has to be on disk before it is answered leaves its position in `position` (0: nothing
to wait for), and an answer that may have to come from disk goes to a callback. Nothing here assumes more of a queue
than that; protocols are unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leveret import limits
from leveret.core.consumer import Consumer
from leveret.core.death import REJECTED
from leveret.core.destination import NO_ARGUMENTS, Destination, QueueBase, QueueFactory, Routed
from leveret.core.exchange import Exchange
from leveret.core.exchange_store import ExchangeStore
from leveret.core.intake import (
    ASKS_BY_HEADERS,
    due_copy,
    first_is_safe,
    hold_at,
    offer,
    offer_dead,
    set_terms,
)
from leveret.core.queue import Getter, Queue
from leveret.core.replies import PREFIX, Replies
from leveret.core.rules import rules_of
from leveret.core.serving import check_may_consume, priority_of
from leveret.core.topology import Topology
from leveret.core.view import Seen, view_of
from leveret.errors import AccessRefused, BrokerError, NotSupported, PeerError
from leveret.journal import Journal
from leveret.message import Message
from leveret.native import i64
from leveret.seams import TopologyJournal

if TYPE_CHECKING:
    from leveret.core.broker import Broker
    from leveret.core.death import DeadMessage
    from leveret.core.lane import Lane

Table = dict[str, object]
ROUTES: Final = limits.ROUTES_CACHED
NO_QUEUES: Final[list[Queue]] = []


class Route:
    """Where a publish with these very arguments goes. Kept until the topology changes.

    raw: exchange and routing key as two short strings, as a delivery has them.
    """

    def __init__(self, vhost: VHost, raw: bytes, exchange: str, key: str, mandatory: bool) -> None:
        self.vhost = vhost
        self.raw = raw
        self.exchange = exchange
        self.key = key
        self.mandatory = mandatory
        self.queues = NO_QUEUES
        self.by_headers = False  # the queues depend on more of the message than its key
        self.reply = False  # to a requester, by its name; found anew for each publish
        self.simple = False  # nothing but the queues matters
        self.stale = False  # not to be used again
        self.ranks = False  # and the priority of a message that has one
        self.store: ExchangeStore | None = None  # of the exchange, if it keeps something


class VHostJournal(TopologyJournal):
    """Writes a virtual host's name before each change of its topology."""

    def __init__(self, name: str, journal: Journal) -> None:
        self.prefix = vhost_prefix(name)
        self.journal = journal

    def topology(self, op: bytes) -> i64:
        return self.journal.topology(self.prefix + op)


def vhost_prefix(name: str) -> bytes:
    raw = name.encode("utf-8", "surrogateescape")
    return bytes([len(raw)]) + raw


class Queues(QueueFactory):
    """Makes the queues of a virtual host."""

    def __init__(self, home: VHost) -> None:
        self.home = home
        self.broker = home.broker

    def make_queue(
        self, name: str, vhost: str, qid: int, durable: bool, exclusive: bool, auto_delete: bool
    ) -> QueueBase:
        queue = Queue(name, vhost, qid, durable, exclusive, auto_delete)
        self.broker.holders[qid] = queue
        queue.attach(self.home)
        return queue

    def queue_made(self, queue: QueueBase) -> None:
        assert isinstance(queue, Queue)
        queue.set_rules(rules_of(queue.arguments, queue.queue_type))

    def exchange_made(self, exchange: Destination) -> None:
        assert isinstance(exchange, Exchange)
        store = ExchangeStore(self.home, exchange)
        self.home.stores[exchange.name] = store
        self.broker.holders[int(exchange.qid)] = store

    def exchange_gone(self, exchange: Destination) -> None:
        assert isinstance(exchange, Exchange)
        store = self.home.stores.pop(exchange.name, None)
        self.broker.holders.pop(int(exchange.qid), None)
        if store is not None:
            self.broker.delays.forget(store)
            store.drop()

    def queue_gone(self, queue: QueueBase) -> None:
        assert isinstance(queue, Queue)
        broker = self.broker
        for lane in queue.all_lanes():
            broker.lanes.pop(int(lane.lid), None)
        broker.holders.pop(int(queue.qid), None)
        broker.expiry.forget(queue)
        broker.delays.forget(queue)


class VHost:
    def __init__(self, name: str, broker: Broker) -> None:
        self.name = name
        self.broker = broker
        self.turn = broker.turn
        self.journal = broker.journal
        self.stores: dict[str, ExchangeStore] = {}  # of exchanges that keep something
        self.replies = Replies()
        self.topology = Topology(name, VHostJournal(name, broker.journal), Queues(self), broker.ids)
        self.routes: dict[bytes, Route] = {}
        self.dead_routes: dict[bytes, list[Queue]] = {}  # of dead letters, by where to
        self.version: i64 = 0
        self.position: i64 = 0  # what the answer to the last command waits for
        self.unroutable: i64 = 0
        self.refused = False  # by a queue, what was just published
        self.due_now = False  # what is offered was delayed by the very queue
        self.inherited: i64 = 0  # how many deliveries of the dead letter that is being published have failed
        self.dead_letters: i64 = 0
        self.circled = False  # the last dead letter would have come back to a queue for ever

    # ---- publishing

    def resolve(self, raw: bytes) -> Route:
        """The route of a publish: raw is exchange and key as short strings and the bits of basic.publish, as AMQP
        0-9-1 sends them; other protocols make the same bytes. Raises NotFound, AccessRefused, NotSupported."""
        at = 1 + raw[0]
        end = at + 1 + raw[at]
        bits = raw[end]
        exchange = raw[1:at].decode("utf-8", "surrogateescape")
        key = raw[at + 1 : end].decode("utf-8", "surrogateescape")
        if bits & 2:
            raise NotSupported("immediate=true")
        route = Route(self, raw[:end], exchange, key, bits & 1 == 1)
        x = self.topology.exchange(exchange)
        if x.internal:
            raise AccessRefused(f"cannot publish to internal exchange '{exchange}' in vhost '{self.name}'")
        route.by_headers = self.topology.route_needs_message(exchange)
        if not route.by_headers:
            route.queues = as_queues(self.topology.route(exchange, Routed(key, None)))
        route.simple = not route.by_headers and not (route.mandatory and not route.queues)
        for queue in route.queues:
            if not queue.plain_in:
                route.simple = False
            if queue.ranks:
                route.ranks = True
        route.store = self.stores.get(exchange)
        if route.store is not None:
            route.simple = False
        if not exchange and key.startswith(PREFIX):
            route.reply = True
            route.simple = False
            route.stale = True
            return route
        if len(self.routes) >= ROUTES:
            self._forget_routes()
        self.routes[raw] = route
        return route

    def _forget_routes(self) -> None:
        for route in self.routes.values():
            route.stale = True
        self.routes.clear()

    def route_by_message(self, route: Route, routed: Routed) -> list[Queue]:
        """Where a message goes that more than its key decides of."""
        return as_queues(self.topology.route(route.exchange, routed))

    def publish(self, queues: list[Queue], m: Message) -> i64:
        """Give a message to these queues: one record of the journal, however many. Returns its position."""
        n: i64 = len(queues)
        if n == 1:
            queue = queues[0]
            lane = queue.lane
            seq = lane.push(m)
            if not queue.dirty:
                queue.dirty = True
                self.turn.dirty.append(queue)
            if m.persistent and lane.durable:
                lane.logged(seq)
                return self.journal.publish(m, lane.lid, seq)
            return 0
        if n == 0:
            self.unroutable += 1
            return 0
        return self._fan_out(queues, m)

    def _fan_out(self, queues: list[Queue], m: Message) -> i64:
        journal = self.journal
        begun = False
        for queue in queues:
            lane = queue.lane
            seq = lane.push(m)
            queue.wake()
            if m.persistent and lane.durable:
                if not begun:
                    begun = True
                    journal.begin(m, -1, 0)
                lane.logged(seq)
                journal.target(lane.lid, seq)
        return journal.end() if begun else 0

    def set_terms(self, route: Route, m: Message, asks: i64) -> None:
        """Find out what a message asks of time. Raises PreconditionFailed."""
        store = route.store
        set_terms(m, asks, store is not None and store.exchange.delays, self.turn.now_ms)

    def delays(self, route: Route, m: Message) -> bool:
        """Whether the exchange holds this message back for now, whoever takes it then."""
        store = route.store
        terms = m.terms
        return (
            store is not None
            and store.exchange.delays
            and terms is not None
            and terms.due_ms > self.turn.now_ms
        )

    def take(self, route: Route, queues: list[Queue], m: Message) -> i64:
        """Publish what is not plain, or to queues that are not. Returns its position; see `refused`."""
        self.refused = False
        store = route.store
        if store is not None:
            return self._take_by_store(route, store, queues, m)
        if route.reply and self.replies.hand(route.key, m) and not queues:
            return 0
        if not queues:
            self.unroutable += 1
            return 0
        return max(offer(self, queues, m, None, 0), 0)

    def _take_by_store(self, route: Route, store: ExchangeStore, queues: list[Queue], m: Message) -> i64:
        """As `take`, through an exchange that keeps something: all of it is one record."""
        journal = self.journal
        in_tx = journal.in_tx()
        if not in_tx:
            journal.begin_tx()
        position: i64 = 0
        now = self.turn.now_ms
        duplicate = store.is_duplicate(m, now)
        if not duplicate:
            if self.delays(route, m):
                position = hold_at(self, store, m, None, 0)
            elif queues:
                position = max(offer(self, queues, m, None, 0), 0)
            else:
                self.unroutable += 1
            if not self.refused:
                store.came(m, now, in_tx)
        if not in_tx:
            position = journal.end_tx()
            store.said(position)
            if duplicate and store.keeps():
                position = first_is_safe(journal, m)
        return position

    def route_due(self, exchange: Exchange, m: Message, lane: Lane, seq: i64) -> None:
        """A message that an exchange delayed, asleep in its lane, is routed now."""
        copy = due_copy(m, self.turn.now_ms)
        delay = view_of(m).header(m, "x-delay")
        if isinstance(delay, int) and delay > 0:  # as the plugin says that it was delayed
            terms = copy.terms
            copy = view_of(m).delivery(copy, {"x-delay": -delay})
            copy.terms = terms
        key = key_of_route(m.route)
        queues = as_queues(self.topology.route(exchange.name, Seen(copy, key, None)))
        if not queues or offer(self, queues, copy, lane, seq) < 0:
            self.unroutable += 1
            lane.remove(seq, True)

    def offer(self, queues: list[Queue], m: Message, source: Lane | None, source_seq: i64) -> i64:
        """Give a dead letter to these queues."""
        return offer_dead(self, queues, m, source, source_seq)

    def offer_due(self, queues: list[Queue], m: Message, lane: Lane, seq: i64) -> None:
        """A message that was delayed, and sleeps, goes to its queues."""
        self.due_now = True
        if offer(self, queues, due_copy(m, self.turn.now_ms), lane, seq) < 0:
            lane.remove(seq, True)
        self.due_now = False

    def delay_dead(self, exchange: str, m: Message, lane: Lane, seq: i64) -> bool:
        """Hold a dead letter whose exchange delays it, by a header of its own. False if it goes on at once."""
        store = self.stores.get(exchange) if self.stores else None
        if store is None or not store.exchange.delays:
            return False
        try:
            set_terms(m, ASKS_BY_HEADERS, True, self.turn.now_ms)
        except PeerError:
            return False  # it meant something to somebody else
        terms = m.terms
        if terms is None or terms.due_ms <= self.turn.now_ms:
            return False
        self.dead_letters += 1
        hold_at(self, store, m, lane, seq)
        return True

    def dead_targets(self, first: Exchange, dead: DeadMessage) -> list[Queue]:
        """Where a dead letter goes: what its keys match, but for queues that it would come back to for ever."""
        self.dead_letters += 1
        keys = dead.keys
        to = dead.message.route
        found = self.dead_routes.get(to) if len(keys) == 1 else None
        if found is None:
            routed = Seen(dead.message, keys[0], keys[1:] if len(keys) > 1 else None)
            found = as_queues(self.topology.route(first.name, routed))
            if len(keys) == 1 and not self.topology.route_needs_message(first.name):
                if len(self.dead_routes) >= ROUTES:
                    self.dead_routes.clear()
                self.dead_routes[to] = found
        if dead.reason == REJECTED:  # such a one never circles
            self.circled = False
            return found
        targets = [q for q in found if not dead.circles(q.name)]
        self.circled = len(targets) < len(found)
        return targets

    # ---- topology. Each leaves what its answer waits for in `position`.

    def _changed(self) -> None:
        topology = self.topology
        self.position = topology.position
        if topology.version != self.version:
            self.version = topology.version
            self._forget_routes()
            self.dead_routes.clear()
            if self.broker.stuck:
                self.broker.try_again()

    def declare_exchange(
        self,
        name: str,
        kind: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        args: Table,
        passive: bool,
    ) -> None:
        self.topology.declare_exchange(name, kind, durable, auto_delete, internal, args, passive)
        self._changed()

    def delete_exchange(self, name: str, if_unused: bool) -> None:
        self.topology.delete_exchange(name, if_unused)
        self._changed()

    def bind_exchange(self, destination: str, source: str, key: str, args: Table) -> None:
        self.topology.bind_exchange(destination, source, key, args)
        self._changed()

    def unbind_exchange(self, destination: str, source: str, key: str, args: Table) -> None:
        self.topology.unbind_exchange(destination, source, key, args)
        self._changed()

    def declare_queue(
        self,
        name: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        args: Table,
        passive: bool,
        owner: object,
    ) -> Queue:
        queue = self.topology.declare_queue(name, durable, exclusive, auto_delete, args, passive, owner)
        assert isinstance(queue, Queue)
        queue.used_ms = self.turn.tick_ms
        if queue.arguments and self.topology.version != self.version:
            self.broker.expiry.lease(queue)
        self._changed()
        return queue

    def delete_queue(self, name: str, if_unused: bool, if_empty: bool, owner: object) -> int:
        n = self.topology.delete_queue(name, if_unused, if_empty, owner)
        self._changed()
        return n

    def purge_queue(self, name: str, owner: object) -> int:
        n = self.queue(name, owner).purge()
        self.position = 0
        return n

    def bind_queue(self, name: str, exchange: str, key: str, args: Table, owner: object) -> None:
        self.topology.bind_queue(name, exchange, key, args, owner)
        self._changed()

    def unbind_queue(self, name: str, exchange: str, key: str, args: Table, owner: object) -> None:
        self.topology.unbind_queue(name, exchange, key, args, owner)
        self._changed()

    # ---- consuming

    def queue(self, name: str, owner: object) -> Queue:
        """Raises NotFound, ResourceLocked."""
        queue = self.topology.queue(name, owner)
        assert isinstance(queue, Queue)
        queue.used_ms = self.turn.tick_ms
        if queue.dirty and (queue.rules is not None or queue.instant is not None):
            queue.pump()  # what it shows has to be as its rules have it
        if queue.failure:
            raise BrokerError(f"queue '{name}' in vhost '{self.name}' cannot be read: {queue.failure}")
        return queue

    def consume(self, queue: Queue, consumer: Consumer) -> None:
        """Raises AccessRefused when an exclusive consumer is in the way."""
        check_may_consume(queue, consumer)
        consumer.priority = priority_of(consumer.arguments)
        overdue = self.broker.overdue
        consumer.timeout_ms = overdue.limit_ms(queue, consumer.arguments)
        overdue.watch(consumer)
        queue.add_consumer(consumer)

    def cancel(self, consumer: Consumer) -> None:
        """Take a consumer away; the queue goes with its last one if it was declared so."""
        queue = consumer.queue
        if not consumer.active:
            return
        queue.remove_consumer(consumer)
        if queue.auto_delete and queue.consumer_count() == 0 and not queue.gone:
            self.topology.consumer_gone(queue)
            self._changed()

    def get(self, queue: Queue, getter: Getter) -> None:
        getter.timeout_ms = self.broker.overdue.limit_ms(queue, NO_ARGUMENTS)
        queue.get(getter)

    def recovered(self) -> None:
        """Everything durable is back: let go of what was only kept by what is not."""
        self.topology.recovered()
        for queue in self.topology.queues.values():
            assert isinstance(queue, Queue)
            queue.restored()
            self.broker.expiry.restored(queue)
            self.broker.delays.restored(queue)
        for store in self.stores.values():
            store.restored()
            self.broker.delays.restored(store)
        self._changed()

    def expire_queue(self, queue: Queue) -> None:
        """A queue was not used for as long as it said."""
        if self.topology.queues.get(queue.name) is queue:
            self.topology.delete_queue(queue.name, False, False, None)
            self._changed()

    def owner_gone(self, owner: object) -> None:
        """A connection ended: its exclusive queues go with it."""
        owned = self.topology.owned_by(owner)
        for queue in owned:
            self.delete_queue(queue.name, False, False, owner)


def as_queues(found: list[Destination]) -> list[Queue]:
    queues: list[Queue] = []
    for d in found:
        assert isinstance(d, Queue)
        queues.append(d)
    return queues


def key_of_route(route: bytes) -> str:
    """The routing key of a message's route."""
    at = 1 + route[0]
    return route[at + 1 : at + 1 + route[at]].decode("utf-8", "surrogateescape")
