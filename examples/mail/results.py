"""What became of each mail, and who wants to know: pages that are open. Lives in the web server's memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any


class Results:
    def __init__(self) -> None:
        self._accepted_s: dict[str, float] = {}
        self._pages: set[asyncio.Queue[dict[str, Any]]] = set()

    def accepted(self, id: str) -> None:
        self._accepted_s[id] = time.monotonic()
        self._tell({"id": id, "state": "waiting"})

    def finished(self, id: str, error: str = "") -> None:
        since_s = self._accepted_s.pop(id, None)
        after_ms = None if since_s is None else 1000 * (time.monotonic() - since_s)
        self._tell({"id": id, "state": "failed" if error else "sent", "error": error, "after_ms": after_ms})

    def _tell(self, event: dict[str, Any]) -> None:
        for page in self._pages:
            page.put_nowait(event)

    async def events(self) -> AsyncIterator[str]:
        """For one page, as it is open: server-sent events."""
        page: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._pages.add(page)
        try:
            yield ": hello\n\n"
            while True:
                yield f"data: {json.dumps(await page.get())}\n\n"
        finally:
            self._pages.discard(page)
