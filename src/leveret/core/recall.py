"""Bringing a topology back from the journal's changes, and writing down what it is made of.

Replay trusts the journal: it checks nothing, journals nothing, and each change does what it says and no more, since
whatever followed from it (an auto-delete exchange that went with it) is a change of its own. A change that is there
already changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret.core import topology_ops as ops
from leveret.core.destination import Destination
from leveret.core.exchange import Exchange, make_matcher
from leveret.errors import Damaged

if TYPE_CHECKING:
    from leveret.core.topology import Topology


def recall(t: Topology, raw: bytes) -> None:
    """Replay one change. Raises Damaged."""
    op = ops.Op(raw)
    kind = op.kind
    if kind == ops.QUEUE:
        _queue(t, op)
    elif kind == ops.BINDING or kind == ops.NO_BINDING:
        _binding(t, op)
    elif kind == ops.EXCHANGE or kind == ops.KEEPING:
        _exchange(t, op)
    elif kind == ops.NO_QUEUE:
        q = t.queues.get(op.name(1))
        if q is not None and q.qid == op.number(2):
            t.remove_queue(q)
    elif kind == ops.NO_EXCHANGE:
        x = t.exchanges.get(op.name(1))
        if x is not None:
            t.remove_exchange(x)
    elif kind == ops.BOUND:
        x = t.exchanges.get(op.name(1))
        if x is not None:
            x.was_bound = True
    else:
        t.ids.seen(op.number(1))


def _queue(t: Topology, op: ops.Op) -> None:
    name = op.name(1)
    qid = op.number(2)
    t.ids.seen(qid)
    if name not in t.queues:
        t.add_queue(name, qid, True, False, op.flag(3), op.table(4), op.name(5))


def _exchange(t: Topology, op: ops.Op) -> None:
    name = op.name(1)
    qid = op.number(6) if op.kind == ops.KEEPING else 0
    t.ids.seen(qid)
    if name in t.exchanges:
        return
    kind = op.name(2)
    arguments = op.table(5)
    matcher = make_matcher(kind, arguments)
    if matcher is None:
        raise Damaged(f"exchange '{name}' in vhost '{t.vhost}' has the unknown type '{kind}'")
    t.add_exchange(Exchange(name, kind, matcher, True, op.flag(3), op.flag(4), arguments, qid))


def _binding(t: Topology, op: ops.Op) -> None:
    """A binding one of whose ends is gone went with it."""
    x = t.exchanges.get(op.name(1))
    name = op.name(3)
    to: Destination | None = None
    if op.flag(2):
        to = t.queues.get(name)
    else:
        to = t.exchanges.get(name)
    if x is None or to is None:
        return
    if op.kind == ops.BINDING:
        x.bind(to, op.name(4), op.table(5))
    else:
        x.unbind(to, op.name(4), op.table(5))
    t.version += 1


def snapshot(t: Topology) -> list[bytes]:
    """The changes that make all that is durable: exchanges and queues, then what binds them."""
    out: list[bytes] = [ops.ids_op(t.ids.last)]
    for x in t.exchanges.values():
        if x.durable and not _is_given(x.name):
            out.append(ops.exchange_op(x))
            if x.auto_delete and x.was_bound:
                out.append(ops.bound_op(x.name))
    for q in t.queues.values():
        if q.durable:
            out.append(ops.queue_op(q.name, int(q.qid), q.auto_delete, q.arguments, q.queue_type))
    for x in t.exchanges.values():
        if x.durable:
            for destination, here in x.by_destination.items():
                if destination.durable:
                    for binding in here.values():
                        out.append(ops.binding_op_of(binding))
    return out


def _is_given(name: str) -> bool:
    """Every virtual host has it from the start."""
    return not name or name.startswith("amq.")
