"""Posting by way of a spool: over restarts, a full disk, a full spool; and what is told of how it ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leveret.client import Client, Outcome, connect
from leveret.embed import Broker
from leveret.errors import (
    BufferFull,
    SpoolError,
    Unsupported,
)
from tests.client.inside import QUICKLY, run, run_with_broker, until


def test_a_spool_keeps_what_was_posted_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"

    async def away() -> None:
        async with connect("amqp://127.0.0.1:1", spool=path, reconnect=QUICKLY) as client:
            for number in range(2500):
                client.post("q", number, message_id=f"id-{number}" if number == 7 else None)
            with pytest.raises(Unsupported, match="not known"):
                client.post("q", "x", delay_s=1)
            assert client.stats.spooled == 2500
            with pytest.raises(TimeoutError):
                await client.flush(timeout_s=0.01)

    async def there(broker: Broker) -> None:
        async with broker.connect(spool=path) as client:
            await client.declare_queue("q")
            client.post("q", "new")
            await client.flush()
            assert client.stats.spooled == 0
            found = [message async for message in client.drain("q")]
            assert [message.data for message in found] == [*range(2500), "new"]
            assert found[7].message_id == "id-7"
            assert len({message.message_id for message in found}) == 2501

    asyncio.run(asyncio.wait_for(away(), 20))
    run_with_broker(there)


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leveret.client.leading.SPOOL_AGAIN_S", 0.001)

    async def work(broker: Broker) -> None:
        async with broker.connect(spool=tmp_path / "spool.db", lazy=False) as client:
            await client.declare_queue("q")
            spooling = client.publisher.spooling
            assert spooling is not None and spooling.spool._database is not None
            disk = spooling.spool._database
            (pages,) = disk.execute("PRAGMA page_count").fetchone()
            disk.execute(f"PRAGMA max_page_count = {pages}")
            for _ in range(500):
                client.post("q", bytes(1000))
            await until(lambda: "disk is full" in caplog.text)
            with pytest.raises(SpoolError, match="disk is full"):
                for _ in range(1000):
                    client.post("q", bytes(1000))
            posted = client.stats.posted
            assert client.stats.spooled == posted
            disk.execute("PRAGMA max_page_count = 1000000")
            await client.flush()
            assert (await client.look_at_queue("q")).messages == posted
            assert client.stats.spooled == 0

    run_with_broker(work)


def test_outcomes_of_spooled_messages_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        told: list[Outcome] = []
        client.post("q", "good", on_outcome=told.append)
        client.post("nowhere", "lost", on_outcome=told.append)
        client.post("nowhere", "untold")
        await client.flush()
        assert [one.ok for one in told] == [True, False]
        assert client.stats.spooled == 0

    run(work, spool=tmp_path / "spool.db")
    assert "dropped" in caplog.text


def test_a_full_spool_refuses(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        assert client.publisher.spooling is not None
        client.publisher.spooling.spool.limit_messages = 3
        with pytest.raises(BufferFull, match="spool"):
            for _ in range(10):
                client.post("q", b"x")
        await client.flush()
        await client.post("q", b"x")

    run(work, spool=tmp_path / "spool.db")
