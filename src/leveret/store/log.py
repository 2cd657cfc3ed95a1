"""The log's files: each block on disk when `append` returns, segments made ready beforehand and used again.

    store.json                         the identity; on disk before the first block is
    log/<segment id, 16 digits>.seg    header verified or damaged: it is synced before the file gets this name
    log/<number, 8 digits>.spare       zeros, or an old segment; what is in it is never trusted
    log/<number, 8 digits>.tmp         a spare being made; removed at the next start

What is inside a segment is in segment.py, how it is read in reader.py. This file knows order: what has to be on disk
before what. It knows nothing of the payloads.

Space: segments are filled with zeros (or recycled) before they are needed, so that the log goes on when the disk is
full. Whoever writes the log should stop taking new messages (settling may go on) while it is `short_of_room`, and roll
only after asking what is held in old segments to leave them, since that is what gives spares back. A block that does
not fit into its segment makes the file grow: slower, not wrong; a file that grew is not used again.
"""

from __future__ import annotations

import os
import threading
import zlib
from typing import Final

from leveret.errors import Bug, StoreError
from leveret.seams import Blocks, Log
from leveret.store.disk import Disk
from leveret.store.reader import DIRECTORY, IDENTITY, LogReader, identity_bytes, number_in, segment_name
from leveret.store.segment import (
    ALIGN,
    FORMAT_VERSION,
    HEADER_BYTES,
    SEAL,
    SEGMENT_DATA_START,
    block_bytes,
    block_header,
    segment_header,
)

SPARES: Final = 2
AHEAD_BYTES: Final = 16 << 20  # fills further ahead than this are not urgent
FILL_BYTES: Final = 1 << 20  # zeros written at once: about a millisecond in which no block is written
MAX_FLAGS: Final = SEAL - 1


class FileLog(Log):
    """`append` and `trim` belong to one thread, `prepare` to another; the rest is for before and after them.

    Once an operation of `append` or `trim` has failed nothing more is taken: what the kernel did with the pages of a
    failed sync cannot be known, so trying again could call durable what is not.
    """

    def __init__(self, disk: Disk, segment_bytes: int, writer: int = 0) -> None:
        self.disk = disk
        self.segment_bytes = segment_bytes
        self.writer = writer if writer else int.from_bytes(os.urandom(8), "big")
        self.segment = -1  # the one being written
        self.handle = -1
        self.at = 0
        self.filled = 0  # the segment's file has bytes on disk up to here
        self.next_number = -1
        self.guard = threading.Lock()  # between append and prepare
        self.failure = ""
        self.spares: list[str] = []
        self.spare_number = 0
        self.making = ""  # the spare that is being made, its handle, and how far it is
        self.making_handle = -1
        self.making_at = 0
        self.full = False  # the last time that room was to be made there was none
        # A killed process may have left changes that only the kernel knows of. What is read from now on must be what
        # is still there after a power failure.
        disk.make_directory(DIRECTORY)
        disk.sync_directory("")
        disk.sync_directory(DIRECTORY)
        self.reader = LogReader(disk)
        self.reader.identify()
        self.newest = max(self.reader.segments(), default=-1)
        self._find_spares()

    def _find_spares(self) -> None:
        for name in self.disk.names(DIRECTORY):
            path = f"{DIRECTORY}/{name}"
            if number_in(name, ".tmp", 8) >= 0:
                self.disk.remove(path)
            number = number_in(name, ".spare", 8)
            if number < 0:
                continue
            self.spare_number = max(self.spare_number, number + 1)
            if self.disk.size(path) > self.segment_bytes or len(self.spares) >= SPARES:
                self.disk.remove(path)
            else:
                self.spares.append(path)

    # ---- writing

    def append(self, segment: int, seq: int, flags: int, parts: list[bytes]) -> None:
        """Write one block; on disk on return. seq rises by one each time; a segment is begun by naming it."""
        if flags & ~MAX_FLAGS or (self.next_number >= 0 and seq != self.next_number):
            raise Bug(f"block {seq} with flags {flags:x} was to follow block {self.next_number - 1}")
        self._alive()
        try:
            if segment != self.segment:
                self._begin(segment, seq)
            self._write(seq, flags, parts)
        except StoreError as error:
            self.failure = error.text
            raise
        self.next_number = seq + 1

    def _alive(self) -> None:
        if self.failure:
            raise StoreError(f"the log failed before and takes nothing more: {self.failure}")

    def _write(self, seq: int, flags: int, parts: list[bytes]) -> None:
        length = 0
        crc = 0
        for part in parts:
            length += len(part)
            crc = zlib.crc32(part, crc)
        whole = [block_header(self.segment, self.writer, seq, length, flags, crc)]
        whole.extend(parts)
        padding = -(HEADER_BYTES + length) % ALIGN
        if padding:
            whole.append(bytes(padding))
        with self.guard:
            self._alive()  # prepare may have failed on this very file
            self.disk.write(self.handle, self.at, whole, True)
            self.at += HEADER_BYTES + length + padding
            if self.at > self.filled:
                self.filled = self.at

    def _begin(self, segment: int, first: int) -> None:
        """Begin a segment, in a spare if there is one. Its header is on disk before it has its name."""
        disk = self.disk
        if segment <= self.newest:
            raise Bug(f"segment {segment} was to be begun after segment {self.newest}")
        if self.handle < 0 and self.newest >= 0:
            self._write_last_again()
            if not self.reader.store_id:  # power was lost just after the first segment was begun
                self._name_store(self.reader.header(self.newest).store_id)
        store_id = self.reader.store_id if self.reader.store_id else os.urandom(16)
        header = segment_header(segment, self.writer, first, self.segment_bytes, store_id)
        with self.guard:
            name = self.spares.pop() if self.spares else ""
            if not name:
                name = f"{DIRECTORY}/{self.spare_number:08x}.tmp"
                self.spare_number += 1
            if self.handle >= 0:
                disk.close(self.handle)
                self.handle = -1
            self.handle = disk.create(name)
            self.filled = disk.size(name)
            if self.filled == 0:
                self.filled = max(min(FILL_BYTES, self.segment_bytes), SEGMENT_DATA_START)
                disk.write(self.handle, 0, [header, bytes(self.filled - len(header))], True)
            else:
                disk.write(self.handle, 0, [header], True)
            disk.rename(name, segment_name(segment))
            disk.sync_directory(DIRECTORY)
            self.segment = segment
            self.newest = segment
            self.at = SEGMENT_DATA_START
        if not self.reader.store_id:
            self._name_store(store_id)

    def _write_last_again(self) -> None:
        """Make sure of the last block there is, before numbers go on behind it.

        It may have been read from the kernel's memory alone: its writer was killed before the sync, or the sync failed,
        after which the kernel takes the bytes for written. So it is written again, not merely synced.
        """
        name = segment_name(self.newest)
        offset, end = self.reader.last_block(self.newest)
        handle = self.disk.create(name)
        try:
            if end > offset:
                self.disk.write(handle, offset, [self.disk.read_at(name, offset, end - offset)], True)
        finally:
            self.disk.close(handle)

    def _name_store(self, store_id: bytes) -> None:
        disk = self.disk
        unnamed = f"{IDENTITY}.tmp"
        disk.remove(unnamed)
        handle = disk.create(unnamed)
        try:
            disk.write(handle, 0, [identity_bytes(store_id)], True)
        finally:
            disk.close(handle)
        disk.rename(unnamed, IDENTITY)
        disk.sync_directory("")
        self.reader.store_id = store_id

    # ---- room for more

    def prepare(self) -> bool:
        """Fill more of the segment, else make a spare. True while there is more to do and the disk is not full."""
        with self.guard:
            if self.handle >= 0 and self.filled < self.segment_bytes and not self.failure:
                return self._fill()
            if not self.making:
                if len(self.spares) >= SPARES:
                    return False
                self.making = f"{DIRECTORY}/{self.spare_number:08x}"
                self.making_at = 0
                self.spare_number += 1
        return self._make_spare()

    def hurry(self) -> bool:
        """Whether what `prepare` does is wanted soon; otherwise it had better leave the disk to the blocks."""
        return self.at > self.segment_bytes // 2 or (self.handle >= 0 and self.filled < self.at + AHEAD_BYTES)

    def _fill(self) -> bool:
        size = min(FILL_BYTES, self.segment_bytes - self.filled)
        try:
            self.disk.write(self.handle, self.filled, [bytes(size)], True)
        except StoreError as error:
            self.full = error.full
            if error.full:
                return False
            self.failure = error.text  # a failed sync of this file may be about its blocks
            raise
        self.filled += size
        self.full = False
        return True

    def _make_spare(self) -> bool:
        """Write some more of a spare; little by little, since one large sync would hold up blocks."""
        disk = self.disk
        name = self.making + ".tmp"
        try:
            if self.making_handle < 0:
                self.making_handle = disk.create(name)
            size = min(FILL_BYTES, self.segment_bytes - self.making_at)
            disk.write(self.making_handle, self.making_at, [bytes(size)], True)
            self.making_at += size
            self.full = False
            if self.making_at < self.segment_bytes:
                return True
            self._leave_spare()
            spare = self.making + ".spare"
            self.making = ""
            disk.rename(name, spare)
            disk.sync_directory(DIRECTORY)
        except StoreError as error:
            self._leave_spare()
            self.making = ""
            self.full = error.full
            if not error.full:
                raise
            disk.remove(name)
            return False
        with self.guard:
            self.spares.append(spare)
        return True

    def _leave_spare(self) -> None:
        if self.making_handle >= 0:
            self.disk.close(self.making_handle)
            self.making_handle = -1

    def space_bytes(self) -> int:
        """How much can be written before the file system has to give more room. (A spare that shrank counts whole.)"""
        with self.guard:
            rest = self.filled - self.at if self.handle >= 0 else 0
            return rest + len(self.spares) * (self.segment_bytes - SEGMENT_DATA_START)

    def short_of_room(self) -> bool:
        """The disk is full and a spare has been used: the other one, and those that trimming gives, are for settling."""
        return self.full and len(self.spares) < SPARES

    def trim(self, keep_from: int) -> None:
        """Give up the segments before this one: they become spares, as many as are wanted, or go.

        Oldest first, each for good before the next, so that a power failure never leaves a gap between segments.
        """
        self._alive()
        try:
            for segment in self.reader.segments():
                if segment < keep_from and segment != self.segment:
                    self._give_up(segment_name(segment))
        except StoreError as error:
            self.failure = error.text
            raise

    def _give_up(self, name: str) -> None:
        disk = self.disk
        spare = ""
        if disk.size(name) <= self.segment_bytes:
            with self.guard:
                if len(self.spares) < SPARES:
                    spare = f"{DIRECTORY}/{self.spare_number:08x}.spare"
                    self.spare_number += 1
        if spare:
            disk.rename(name, spare)
        else:
            disk.remove(name)
        disk.sync_directory(DIRECTORY)
        if spare:
            with self.guard:
                self.spares.append(spare)

    def close(self) -> None:
        """A clean stop: seal the log, so that a bit flipped in its last block is found at the next start."""
        self._leave_spare()
        if self.handle < 0:
            return
        try:
            if not self.failure:
                self._write(self.next_number, SEAL, [])
        finally:
            self.disk.close(self.handle)
            self.handle = -1
            self.failure = "it is closed"

    # ---- reading

    def segments(self) -> list[int]:
        """Ids of the segments, oldest first."""
        return self.reader.segments()

    def blocks(self, segment: int, known: int) -> Blocks:
        """The blocks of a segment. Raises Damaged, naming file and byte."""
        if known >= 0:
            return self.reader.blocks_again(segment, known)
        return self.reader.blocks(segment)


__all__ = ["FORMAT_VERSION", "SEGMENT_DATA_START", "FileLog", "block_bytes"]
