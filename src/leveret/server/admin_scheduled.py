"""`scheduled` and `cancel_scheduled` of the admin commands: delayed messages as rows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from leveret.core.broker import Broker
from leveret.core.exchange_store import ExchangeStore
from leveret.core.queue import Queue
from leveret.core.scheduled import Scheduled, Survey
from leveret.core.vhost import VHost
from leveret.core.view import view_of

YEAR_9999_MS = 253_370_764_800_000


async def scheduled_rows(
    broker: Broker, vhost: VHost, queue: Queue | None, limit: int
) -> list[dict[str, object]]:
    """What is due next in a virtual host, or in one of its queues."""
    owners = {int(queue.qid)} if queue is not None else owners_of(vhost)
    survey = Survey(broker.delays, owners, limit)
    while survey.step():
        await asyncio.sleep(0)
    return [row(item) for item in survey.found]


def owners_of(vhost: VHost) -> set[int]:
    owners = {int(store.exchange.qid) for store in vhost.stores.values()}
    owners.update(int(queue.qid) for queue in vhost.topology.queues.values())
    return owners


def row(item: Scheduled) -> dict[str, object]:
    holder = item.holder
    m = item.message()
    if isinstance(holder, ExchangeStore):
        kind, name = "exchange", holder.exchange.name
    else:
        assert isinstance(holder, Queue)
        kind, name = "queue", holder.name
    return {
        "id": item.id(),
        "due": time_text(int(item.due_ms)),
        "due_ms": int(item.due_ms),
        "at_the_earliest": not item.exact,
        "held_by": kind,
        "name": name,
        "message_id": None
        if m is None
        else view_of(m).message_id(m).decode("utf-8", "backslashreplace") or None,
        "bytes": None if m is None else int(m.size_bytes),
        "in_memory": m is not None,
    }


def time_text(ms: int) -> str:
    return datetime.fromtimestamp(min(ms, YEAR_9999_MS) / 1000, UTC).isoformat(timespec="milliseconds")
