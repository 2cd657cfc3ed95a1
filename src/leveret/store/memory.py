"""The seams of the store with nothing on disk: the same promises, for as long as the process lives."""

from __future__ import annotations

from leveret.errors import Bug, StoreError
from leveret.seams import Blocks, Log, Pages


class MemoryBlocks(Blocks):
    def __init__(self, found: list[tuple[int, int, bytes]]) -> None:
        self.found = found

    def count(self) -> int:
        return len(self.found)

    def block(self, i: int) -> tuple[int, int, bytes]:
        return self.found[i]


class MemoryLog(Log):
    def __init__(self) -> None:
        self.kept: dict[int, list[tuple[int, int, bytes]]] = {}
        self.segment = -1  # the one being written
        self.next_number = -1
        self.closed = False

    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        if self.closed:
            raise StoreError("the log takes nothing more: it is closed")
        if self.next_number >= 0 and seq != self.next_number:
            raise Bug(f"block {seq} was to follow block {self.next_number - 1}")
        if segment != self.segment:
            if segment <= max(self.kept, default=-1):
                raise Bug(f"segment {segment} was to be begun after a later one")
            self.segment = segment
            self.kept[segment] = []
        self.kept[segment].append((seq, flags, b"".join(parts)))
        self.next_number = seq + 1

    def segments(self) -> list[int]:
        return sorted(self.kept)

    def blocks(self, segment: int, known: int) -> Blocks:
        return MemoryBlocks(list(self.kept[segment]))

    def trim(self, keep_from: int) -> None:
        for segment in self.segments():
            if segment < keep_from and segment != self.segment:
                del self.kept[segment]

    def prepare(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class MemoryPages(Pages):
    def __init__(self) -> None:
        self.files: dict[tuple[int, int], bytes] = {}

    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        self.files[(queue, base)] = b"".join(parts)

    def get(self, queue: int, base: int) -> bytes:
        content = self.files.get((queue, base))
        if content is None:
            raise StoreError(f"there is no page {base} of lane {queue}")
        return content

    def delete(self, queue: int, base: int) -> None:
        self.files.pop((queue, base), None)

    def delete_queue(self, queue: int) -> None:
        for key in [k for k in self.files if k[0] == queue]:
            del self.files[key]

    def sync_directories(self) -> None:
        pass

    def list(self) -> list[tuple[int, int]]:
        return sorted(self.files)
