"""Makes logs and pages of every kind for tests, and a model of what a log may hold after a crash."""

from __future__ import annotations

import random
from pathlib import Path

from leveret.errors import StoreError
from leveret.seams import Log, Pages
from leveret.store.disk import Disk, RealDisk
from leveret.store.log import FileLog
from leveret.store.memory import MemoryLog, MemoryPages
from leveret.store.pages import FilePages
from leveret.store.segment import block_bytes
from tests.store.simdisk import PowerLoss, SimDisk

SEGMENT_BYTES = 4_096
KINDS = ("real", "sim", "memory")


class Place:
    """One place to keep things in; `open` again is a restart. Memory forgets when it is asked to open again."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.disk: Disk = RealDisk(str(path)) if kind == "real" else SimDisk()
        self.memory_log = MemoryLog()
        self.memory_pages = MemoryPages()

    def log(self) -> Log:
        return self.memory_log if self.kind == "memory" else FileLog(self.disk, SEGMENT_BYTES)

    def pages(self) -> Pages:
        return self.memory_pages if self.kind == "memory" else FilePages(self.disk)


def read_all(log: Log) -> list[tuple[int, int, bytes]]:
    return [block for segment in log.segments() for block in read_segment(log, segment)]


def read_segment(log: Log, segment: int) -> list[tuple[int, int, bytes]]:
    blocks = log.blocks(segment, -1)
    found = [blocks.block(i) for i in range(blocks.count())]
    again = log.blocks(segment, len(found))
    assert found == [again.block(i) for i in range(again.count())]
    return found


class Model:
    """What was appended to a log over many lives of its process, and what of it may be found again.

    sure: on disk, by the log's word. maybe: appended last, in order; any first part of it may be there.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sure: list[tuple[int, int, bytes]] = []
        self.maybe: list[tuple[int, int, bytes]] = []
        self.segment_of: dict[int, int] = {}
        self.keep_from = 0
        self.next = 1
        self.segment = 0
        self.used = SEGMENT_BYTES

    def restart(self, log: Log) -> None:
        """Check what a new process finds, and go on behind it."""
        found = read_all(log)
        needed = [block for block in self.sure if self.segment_of[block[0]] >= self.keep_from]
        whole = self.sure + self.maybe
        if found:
            start = next(i for i, block in enumerate(whole) if block[0] == found[0][0])
            assert found == whole[start : start + len(found)]
        last = found[-1][0] if found else 0
        if needed:
            assert found
            assert found[0][0] <= needed[0][0]
            assert last >= needed[-1][0]
        self.maybe = [block for block in self.maybe if block[0] <= last]
        self.next = max([last, *(block[0] for block in self.sure)]) + 1
        self.segment = max(log.segments(), default=0)
        self.used = SEGMENT_BYTES

    def append(self, log: Log, size: int) -> None:
        room = block_bytes(size)
        roll = self.used + room > SEGMENT_BYTES - 512
        if roll:
            self.segment += 1
            self.used = 0
        self.used += room
        block = (self.next, self.rng.randrange(2), self.rng.randbytes(size))
        self.segment_of[self.next] = self.segment
        self.next += 1
        self.maybe.append(block)
        cut = self.rng.randrange(size + 1)
        log.append(self.segment, block[0], block[1], [block[2][:cut], block[2][cut:]])
        self.sure += self.maybe
        self.maybe = []

    def trim(self, log: Log) -> None:
        self.keep_from = max(self.keep_from, self.segment - 1)
        log.trim(self.keep_from)

    def live(self, log: Log, steps: int) -> None:
        """Some steps of a process's life."""
        rng = self.rng
        for _ in range(steps):
            what = rng.randrange(10)
            if what < 7:
                self.append(log, rng.choice((0, 1, 15, 16, 17, 100, 464, 700, 1_500)))
            elif what < 9:
                log.prepare()
            else:
                self.trim(log)


__all__ = [
    "KINDS",
    "SEGMENT_BYTES",
    "Model",
    "Place",
    "PowerLoss",
    "SimDisk",
    "StoreError",
    "read_all",
    "read_segment",
]
