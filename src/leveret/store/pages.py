"""Page files: what waits long, one file a page, verified as a whole and not understood.

    pages/<lane, 16 hex digits>/<first sequence number, 16 hex digits>.page

    0                8         10   12   16              24              32              40      44
    +----------------+---------+----+----+---------------+---------------+---------------+-------+---- - - -
    | "LEVERETP"     | version | 0  | 0  | lane          | first         | length        | crc32 | content
    +----------------+---------+----+----+---------------+---------------+---------------+-------+---- - - -

crc32 is over the header's other fields and the content. A file counts only when the log says so, so one that was
cut off by a power failure is never read. To change the format: as in log.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from leveret.errors import Damaged, StoreError
from leveret.seams import Pages
from leveret.store.disk import Disk

FORMAT_VERSION: Final = 1
DIRECTORY: Final = "pages"
MAGIC: Final = b"LEVERETP"
HEADER: Final = struct.Struct(">8sHHIQQQ")
CRC: Final = struct.Struct(">I")
HEADER_BYTES: Final = 44


def lane_directory(lane: int) -> str:
    return f"{DIRECTORY}/{lane:016x}"


def page_name(lane: int, base: int) -> str:
    return f"{DIRECTORY}/{lane:016x}/{base:016x}.page"


class FilePages(Pages):
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.known: set[int] = set()  # lanes whose directory is there, and is on disk
        disk.make_directory(DIRECTORY)
        disk.sync_directory("")

    def put(self, queue: int, base: int, parts: list[bytes], sync: bool) -> None:
        """Write a page. With `sync`, file and directory entry are on disk on return."""
        disk = self.disk
        if queue not in self.known:
            disk.make_directory(lane_directory(queue))
            disk.sync_directory(DIRECTORY)
            self.known.add(queue)
        length = 0
        for part in parts:
            length += len(part)
        head = HEADER.pack(MAGIC, FORMAT_VERSION, 0, 0, queue, base, length)
        crc = zlib.crc32(head)
        for part in parts:
            crc = zlib.crc32(part, crc)
        handle = disk.create(page_name(queue, base))
        try:
            disk.write(handle, 0, [head, CRC.pack(crc), *parts], sync)
        finally:
            disk.close(handle)
        if sync:
            disk.sync_directory(lane_directory(queue))

    def get(self, queue: int, base: int) -> bytes:
        """A page's content, verified. Raises Damaged."""
        name = page_name(queue, base)
        data = self.disk.read(name)
        if len(data) < HEADER_BYTES:
            raise Damaged("a page file is cut short", name, len(data))
        head = data[: HEADER.size]
        magic, version, _, _, lane, first, length = HEADER.unpack(head)
        if magic == MAGIC and version > FORMAT_VERSION:
            raise StoreError(f"format version {version} is newer than this broker's {FORMAT_VERSION}", name)
        if magic != MAGIC or lane != queue or first != base or HEADER_BYTES + length > len(data):
            raise Damaged("a page file's header is damaged", name, 0)
        content = data[HEADER_BYTES : HEADER_BYTES + length]
        if CRC.unpack_from(data, HEADER.size)[0] != zlib.crc32(content, zlib.crc32(head)):
            raise Damaged("a page file's content is damaged", name, HEADER_BYTES)
        return content

    def delete(self, queue: int, base: int) -> None:
        self.disk.remove(page_name(queue, base))

    def delete_queue(self, queue: int) -> None:
        directory = lane_directory(queue)
        for name in self.disk.names(directory):
            self.disk.remove(f"{directory}/{name}")
        self.disk.remove_directory(directory)
        self.known.discard(queue)

    def list(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for directory in self.disk.names(DIRECTORY):
            for name in self.disk.names(f"{DIRECTORY}/{directory}"):
                if name.endswith(".page"):
                    found.append((int(directory, 16), int(name[:16], 16)))
        return found
