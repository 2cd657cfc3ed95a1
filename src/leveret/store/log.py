"""The log's files: segments of blocks, each block verified, none of them understood.

    log/<segment id, 16 hex digits>.seg

A segment begins with a header in a sector of its own; the id is its epoch and is never used again:

    0                8         10   12   16              32              40              48             56       60
    +----------------+---------+----+----+---------------+---------------+---------------+--------------+--------+
    | "LEVERETL"     | version | 0  | 0  | store id (16) | segment id    | writer id     | size bytes   | crc32  |
    +----------------+---------+----+----+---------------+---------------+---------------+--------------+--------+

Blocks follow from byte 512 on, each at a multiple of 64:

    0         4         8               16              24              32        36        40
    +---------+---------+---------------+---------------+---------------+---------+---------+---- - - -
    | "LVBK"  | length  | block number  | segment id    | writer id     | flags   | crc32   | payload
    +---------+---------+---------------+---------------+---------------+---------+---------+---- - - -

crc32 is over the header's other fields and the payload. Block numbers go on over segments and restarts without a
gap; each start begins a segment of its own, with a writer id of its own that nobody outside can know.

Only the last block of the log can be torn: there is one writer, and it syncs a block before it begins the next. So
where a segment ends (zeros, or a block of another segment that the file was recycled from) nothing valid of this
segment may follow, and the next segment begins with the very next number; anything else is damage. What cannot be
told apart is a last block that is torn from one that was damaged later, as long as nothing was written after it; a
clean stop is itself a last block, so after one every flipped bit is found or is in that block, where it is harmless.

To change the format: raise FORMAT_VERSION, keep reading the old one, and keep a directory of each version in tests.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from typing import Final

from leveret.errors import Damaged, StoreError
from leveret.native import i64
from leveret.seams import Log
from leveret.store.disk import Disk

FORMAT_VERSION: Final = 1
DIRECTORY: Final = "log"
SEGMENT_MAGIC: Final = b"LEVERETL"
BLOCK_MAGIC: Final = b"LVBK"
SEGMENT_HEADER: Final = struct.Struct(">8sHHI16sQQQ")
BLOCK_HEADER: Final = struct.Struct(">4sIQQQI")  # and the crc32
CRC: Final = struct.Struct(">I")
HEADER_BYTES: Final = 40
START: Final = 512
ALIGN: Final = 64
SPARES: Final = 2
FIRST_FILL_BYTES: Final = 1 << 20
FILL_BYTES: Final = 1 << 20
FILL_AHEAD_BYTES: Final = 8 << 20


def segment_name(segment: int) -> str:
    return f"{DIRECTORY}/{segment:016x}.seg"


class FileLog(Log):
    """append, and trim with it, belong to one thread, prepare to another; the rest is for before and after."""

    def __init__(self, disk: Disk, segment_bytes: int, writer: int = 0) -> None:
        self.disk = disk
        self.segment_bytes = segment_bytes
        self.writer = writer if writer else int.from_bytes(os.urandom(8), "big")
        self.store_id = b""
        self.segment = -1
        self.handle = -1
        self.at = 0
        self.filled = 0  # zeros are on disk up to here, in the segment being written
        self.guard = threading.Lock()  # between append and prepare
        self.failure = ""
        self.spares: list[str] = []
        self.spare_number = 0
        self.expected = -1  # while reading: the number of the next block
        disk.make_directory(DIRECTORY)
        disk.sync_directory("")
        for name in disk.names(DIRECTORY):
            if name.endswith(".tmp"):
                disk.remove(f"{DIRECTORY}/{name}")
            elif name.endswith(".spare"):
                self.spares.append(f"{DIRECTORY}/{name}")
                self.spare_number = max(self.spare_number, int(name[:8], 16) + 1)

    # ---- writing

    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        if self.failure:
            raise StoreError(f"the log failed before and takes nothing more: {self.failure}")
        try:
            if segment != self.segment:
                self._open(segment)
            length = 0
            for part in parts:
                length += len(part)
            head = BLOCK_HEADER.pack(BLOCK_MAGIC, length, seq, segment, self.writer, flags)
            crc = zlib.crc32(head)
            for part in parts:
                crc = zlib.crc32(part, crc)
            whole = [head, CRC.pack(crc)]
            whole.extend(parts)
            end = self.at + HEADER_BYTES + length
            padding = -end % ALIGN
            if padding:
                whole.append(bytes(padding))
            with self.guard:
                self.disk.write(self.handle, self.at, whole, True)
                self.at = end + padding
        except StoreError as error:
            self.failure = error.text
            raise

    def _open(self, segment: int) -> None:
        """Begin a segment: in a spare file if there is one, header and directory entry on disk before any block."""
        disk = self.disk
        name = segment_name(segment)
        with self.guard:
            if self.handle >= 0:
                disk.close(self.handle)
                self.handle = -1
            spare = self.spares.pop() if self.spares else ""
            self.filled = self.segment_bytes
            if spare:
                disk.rename(spare, name)
            self.handle = disk.create(name)
            if not spare:
                fill = min(FIRST_FILL_BYTES, self.segment_bytes)
                disk.write(self.handle, 0, [bytes(fill)], False)
                self.filled = fill
            head = SEGMENT_HEADER.pack(
                SEGMENT_MAGIC, FORMAT_VERSION, 0, 0, self._identity(), segment, self.writer, self.segment_bytes
            )
            disk.write(self.handle, 0, [head + CRC.pack(zlib.crc32(head))], True)
            disk.sync_directory(DIRECTORY)
            self.segment = segment
            self.at = START

    def _identity(self) -> bytes:
        if not self.store_id:
            self.store_id = os.urandom(16)
        return self.store_id

    def prepare(self) -> bool:
        """Fill more of the segment with zeros, or make a spare. True while there is more to do."""
        with self.guard:
            if self.handle >= 0 and self.filled < self.segment_bytes:
                ahead = self.at + FILL_AHEAD_BYTES
                if self.filled < ahead and self.at > self.filled:
                    self.filled = ahead - ahead % FILL_BYTES  # the writer is here already
                size = min(FILL_BYTES, self.segment_bytes - self.filled)
                if size > 0:
                    self.disk.write(self.handle, self.filled, [bytes(size)], False)
                    self.filled += size
                return True
            if len(self.spares) >= SPARES:
                return False
            number = self.spare_number
            self.spare_number += 1
        self._make_spare(number)
        return True

    def _make_spare(self, number: int) -> None:
        disk = self.disk
        name = f"{DIRECTORY}/{number:08x}.tmp"
        handle = disk.create(name)
        at = 0
        while at < self.segment_bytes:
            size = min(FILL_BYTES, self.segment_bytes - at)
            disk.write(handle, at, [bytes(size)], False)
            at += size
        disk.sync(handle)
        disk.close(handle)
        spare = f"{DIRECTORY}/{number:08x}.spare"
        disk.rename(name, spare)
        disk.sync_directory(DIRECTORY)
        with self.guard:
            self.spares.append(spare)

    def trim(self, keep_from: int) -> None:
        """Segments before this one are not needed: they become spares, as many as are wanted, or go."""
        changed = False
        for segment in self.segments():
            if segment >= keep_from or segment == self.segment:
                continue
            changed = True
            with self.guard:
                number = self.spare_number
                self.spare_number += 1
                keep = len(self.spares) < SPARES
            if keep:
                spare = f"{DIRECTORY}/{number:08x}.spare"
                self.disk.rename(segment_name(segment), spare)
                with self.guard:
                    self.spares.append(spare)
            else:
                self.disk.remove(segment_name(segment))
        if changed:
            self.disk.sync_directory(DIRECTORY)

    def close(self) -> None:
        if self.handle >= 0:
            self.disk.close(self.handle)
            self.handle = -1

    # ---- reading

    def segments(self) -> list[int]:
        return [int(name[:16], 16) for name in self.disk.names(DIRECTORY) if name.endswith(".seg")]

    def read(self, segment: int) -> list[tuple[int, int, bytes]]:
        """The verified blocks of a segment: (number, flags, payload). Read segments in order. Raises Damaged."""
        name = segment_name(segment)
        data = self.disk.read(name)
        writer = self._check_header(name, segment, data)
        if writer < 0:
            return []
        blocks: list[tuple[int, int, bytes]] = []
        at: i64 = START
        size: i64 = len(data)
        while True:
            found = self._block(data, at, size, segment)
            if found is None:
                break
            seq, flags, length, its_writer = found
            if its_writer != writer:
                raise Damaged("a block of a second writer", name, int(at))
            if self.expected >= 0 and seq != self.expected:
                raise Damaged(f"block {self.expected} is missing: block {seq} follows", name, int(at))
            self.expected = seq + 1
            start = at + HEADER_BYTES
            end = start + i64(length)
            blocks.append((seq, flags, data[start:end]))
            at = end + (-end % ALIGN)
        self._check_rest(name, segment, data, at)
        return blocks

    def _check_header(self, name: str, segment: int, data: bytes) -> int:
        """The segment's writer, or -1 if the segment was never begun."""
        good = False
        if len(data) >= START:
            head = data[: SEGMENT_HEADER.size]
            magic, version, _, _, store_id, number, writer, _ = SEGMENT_HEADER.unpack(head)
            (crc,) = CRC.unpack_from(data, SEGMENT_HEADER.size)
            good = magic == SEGMENT_MAGIC and crc == zlib.crc32(head)
            if good and version > FORMAT_VERSION:
                raise StoreError(f"format version {version} is newer than this broker's {FORMAT_VERSION}", name)
            if good and number == segment:
                if self.store_id and self.store_id != store_id:
                    raise Damaged("a segment of another store", name, 0)
                self.store_id = store_id
                return int(writer)
        # Never begun, or begun and cut off by a power failure: then it has no blocks of its own.
        at = data.find(BLOCK_MAGIC, START)
        while at >= 0:
            if at % ALIGN == 0 and self._block(data, at, len(data), segment) is not None:
                raise Damaged("the header of a segment with blocks in it is damaged", name, 0)
            at = data.find(BLOCK_MAGIC, at + 1)
        return -1

    def _block(self, data: bytes, at: i64, size: i64, segment: int) -> tuple[int, int, int, int] | None:
        """(number, flags, length, writer) of the valid block of this segment at `at`, if there is one."""
        if at + HEADER_BYTES > size or data[at : at + 4] != BLOCK_MAGIC:
            return None
        head = data[at : at + BLOCK_HEADER.size]
        _, length, seq, owner, writer, flags = BLOCK_HEADER.unpack(head)
        start = at + HEADER_BYTES
        if owner != segment or start + i64(length) > size:
            return None
        (crc,) = CRC.unpack_from(data, int(at) + BLOCK_HEADER.size)
        if zlib.crc32(data[start : start + i64(length)], zlib.crc32(head)) != crc:
            return None
        return int(seq), int(flags), int(length), int(writer)

    def _check_rest(self, name: str, segment: int, data: bytes, end: i64) -> None:
        """Nothing valid of this segment may follow where it ends."""
        at = data.find(BLOCK_MAGIC, int(end) + 1)
        while at >= 0:
            if at % ALIGN == 0 and self._block(data, at, len(data), segment) is not None:
                raise Damaged(f"block {self.expected} is damaged: a later one follows it", name, int(end))
            at = data.find(BLOCK_MAGIC, at + 1)
