"""What producers and consumers of the demo agree on: the names in the broker, and what messages look like.

    producer ──> (default exchange) ──> NAME.jobs ──> three workers, in turn                       by name
    worker ─┬──> NAME.images, topic ─┬─ image.resized.* ──> NAME.gallery   a subscription          by topic
            │                        ├─ image.# ──────────> NAME.audit     another: its own copy
            │                        └─ image.# ──────────> NAME.report    pulled by cron.py
            └──> NAME.rules, headers ── orientation=portrait ──> NAME.portraits                    by a rule

Everything is durable: after a restart of the broker it has to be there again. NAME keeps runs apart that share a broker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass

import leveret
from leveret.errors import LeveretError

SUBSCRIPTIONS = {"gallery": "image.resized.*", "audit": "image.#"}
RULE = {"state": "resized", "orientation": "portrait"}
QUEUES = ("jobs", *SUBSCRIPTIONS, "portraits", "report")


@dataclass(frozen=True)
class Job:
    """One image to resize. A message of some hundred bytes: the image stays where it is, in the shared folder."""

    id: str
    image: str
    result: str
    edge: int  # of the result, the longer one, in pixels
    sent_at: float  # seconds since the epoch; when it was first sent


@dataclass(frozen=True)
class Announcement:
    """An image is finished: resized, or found unreadable. Goes to whoever subscribed."""

    id: str  # of the job; two announcements of one id say the same
    state: str  # "resized" or "unreadable"
    orientation: str  # "portrait", "landscape" or "none"
    result: str
    worker: str
    announced_at: float

    @property
    def topic(self) -> str:
        return f"image.{self.state}.{self.orientation}"

    @property
    def headers(self) -> dict[str, str]:
        """What rules can match on."""
        return {"state": self.state, "orientation": self.orientation}


async def declare(broker: leveret.Client, name: str) -> None:
    """What has to be there before anybody comes. Workers and subscribers declare their own queues."""
    await broker.declare_exchange(f"{name}.images", "topic")
    await broker.declare_exchange(f"{name}.rules", "headers")
    await broker.declare_queue(f"{name}.report")
    await broker.bind(f"{name}.report", f"{name}.images", "image.#")


async def look(broker: leveret.Client, name: str) -> dict[str, leveret.QueueInfo]:
    """What is in each queue, and who is at it."""
    return {queue: await broker.look_at_queue(f"{name}.{queue}") for queue in QUEUES}


async def delete(broker: leveret.Client, name: str) -> None:
    """Leave nothing in a broker that goes on."""
    for queue in (*QUEUES, "jobs.dead"):
        await _try(broker.delete_queue(f"{name}.{queue}"))
    for exchange in ("rules", "images"):
        await _try(broker.delete_exchange(f"{name}.{exchange}"))


async def _try(deleting: Awaitable[object]) -> None:
    with contextlib.suppress(LeveretError):
        await deleting
