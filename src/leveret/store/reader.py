"""Reads a log's files and verifies them, one segment and what follows it at a time. Changes nothing.

The format of a segment is segment.py's business; this knows which files there are and how they must fit together.
The store's identity is in `store.json` beside them: one line, exactly as `identity_bytes` writes it.
"""

from __future__ import annotations

from typing import Final

from leveret.errors import Damaged
from leveret.store.disk import Disk
from leveret.store.segment import FORMAT_VERSION, SEGMENT_DATA_START, Scan, SegmentHeader, read_segment_header

DIRECTORY: Final = "log"
IDENTITY: Final = "store.json"
HEX: Final = frozenset("0123456789abcdef")


def segment_name(segment: int) -> str:
    return f"{DIRECTORY}/{segment:016x}.seg"


def number_in(name: str, suffix: str, digits: int = 16) -> int:
    """The number that a file's name stands for, or -1 if it is not one of ours."""
    if len(name) != digits + len(suffix) or not name.endswith(suffix) or not HEX.issuperset(name[:digits]):
        return -1
    return int(name[:digits], 16)


def identity_bytes(store_id: bytes, version: int = FORMAT_VERSION) -> bytes:
    """The format is that of the broker which began the store; each segment and page has its own."""
    return f'{{"leveret": "store", "format": {version}, "id": "{store_id.hex()}"}}\n'.encode()


def read_identity(disk: Disk) -> bytes:
    """The store's 16 bytes, or none if the directory has no identity yet. Raises Damaged."""
    if IDENTITY not in disk.names(""):
        return b""
    data = disk.read(IDENTITY)
    digits = data[-35:-3].decode("ascii", "replace")
    if len(digits) == 32 and HEX.issuperset(digits):
        store_id = bytes.fromhex(digits)
        for version in range(1, FORMAT_VERSION + 1):
            if data == identity_bytes(store_id, version):
                return store_id
    raise Damaged(f"not an identity of a format up to {FORMAT_VERSION}", IDENTITY, 0)


class LogReader:
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.store_id = b""  # known after `identify`
        self.last = (-1, 0, 0)  # the segment read last, and where its last block begins and ends

    def identify(self) -> None:
        """Learn which store this is. Raises Damaged, also if identity and log cannot be of one store."""
        store_id = read_identity(self.disk)
        present = self.segments()
        if store_id and not present:
            raise Damaged("the log is gone: the store has an identity and no segment", DIRECTORY)
        # The identity is on disk before the first block: without it there is a first segment at most, and empty.
        if present and not store_id and (len(present) > 1 or self.scan(present[0], False).offsets):
            raise Damaged("the identity is missing and the log has blocks", IDENTITY)
        self.store_id = store_id

    def segments(self) -> list[int]:
        found: list[int] = []
        for name in self.disk.names(DIRECTORY):
            segment = number_in(name, ".seg")
            if segment >= 0:
                found.append(segment)
        found.sort()
        return found

    def header(self, segment: int) -> SegmentHeader:
        name = segment_name(segment)
        header = read_segment_header(name, segment, self.disk.read_at(name, 0, SEGMENT_DATA_START))
        self._same_store(name, header)
        return header

    def scan(self, segment: int, salvage: bool) -> Scan:
        """All that is in one segment. What is damaged is in `damage`; a header that is raises Damaged."""
        name = segment_name(segment)
        data = self.disk.read(name)
        header = read_segment_header(name, segment, data)
        self._same_store(name, header)
        scan = Scan(name, header, data)
        scan.run(salvage)
        if not scan.damage:
            self._fits(segment, scan)
        return scan

    def blocks(self, segment: int) -> Scan:
        """The blocks of a segment. Raises Damaged, naming file and byte."""
        scan = self.scan(segment, False)
        if scan.damage:
            raise scan.damage[0]
        self.last = (segment, scan.offsets[-1] if scan.offsets else int(scan.end), int(scan.end))
        return scan

    def blocks_again(self, segment: int, known: int) -> Scan:
        """So many blocks of a segment, all of which have been verified."""
        name = segment_name(segment)
        data = self.disk.read(name)
        scan = Scan(name, read_segment_header(name, segment, data), data)
        scan.find(known)
        return scan

    def last_block(self, segment: int) -> tuple[int, int]:
        """Where the last block of a segment begins and ends; the same if it has none."""
        if self.last[0] != segment:
            self.blocks(segment)
        return self.last[1], self.last[2]

    def _same_store(self, name: str, header: SegmentHeader) -> None:
        if self.store_id and header.store_id != self.store_id:
            raise Damaged("the segment belongs to another store", name, 0)

    def _fits(self, segment: int, scan: Scan) -> None:
        """The next segment has to begin with the number that is expected where this one ends."""
        for later in self.segments():
            if later > segment:
                try:
                    first = self.header(later).first
                except Damaged as error:
                    scan.damage.append(error)
                    return
                if first != scan.next_number:
                    text = f"block {scan.next_number} is missing: segment {later} begins with block {first}"
                    scan.damage.append(Damaged(text, scan.name, int(scan.end)))
                return
