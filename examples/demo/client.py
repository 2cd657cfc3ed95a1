"""What every client process of the demo needs: its arguments, a way to say what it does, and to be told to stop.

Knows nothing of jobs and images.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Coroutine
from typing import Any


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2F", help="where the broker is")
    parser.add_argument("--name", default="demo", help="what the names of queues and exchanges begin with")
    return parser


def say(event: str, **fields: object) -> None:
    """One JSON line to stdout for each thing that happens: whoever started us may watch, or nobody."""
    print(json.dumps({"event": event, **fields}), flush=True)


def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or to SIGTERM or SIGINT: then what is open is closed in good order."""

    async def watched() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watched())
