"""What the disk under a directory can do by itself, measured beside the brokers, since it changes by the hour."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

SMALL_BYTES = 4096
LARGE_BYTES = 4 << 20
FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class Disk:
    syncs_per_s: float  # 4 KB writes, each with fdatasync
    sync_p50_ms: float
    stream_mb_per_s: float  # 4 MB writes, each with fdatasync


def measure(directory: Path, seconds: float = 1.0) -> Disk:
    """Writes go to a file that was filled before, as a broker's log does: a growing file is slower."""
    path = directory / "disk-probe"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for at in range(0, FILE_BYTES, LARGE_BYTES):
            os.pwrite(fd, bytes(LARGE_BYTES), at)
        os.fsync(fd)
        small = _times(fd, b"s" * SMALL_BYTES, seconds)
        large = _times(fd, b"l" * LARGE_BYTES, seconds)
    finally:
        os.close(fd)
        path.unlink()
    return Disk(
        syncs_per_s=len(small) / sum(small),
        sync_p50_ms=statistics.median(small) * 1e3,
        stream_mb_per_s=len(large) * LARGE_BYTES / 1e6 / sum(large),
    )


def _times(fd: int, block: bytes, seconds: float) -> list[float]:
    taken: list[float] = []
    at = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not taken:
        start = time.perf_counter()
        os.pwrite(fd, block, at)
        os.fdatasync(fd)
        taken.append(time.perf_counter() - start)
        at = (at + len(block)) % FILE_BYTES
    return taken
