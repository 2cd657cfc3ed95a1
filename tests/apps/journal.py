"""What workers write down of their runs, and tests read: one line of JSON for each event, appended at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def note(journal: str, event: str, **more: object) -> None:
    line = json.dumps({"event": event, "time": time.time(), "pid": os.getpid(), **more}) + "\n"
    # one write to a file opened for appending: lines of several processes do not mix
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode())
    os.close(handle)


def noted(journal: Path, event: str) -> list[dict[str, Any]]:
    """The lines of this event, in the order in which they were written."""
    if not journal.exists():
        return []
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]
