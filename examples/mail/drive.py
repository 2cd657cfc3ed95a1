"""A caller that uses the form as a browser would, over HTTP: asks, takes the time, and listens for what comes live."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from examples.common.report import percentile
from examples.common.waiting import Watch

TIMEOUT_S = 60.0
STALLED_S = 90.0  # a worker that failed often in a row takes nothing for up to half a minute


@dataclass
class Asked:
    """One lot of mails, and what the caller saw."""

    name: str
    waits_ms: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)  # ids of mails that were sent, or will be
    failed: int = 0

    def p(self, percent: float) -> float:
        return percentile(self.waits_ms, percent)


class Caller:
    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S)
        self.watch = Watch(STALLED_S)
        self.told: dict[str, dict[str, Any]] = {}  # what the page was told of mails in the queue
        self._listening: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def __aenter__(self) -> Self:
        (await self.http.get("/")).raise_for_status()  # the page, which then listens
        self._listening = asyncio.create_task(self._listen())
        await asyncio.wait_for(self._heard.wait(), TIMEOUT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self.http.aclose()

    async def _listen(self) -> None:
        """Server-sent events, as a page gets them."""
        async with self.http.stream("GET", "/events", timeout=None) as response:
            async for line in response.aiter_lines():
                self._heard.set()
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    if event["state"] != "waiting":
                        self.told[event["id"]] = event
                        self.watch.touch()

    async def send(self, path: str, asked: Asked, number: int, to: str = "") -> None:
        """One mail by `/now` or `/later`."""
        mail = {
            "to": to or f"friend-{number}@example.org",
            "subject": f"{asked.name} {number}",
            "text": "Hello!",
        }
        started_s = time.monotonic()
        answer = await self.http.post(path, json=mail)
        asked.waits_ms.append(1000 * (time.monotonic() - started_s))
        if answer.is_success:
            asked.accepted.append(answer.json()["id"])
        else:
            asked.failed += 1
        self.watch.touch()

    async def send_many(self, path: str, asked: Asked, count: int, at_once: int, think_s: float) -> None:
        """So many mails, `at_once` callers side by side, each with one after the other, and a moment between them."""
        numbers = iter(range(count))

        async def one_caller() -> None:
            for number in numbers:
                await self.send(path, asked, number)
                await asyncio.sleep(think_s)

        await asyncio.gather(*(one_caller() for _ in range(at_once)))

    async def all_told(self, asked: Asked) -> None:
        """Wait until the page has heard what became of each mail."""
        await self.watch.until(lambda: set(asked.accepted) <= set(self.told), "the result of each mail")
