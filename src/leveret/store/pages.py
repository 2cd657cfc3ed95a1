"""Page files: what waits long, one file a page, verified as a whole and not understood.

    pages/<lane, 16 hex digits>/<first sequence number, 16 hex digits>.page
    pages/incoming-N    a page being written: it gets its name when it is whole and on disk

    0        8         12   16        24        32        40            44           48
    +--------+---------+----+---------+---------+---------+-------------+------------+---- - - - ---+
    |LEVERETP| version | 0  | lane    | first   | length  | content crc | header crc | content      |
    +--------+---------+----+---------+---------+---------+-------------+------------+---- - - - ---+

The header crc covers the 44 bytes before it, and the file ends with the content: every flipped bit and every cut is
found. A file counts only when the log says so; one that the log does not know is a put or a delete that a crash came
between, and is deleted by whoever read the log. Version 1 has contents without terms (core/page.py), and is read as it
is. To change the format: as in segment.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from leveret.errors import Damaged, StoreError
from leveret.seams import Pages
from leveret.store.disk import Disk
from leveret.store.reader import number_in

FORMAT_VERSION: Final = 2
DIRECTORY: Final = "pages"
INCOMING: Final = "pages/incoming"
MAGIC: Final = b"LEVERETP"
HEADER: Final = struct.Struct(">8sIIQQQII")
CRC: Final = struct.Struct(">I")
HEADER_BYTES: Final = 48
CRC_AT: Final = 44


def lane_directory(lane: int) -> str:
    return f"{DIRECTORY}/{lane:016x}"


def page_name(lane: int, base: int) -> str:
    return f"{DIRECTORY}/{lane:016x}/{base:016x}.page"


class FilePages(Pages):
    """One thread puts and deletes. The caller sees to it that there is room."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.known: set[int] = set()  # lanes whose directory is there, and is on disk
        self.written: list[tuple[int, int, int]] = []  # not on disk yet: handle, lane, base
        disk.make_directory(DIRECTORY)
        disk.sync_directory("")

    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        """Write a page. With `sync` it is on disk on return, name and all; without, after `sync_directories`."""
        disk = self.disk
        if queue not in self.known:
            disk.make_directory(lane_directory(queue))
            disk.sync_directory(DIRECTORY)
            self.known.add(queue)
        length = 0
        crc = 0
        for part in parts:
            length += len(part)
            crc = zlib.crc32(part, crc)
        head = HEADER.pack(MAGIC, FORMAT_VERSION, 0, queue, base, length, crc, 0)[:CRC_AT]
        name = f"{INCOMING}-{len(self.written)}"
        disk.remove(name)
        handle = disk.create(name)
        try:
            disk.write(handle, 0, [head, CRC.pack(zlib.crc32(head)), *parts], False)
        except StoreError:
            disk.close(handle)
            raise
        self.written.append((handle, queue, base))
        if sync:
            self.sync_directories()

    def sync_directories(self) -> None:
        """Bring all pages put without `sync` to disk, names and all. Together they cost little more than one."""
        disk = self.disk
        written = self.written
        self.written = []
        failure: StoreError | None = None
        for handle, _, _ in written:
            if handle < 0:
                continue
            try:
                if failure is None:
                    disk.sync(handle)
            except StoreError as error:
                failure = error
            disk.close(handle)
        if failure is not None:
            raise failure
        lanes: set[int] = set()
        for i in range(len(written)):
            handle, queue, base = written[i]
            if handle < 0:
                continue
            disk.rename(f"{INCOMING}-{i}", page_name(queue, base))
            lanes.add(queue)
        for queue in sorted(lanes):
            disk.sync_directory(lane_directory(queue))

    def get(self, queue: int, base: int) -> bytes:
        """A page's content, verified. Raises Damaged, naming the file and the byte."""
        name = page_name(queue, base)
        return verified(name, queue, base, self.disk.read(name))

    def delete(self, queue: int, base: int) -> None:
        """None there is fine. Not synced: a page that comes back after a power failure is not known to the log."""
        self.disk.remove(page_name(queue, base))

    def delete_queue(self, queue: int) -> None:
        for i in range(len(self.written)):  # those on their way go nowhere
            handle, lane, base = self.written[i]
            if lane == queue and handle >= 0:
                self.disk.close(handle)
                self.written[i] = (-1, lane, base)
        directory = lane_directory(queue)
        for name in self.disk.names(directory):
            self.disk.remove(f"{directory}/{name}")
        self.disk.remove_directory(directory)
        self.known.discard(queue)

    def list(self) -> list[tuple[int, int]]:
        """(queue, base) of every page, in order."""
        return list_pages(self.disk)


def list_pages(disk: Disk) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for directory in disk.names(DIRECTORY):
        lane = number_in(directory, "")
        if lane < 0:
            continue
        for name in disk.names(f"{DIRECTORY}/{directory}"):
            base = number_in(name, ".page")
            if base >= 0:
                found.append((lane, base))
    return found


def verified(name: str, queue: int, base: int, data: bytes) -> bytes:
    """The content of a page file's bytes. Raises Damaged, or StoreError for a newer format."""
    if len(data) < HEADER_BYTES:
        raise Damaged("the page is cut short in its header", name, len(data))
    magic, version, _, lane, first, length, crc, head_crc = HEADER.unpack(data[:HEADER_BYTES])
    if magic != MAGIC or zlib.crc32(data[:CRC_AT]) != head_crc:
        raise Damaged("the page's header is damaged", name, 0)
    if version > FORMAT_VERSION:
        raise StoreError(f"format version {version} is newer than this broker's, {FORMAT_VERSION}", name)
    if lane != queue or first != base:
        raise Damaged(f"the file holds page {first} of lane {lane}", name, 0)
    if len(data) != HEADER_BYTES + length:
        raise Damaged(f"the page has {len(data) - HEADER_BYTES} bytes, not {length}", name, len(data))
    content = data[HEADER_BYTES:]
    if zlib.crc32(content) != crc:
        raise Damaged("the page's content is damaged", name, HEADER_BYTES)
    return content
