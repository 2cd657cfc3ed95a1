"""Memory and disk watermarks: when publishers are blocked, and when no longer (RabbitMQ's alarms).

It reads the process' resident memory and the disk's free space, and says why publishing should stop.
"""

from __future__ import annotations

import os
from typing import Final

from leveret.config import Config
from leveret.core.broker import Broker

CHECK_MS: Final = 500
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def total_memory_bytes() -> int:
    """What this process may use: the machine's memory, or its control group's limit."""
    total = PAGE * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as stream:
            text = stream.read().strip()
        if text != "max":
            total = min(total, int(text))
    except (OSError, ValueError):
        pass
    return total


class Watermarks:
    def __init__(self, config: Config, broker: Broker) -> None:
        total = total_memory_bytes()
        self.memory_bytes = config.memory_high_watermark.bytes_of(total)
        self.disk_bytes = config.disk_free_low_watermark.bytes_of(total)
        self.directory = None if config.memory else config.data_dir
        self.next_ms = 0
        # Opened once: the check must not need a file descriptor when there is none left.
        self.statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.statm)

    def due(self, now_ms: int) -> bool:
        return now_ms >= self.next_ms

    def check(self, now_ms: int, store_full: bool) -> str:
        """Why publishing has to stop: "low on memory", "low on disk" (RabbitMQ's words), or nothing."""
        self.next_ms = now_ms + CHECK_MS
        reasons: list[str] = []
        if self.resident_bytes() > self.memory_bytes:
            reasons.append("memory")
        if store_full or self._disk_low():
            reasons.append("disk")
        return "low on " + " & ".join(reasons) if reasons else ""

    def resident_bytes(self) -> int:
        return int(os.pread(self.statm, 128, 0).split()[1]) * PAGE

    def _disk_low(self) -> bool:
        if self.directory is None:
            return False
        disk = os.statvfs(self.directory)
        return disk.f_bavail * disk.f_frsize < self.disk_bytes
