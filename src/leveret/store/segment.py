"""What a segment file looks like, and how one is verified: bytes in, blocks or damage out. Writes nothing.

    log/<segment id, 16 hex digits>.seg

All numbers are big endian. A segment begins with a header in a 512-byte sector of its own. The id is the segment's
epoch: it only rises, and none is used twice. `first` is the number of the first block that may be in it.

    0        8         12   16        24        32        40        48              64            508     512
    +--------+---------+----+---------+---------+---------+---------+---------------+------ - - ---+-------+
    |LEVERETL| version | 0  | segment | writer  | first   | size    | store id (16) | zeros        | crc32 |
    +--------+---------+----+---------+---------+---------+---------+---------------+------ - - ---+-------+

Blocks follow from byte 512 on, each at a multiple of 64 bytes, padded with zeros that nobody reads:

    0        8         16        24        32       36      40            44           48
    +--------+---------+---------+---------+--------+-------+-------------+------------+---- - - - ---+
    |LEVBLOCK| segment | writer  | number  | length | flags | payload crc | header crc | payload      |
    +--------+---------+---------+---------+--------+-------+-------------+------------+---- - - - ---+

The header crc covers the 44 bytes before it. Numbers go on over segments and restarts without a gap. A seal (flag)
has no payload and the number of the block that comes next: a clean stop writes it, so that something follows the
last block. Each opening of a log begins a segment of its own and has a writer id of its own that nobody outside
knows, so nobody can send a message that looks like a later block.

Where a segment ends: at the first place that holds no whole block of this segment: zeros, what an older segment left
in a recycled file, or a block that was torn. What may be torn is the last block of the log alone: there is one
writer, it syncs each block before it begins the next, and a header is synced before its file is called `.seg`. So:

* a block header of the same segment with a higher number anywhere behind the end is damage;
* the next segment's `first` has to be the very number that is expected at the end, anything else is damage;
* a header that does not verify is damage; so is a writer id that is not the header's (a second writer).

What a flipped bit does, by where it is:

* in any block that another block, a seal or a later segment follows, in a header, in the identity: found;
* in padding, behind the end, in a seal itself: harmless, nothing there means anything;
* in the last block after a crash, before the next start has written anything: taken for a torn block and dropped,
  since the two cannot be told apart. A clean stop, and the first block of the next start, end that window.

The other thing that cannot be seen here is the newest segment files being removed. (The oldest that a checkpoint
needs are missed by whoever reads the checkpoint.)

Blocks are at multiples of 64 and not of 512 or 4,096, since the speed of a synced write is the same (measured on
ext4/NVMe: 10-11 thousand a second each), the kernel writes whole 4,096-byte pages anyway, and small blocks leave
three times as much room.

To change the format: raise FORMAT_VERSION, keep a reader of the old version here for one release, and add a store of
the old version to tests/store/test_versions.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from leveret.errors import Damaged, StoreError
from leveret.native import i64
from leveret.seams import Blocks

FORMAT_VERSION: Final = 2  # what has changed is in records.py
SEGMENT_MAGIC: Final = b"LEVERETL"
BLOCK_MAGIC: Final = b"LEVBLOCK"
SEGMENT_HEADER: Final = struct.Struct(">8sIIQQQQ16s444xI")
BLOCK_HEADER: Final = struct.Struct(">8sQQQIIII")
KEY: Final = struct.Struct(">8sQ")
CRC: Final = struct.Struct(">I")
SEGMENT_DATA_START: Final = 512
HEADER_BYTES: Final = 48
ALIGN: Final = 64
CRC_AT: Final = 44

SEAL: Final = 1 << 31  # flag of a block; those below are the caller's

# How a segment can end.
FULL: Final = "full"
ZEROS: Final = "zeros"
RECYCLED: Final = "recycled"  # a block of an older segment
SEALED: Final = "sealed"
TORN: Final = "torn"  # or the rest of a recycled file: the two cannot be told apart


def block_bytes(payload_bytes: int) -> int:
    """The room that a block takes in its segment."""
    whole = HEADER_BYTES + payload_bytes
    return whole + -whole % ALIGN


def segment_header(segment: int, writer: int, first: int, size_bytes: int, store_id: bytes) -> bytes:
    head = SEGMENT_HEADER.pack(
        SEGMENT_MAGIC, FORMAT_VERSION, 0, segment, writer, first, size_bytes, store_id, 0
    )
    return head[:-4] + CRC.pack(zlib.crc32(head[:-4]))


def block_header(segment: int, writer: int, number: int, length: int, flags: int, crc: int) -> bytes:
    head = BLOCK_HEADER.pack(BLOCK_MAGIC, segment, writer, number, length, flags, crc, 0)[:CRC_AT]
    return head + CRC.pack(zlib.crc32(head))


class SegmentHeader:
    def __init__(self, segment: int, writer: int, first: int, size_bytes: int, store_id: bytes) -> None:
        self.segment = segment
        self.writer = writer
        self.first = first
        self.size_bytes = size_bytes
        self.store_id = store_id


def read_segment_header(name: str, segment: int, data: bytes) -> SegmentHeader:
    """Raises Damaged, or StoreError for a newer format."""
    if len(data) < SEGMENT_DATA_START:
        raise Damaged("the segment is cut short in its header", name, len(data))
    magic, version, _, number, writer, first, size, store_id, crc = SEGMENT_HEADER.unpack(
        data[:SEGMENT_DATA_START]
    )
    if magic != SEGMENT_MAGIC or zlib.crc32(data[: SEGMENT_DATA_START - 4]) != crc:
        raise Damaged("the segment's header is damaged", name, 0)
    if version > FORMAT_VERSION:
        raise StoreError(f"format version {version} is newer than this broker's, {FORMAT_VERSION}", name)
    if number != segment:
        raise Damaged(f"the file holds segment {number}", name, 0)
    return SegmentHeader(number, writer, first, size, store_id)


class Scan(Blocks):
    """What a segment holds; next_number: what is expected at `end`. It keeps the segment's bytes."""

    def __init__(self, name: str, header: SegmentHeader, data: bytes) -> None:
        self.name = name
        self.header = header
        self.data = data
        self.offsets: list[int] = []  # of the blocks
        self.end: i64 = SEGMENT_DATA_START
        self.next_number: i64 = header.first
        self.tail = FULL
        self.damage: list[Damaged] = []

    def count(self) -> int:
        return len(self.offsets)

    def block(self, i: int) -> tuple[int, int, bytes]:
        """(number, flags, payload)"""
        start = self.offsets[i]
        _, _, _, number, length, flags, _, _ = BLOCK_HEADER.unpack_from(self.data, start)
        return number, flags, self.data[start + HEADER_BYTES : start + HEADER_BYTES + length]

    def find(self, known: int) -> None:
        """Find so many blocks, which have been verified before."""
        at: i64 = self.end
        while len(self.offsets) < known:
            _, _, _, _, length, _, _, _ = BLOCK_HEADER.unpack_from(self.data, int(at))
            self.offsets.append(int(at))
            at += block_bytes(length)
        self.end = at
        self.next_number += known

    def run(self, salvage: bool) -> None:
        """Find all blocks; stop at damage, or go on behind it to salvage what is readable."""
        data = self.data
        self._walk(data)
        while True:
            later = self._later(data)
            if later < 0:
                return
            number, what = later_block(data, later)
            if not self.damage or self.damage[-1].offset_bytes != self.end:  # _walk may have said so already
                text = (
                    f"block {self.next_number} is damaged or missing: {what} {number} follows at byte {later}"
                )
                self.damage.append(Damaged(text, self.name, int(self.end)))
            if not salvage:
                return
            self.end = later
            self.next_number = number
            self._walk(data)

    def _walk(self, data: bytes) -> None:
        """Take whole blocks in order from `end` on."""
        segment = self.header.segment
        size: i64 = len(data)
        at = self.end
        view = memoryview(data)
        while True:
            self.end = at
            if at + HEADER_BYTES > size:
                self.tail = FULL
                return
            magic, owner, writer, number, length, flags, crc, _ = BLOCK_HEADER.unpack_from(data, int(at))
            if magic != BLOCK_MAGIC or not header_verifies(data, at):
                self.tail = TORN if data[at : at + HEADER_BYTES].strip(b"\0") else ZEROS
                return
            if owner != segment:
                self.tail = RECYCLED
                return
            if writer != self.header.writer:
                self.damage.append(Damaged(f"a second writer wrote block {number}", self.name, int(at)))
                return
            if number != self.next_number:
                text = f"block {self.next_number} is missing: block {number} is in its place"
                self.damage.append(Damaged(text, self.name, int(at)))
                return
            if flags & SEAL:
                self.tail = SEALED
                return
            start = at + HEADER_BYTES
            end = start + i64(length)
            if end > size or zlib.crc32(view[start:end]) != crc:
                self.tail = TORN
                return
            self.offsets.append(int(at))
            self.next_number += 1
            at = end + (-end % ALIGN)

    def _later(self, data: bytes) -> i64:
        """Where behind the end a later block of this segment begins, or -1.

        Blocks in front of the end may be quoted in a torn payload (somebody sent the log as a message), later ones
        cannot be: hence the comparison of numbers.
        """
        key = KEY.pack(BLOCK_MAGIC, self.header.segment)
        at = data.find(key, int(self.end) + 1)
        while at >= 0:
            if at % ALIGN == 0 and at + HEADER_BYTES <= len(data) and header_verifies(data, at):
                number, _ = later_block(data, at)
                if number > self.next_number or (number == self.next_number and self.tail == SEALED):
                    return at
            at = data.find(key, at + 1)
        return -1


def header_verifies(data: bytes, at: i64) -> bool:
    (crc,) = CRC.unpack_from(data, int(at) + CRC_AT)
    return bool(crc == zlib.crc32(data[at : at + CRC_AT]))


def later_block(data: bytes, at: i64) -> tuple[int, str]:
    _, _, _, number, _, flags, _, _ = BLOCK_HEADER.unpack_from(data, int(at))
    return int(number), "the seal before block" if flags & SEAL else "block"
