"""Jobs as middleware sees them, made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from leveret.worker.interfaces import ConsumerInfo, Job


@dataclass
class FakeMessage:
    body: bytes = b""
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: int | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    exchange: str = ""
    key: str = "emails"
    size_bytes: int = 0
    attempts: int = 1


def info(name: str = "send", pool: str = "async", timeout_s: float | None = None) -> ConsumerInfo:
    return ConsumerInfo(name, "emails", "consumer", pool, timeout_s, 5)


def job(consumer: ConsumerInfo | None = None, **message: Any) -> Job:
    return Job(consumer or info(), FakeMessage(**message))


class Clock:
    """Time that stands still until it is moved; `sleep` moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds_s: float) -> None:
        self.slept.append(seconds_s)
        self.now += seconds_s
