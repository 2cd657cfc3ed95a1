"""How much memory an embedded broker takes: it stops publishers at its watermark, and what is gone is given back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from leveret.embed import Broker

from ..protocol.talker import publish
from .dialled import opened, run

BODY = b"x" * 50_000
MEGABYTE = 1_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_publishers_are_stopped_at_the_watermark() -> None:
    """Whatever they write: what they may have under way is bounded too."""

    async def main() -> None:
        level = resident_bytes() + 40 * MEGABYTE
        async with Broker(memory_high_watermark=str(level)) as broker:
            client = await opened(broker)
            await client.declares("q")
            frame = publish(1, "q", BODY)
            while not broker.server.broker.blocked:
                client.transport.write(frame)
                broker.server.watermarks.next_ms = 0
                broker.server.tick()
                await asyncio.sleep(0)
            assert (await client.next()).name == "connection.blocked"
            held = len(broker.messages("q"))
            while client.calls[-1] != "pause_writing":
                client.transport.write(frame)
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(broker.messages("q")) <= held + 20
            assert resident_bytes() < level + 40 * MEGABYTE
            await broker.stop(0)

    run(main())


def test_what_is_consumed_takes_no_memory() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")

            async def churn(times: int) -> None:
                for _ in range(times):
                    client.transport.write(publish(1, "q", BODY) * 10)
                    assert len(await client.bodies("q")) == 10

            await churn(20)
            before = resident_bytes()
            await churn(300)
            assert resident_bytes() - before < 30 * MEGABYTE  # of the 150 MB that went through

    run(main())
