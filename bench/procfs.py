"""What the kernel knows of a process and its children: CPU and memory; and bytes written to a disk. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

SECTOR_BYTES = 512  # of /sys/dev/block, whatever the device's own are
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


def device_written_bytes(directory: Path) -> int:
    """Bytes written so far to the device under a directory, by everybody: measure on a quiet machine.

    Not write_bytes of /proc/PID/io: that counts a whole page-cache folio, of up to megabytes, each time that a small
    synced write makes a part of it dirty (measured on ext4, Linux 6.18: 256 times what reached the disk).
    """
    os.sync()
    device = directory.stat().st_dev
    fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(fields[6]) * SECTOR_BYTES
