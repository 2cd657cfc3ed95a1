"""The network between the clients and the broker: passes bytes both ways, until it is told not to."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 16


class Proxy:
    """Listens on a free port of this machine and passes everything on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.accepted = 0
        self.refused = 0
        self._up = True
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.down()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self._lines) // 2

    def down(self) -> None:
        """Cut every line without a word, and refuse new ones."""
        self._up = False
        for line in list(self._lines):
            line.transport.abort()

    def up(self) -> None:
        self._up = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:  # the broker is away: so are we
            writer.transport.abort()
            return
        self.accepted += 1
        ends = {writer, back}
        self._lines |= ends
        try:
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        finally:
            self._lines -= ends
            for end in ends:
                end.transport.abort()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until one side ends; then the other is ended, too."""
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
    sink.close()
