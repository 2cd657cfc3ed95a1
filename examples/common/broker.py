"""A Leveret process with a data directory: started, killed, and started again on the same port."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from examples.common.children import Child, python

START_TIMEOUT_S = 30.0


class Broker:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = 0  # any that is free; afterwards the one it has
        self.describes_itself = ""
        self.ready_after_s = 0.0
        self._child: Child | None = None
        self._ready: asyncio.Future[str] | None = None

    @property
    def url(self) -> str:
        return self.url_through(self.port)

    @staticmethod
    def url_through(port: int) -> str:
        """The same broker by another way: a proxy that listens on `port`."""
        return f"amqp://guest:guest@127.0.0.1:{port}/%2F"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def words(self) -> list[str]:
        return self._child.words if self._child else []

    def command(self) -> list[str]:
        options = ["--data", str(self.data), "--amqp-port", str(self.port), "--log-format", "json"]
        options += ["--stomp-port", "off", "--web-stomp-port", "off"]
        return python("leveret", "serve", *options)

    async def start(self) -> None:
        """Start it and wait until it says that it accepts connections."""
        started = time.monotonic()
        self._ready = asyncio.get_running_loop().create_future()
        self._child = await Child.start("broker", self.command(), self._hear)
        ended = asyncio.create_task(self._child.ended())
        try:
            either: set[asyncio.Future[Any]] = {self._ready, ended}
            await asyncio.wait(either, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if not self._ready.done():
            raise RuntimeError("\n".join(["the broker did not start:", *self.words]))
        self.port = int(self._ready.result().rpartition(":")[2])
        self.ready_after_s = time.monotonic() - started

    def _hear(self, _: str, event: dict[str, Any]) -> None:
        if event.get("event") == "ready":
            assert self._ready is not None
            self._ready.set_result(event["addresses"]["amqp"])
            return
        if event.get("part") == "start" and not self.describes_itself:
            self.describes_itself = str(event.get("event"))  # version, compiled or not, Python, event loop
        if event.get("level") in ("warning", "error", "critical") and self._child is not None:
            self._child.words.append(str(event))

    async def kill(self) -> None:
        assert self._child is not None
        await self._child.kill()

    async def stop(self) -> int:
        return await self._child.stop() if self._child else 0
