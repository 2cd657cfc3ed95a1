"""What producers and consumers of the demo agree on: the names in the broker, and what messages look like.

    producer ──> (default exchange) ──> NAME.jobs ──> three workers, in turn
    worker ────> NAME.images, topic ─┬─ image.resized.* ──> NAME.gallery    a subscription
                                     ├─ image.# ──────────> NAME.audit      another one: gets its own copy
                                     ├─ image.# ──────────> NAME.report     pulled by cron.py
                                     └─ # ─> NAME.rules, headers ── orientation=portrait ──> NAME.portraits

Everything is durable and declared once, before the clients start: after a restart of the broker it has to
be there again. NAME keeps runs apart that share a broker.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pika

SUBSCRIPTIONS = {"gallery": "image.resized.*", "audit": "image.#"}
RULE = {"x-match": "all", "state": "resized", "orientation": "portrait"}
QUEUES = ("jobs", *SUBSCRIPTIONS, "portraits", "report")


@dataclass(frozen=True)
class Job:
    """One image to resize. A message of some hundred bytes: the image stays where it is, in the shared folder."""

    id: str
    image: str
    result: str
    edge: int  # of the result, the longer one, in pixels
    sent_at: float  # seconds since the epoch; when it was first sent

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def decode(body: bytes) -> Job:
        return Job(**json.loads(body))


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
    def routing_key(self) -> str:
        return f"image.{self.state}.{self.orientation}"

    @property
    def headers(self) -> dict[str, str]:
        """What rules can match on."""
        return {"state": self.state, "orientation": self.orientation}

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def decode(body: bytes) -> Announcement:
        return Announcement(**json.loads(body))


def properties(message_id: str, headers: dict[str, str] | None = None) -> pika.BasicProperties:
    """Persistent, and with an id by which a receiver recognises what it has had before."""
    return pika.BasicProperties(
        message_id=message_id,
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent.value,
        headers=headers,
    )


def declare(channel: Any, name: str) -> None:
    """Exchanges, queues and bindings as in the picture above. Doing it again changes nothing."""
    for queue in QUEUES:
        channel.queue_declare(f"{name}.{queue}", durable=True)
    channel.exchange_declare(f"{name}.images", "topic", durable=True)
    channel.exchange_declare(f"{name}.rules", "headers", durable=True)
    for queue, pattern in SUBSCRIPTIONS.items():
        channel.queue_bind(f"{name}.{queue}", f"{name}.images", pattern)
    channel.queue_bind(f"{name}.report", f"{name}.images", "image.#")
    channel.exchange_bind(destination=f"{name}.rules", source=f"{name}.images", routing_key="#")
    channel.queue_bind(f"{name}.portraits", f"{name}.rules", arguments=RULE)


def waiting(channel: Any, name: str) -> dict[str, int]:
    """How many messages are ready in each queue."""
    return {q: channel.queue_declare(f"{name}.{q}", passive=True).method.message_count for q in QUEUES}


def delete(channel: Any, name: str) -> None:
    for queue in QUEUES:
        channel.queue_delete(f"{name}.{queue}")
    for exchange in ("rules", "images"):
        channel.exchange_delete(f"{name}.{exchange}")
