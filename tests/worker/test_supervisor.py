"""A process that does not want to end, and the supervisor that was told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leveret.worker import supervisor
from leveret.worker.supervisor import Supervisor

DEADLINE_S = 30.0
DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("grace_s", [None, 3600.0])
def test_told_twice_it_kills_what_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, grace_s: float | None
) -> None:
    monkeypatch.setattr(supervisor, "KILL_AFTER_S", 0.01)
    up = tmp_path / "up"

    async def work() -> None:
        made = Supervisor([sys.executable, "-c", DEAF, str(up)], 1, grace_s=grace_s)
        running = asyncio.create_task(made.run())
        await until(up.exists)
        process = made._running[0]
        made.stop()
        done, _ = await asyncio.wait({running}, timeout=0.05)
        assert not done, "it is told once only, and its time is not over"
        made.stop()
        assert await running == 0
        assert process.returncode == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))
    assert "does not end, and is killed" in caplog.text


def test_told_once_it_kills_behind_the_grace_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "KILL_AFTER_S", 0.01)
    up = tmp_path / "up"

    async def work() -> None:
        made = Supervisor([sys.executable, "-c", DEAF, str(up)], 1, grace_s=0.0)
        running = asyncio.create_task(made.run())
        await until(up.exists)
        process = made._running[0]
        made.stop()
        assert await running == 0
        assert process.returncode == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))
