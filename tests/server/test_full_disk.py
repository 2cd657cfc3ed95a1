"""A disk without room under a running server: publishers are told and stopped, consumers go on, and so does all when
there is room again. A disk that fails ends the server, which says why."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from leveret import config
from leveret.errors import StoreError
from leveret.server import server as server_module
from leveret.server import storage
from leveret.server.server import Server
from leveret.store.disk import Disk, RealDisk

from ..compat.waiting import eventually
from ..torture.client import Client, Closed, Delivery

BODY = bytes(8_000)
COUNT = 500
DEADLINE_S = 20.0


class FlawedDisk(Disk):
    """A real disk on which some files cannot be written: `flaw` says in what way, "full" or "broken"."""

    newest: FlawedDisk

    def __init__(self, root: str) -> None:
        self.real = RealDisk(root)
        self.handles: dict[int, str] = {}
        self.names_flawed = ""
        self.flaw = ""
        FlawedDisk.newest = self

    def make_directory(self, name: str) -> None:
        self.real.make_directory(name)

    def names(self, name: str) -> list[str]:
        return self.real.names(name)

    def create(self, name: str) -> int:
        handle = self.real.create(name)
        self.handles[handle] = name
        return handle

    def write(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> None:
        if self.flaw and self.names_flawed in self.handles[handle]:
            error = StoreError(f"cannot write: {self.flaw}", self.handles[handle], offset)
            error.full = self.flaw == "full"
            raise error
        self.real.write(handle, offset, parts, sync)

    def sync(self, handle: int) -> None:
        self.real.sync(handle)

    def close(self, handle: int) -> None:
        self.real.close(handle)

    def read(self, name: str) -> bytes:
        return self.real.read(name)

    def read_at(self, name: str, offset: int, length: int) -> bytes:
        return self.real.read_at(name, offset, length)

    def size(self, name: str) -> int:
        return self.real.size(name)

    def rename(self, old: str, new: str) -> None:
        self.real.rename(old, new)

    def remove(self, name: str) -> None:
        self.real.remove(name)

    def remove_directory(self, name: str) -> None:
        self.real.remove_directory(name)

    def sync_directory(self, name: str) -> None:
        self.real.sync_directory(name)


async def started(folder: Path) -> tuple[Server, FlawedDisk]:
    options = {"data_dir": str(folder), "amqp_port": 0, "pages_in_memory_bytes": 1 << 20}
    server = Server(config.load(None, {}, options))
    server.open()
    assert server.pager is not None
    server.pager.page_bytes = 1 << 18
    await server.start()
    return server, FlawedDisk.newest


@pytest.fixture(autouse=True)
def flawed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RealDisk", FlawedDisk)
    monkeypatch.setattr(server_module, "RETRY_FULL_MS", 0)


def fill(port: int) -> Client:
    client = Client(port)
    try:
        client.declare("q")
        client.confirm()
        for _ in range(COUNT):
            client.send(client.content("", "q", BODY))
    except Closed:
        client.drop()
        raise
    return client


def drain(port: int) -> int:
    with Client(port) as client:
        client.qos(50)
        client.consume("q")
        got = 0
        while got < COUNT:
            event = client.next()
            assert event is not None
            if isinstance(event, Delivery):
                got += 1
                client.ack(event.tag)
        client.close()
    return got


def test_a_full_disk_blocks_publishers_and_nobody_else(tmp_path: Path) -> None:
    async def scene() -> None:
        server, disk = await started(tmp_path)
        disk.names_flawed, disk.flaw = "pages/", "full"
        port = server.address[1]
        publishing = asyncio.create_task(asyncio.to_thread(fill, port))
        await asyncio.to_thread(
            eventually, lambda: server.broker.blocked == "low on disk", "publishers are blocked"
        )
        assert server.fatal is not None
        assert not server.fatal.done()
        disk.flaw = ""
        await asyncio.to_thread(
            eventually, lambda: server.broker.blocked == "", "publishers are let in again"
        )
        publisher = await publishing
        disk.flaw = "full"
        assert await asyncio.to_thread(drain, port) == COUNT
        assert not server.fatal.done()
        publisher.drop()
        await server.stop()

    asyncio.run(scene())


@pytest.mark.parametrize("names", ["pages/", "log/"])
def test_a_broken_disk_ends_the_server(tmp_path: Path, names: str) -> None:
    async def scene() -> None:
        server, disk = await started(tmp_path)
        disk.names_flawed, disk.flaw = names, "broken"

        def publish() -> None:
            while not ended.done():  # until it has met the flaw
                with contextlib.suppress(Closed, ConnectionError):
                    fill(server.address[1]).drop()

        assert server.fatal is not None
        ended = server.fatal
        publishing = asyncio.create_task(asyncio.to_thread(publish))
        async with asyncio.timeout(DEADLINE_S):
            assert f"cannot write: broken ({names}" in await server.fatal
        await server.stop()
        await publishing

    asyncio.run(scene())
