"""What the kernel knows of a process and its children: CPU, memory, bytes written. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The process itself and all below it. Empty when it is gone."""
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += children(int(child))
        except OSError:
            continue
    return found


def field_kb(text: str, name: str) -> int:
    """A `Name:   123 kB` line of /proc/PID/status; 0 when there is none."""
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def rss_kb(pid: int) -> int:
    """Resident memory of the process and its children."""
    total = 0
    for each in children(pid):
        try:
            total += field_kb(Path(f"/proc/{each}/status").read_text(), "VmRSS")
        except OSError:
            continue
    return total


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of the process and its children."""
    total = 0.0
    for each in children(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return total


def written_bytes(pid: int) -> int:
    """Bytes that the process caused to be written to disk, less what it took back before they were."""
    counts = {}
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        name, _, value = line.partition(":")
        counts[name] = int(value)
    return counts["write_bytes"] - counts["cancelled_write_bytes"]
