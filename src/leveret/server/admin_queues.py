"""What the admin commands tell of a queue: counts, what becomes of its messages, and the state of its rules."""

from __future__ import annotations

from leveret.core.holder import FIRST_DELAYED
from leveret.core.queue import Queue
from leveret.journal import LANE_INDEX_SHIFT
from leveret.server.admin_message import plain


def queue_row(queue: Queue) -> dict[str, object]:
    delayed, waiting = sleepers(queue)
    return {
        "name": queue.name,
        "type": queue.queue_type,
        "ready": queue.ready_count(),
        "unacknowledged": queue.unsettled_count(),
        "delayed": delayed,
        "waiting_for_retry": waiting,
        "consumers": queue.consumer_count(),
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "arguments": plain(queue.arguments),
        "state": "unreadable" if queue.failure else "running",
        **counters(queue),
        **standing(queue),
    }


def sleepers(queue: Queue) -> tuple[int, int]:
    """How many are not due, and how many wait for another try (or for being moved away, which is soon)."""
    delayed = 0
    waiting = 0
    for lane in queue.all_lanes():
        if lane.lid >> LANE_INDEX_SHIFT >= FIRST_DELAYED:
            delayed += int(lane.asleep)
        else:
            waiting += int(lane.asleep)
    return delayed, waiting


def counters(queue: Queue) -> dict[str, object]:
    """What became of messages since the broker was started."""
    found: dict[str, object] = {
        "expired": int(queue.expired),
        "dropped_from_head": int(queue.dropped),
        "refused": int(queue.refused),
        "timed_out": int(queue.timeouts),
        "dead_lettered": 0 if queue.graves is None else int(queue.graves.buried),
    }
    if queue.attempts is not None:
        found["retried"] = int(queue.attempts.retried)
    if queue.window is not None:
        found["duplicates"] = int(queue.window.duplicates)
    if queue.unique is not None:
        found["refused_as_not_unique"] = int(queue.unique.refused)
        found["replaced"] = int(queue.unique.replaced)
    return found


def standing(queue: Queue) -> dict[str, object]:
    """How its rules stand."""
    found: dict[str, object] = {}
    rules = queue.rules
    if rules is not None and rules.max_bytes >= 0:
        found["ready_bytes"] = int(queue.ready_bytes())
    if queue.ranked is not None:
        found["ready_by_priority"] = {
            str(int(lane.lid >> LANE_INDEX_SHIFT)): int(lane.ready) for lane in queue.ranked if lane.ready > 0
        }
    if queue.window is not None:
        found["deduplication_keys"] = len(queue.window.keys)
    if queue.groups is not None:
        found["groups"] = len(queue.groups.keys)
    if queue.single is not None:
        active = queue.single.active
        found["single_active_consumer"] = "" if active is None else active.tag
    return found
