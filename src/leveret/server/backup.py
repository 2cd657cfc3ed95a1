"""A copy of a running broker's store that starts: `leveret store backup`.

A checkpoint is written first, into a segment of its own; then the segments from the oldest that it needs, then the
pages, are copied while the broker goes on. What is written meanwhile may be in the copy or not, as after a power
failure at some moment of the copying; nothing is given up or deleted until it is done. Page files are never
rewritten, so they are linked where the file system can.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from leveret.errors import CommandInvalid, StoreError

if TYPE_CHECKING:
    from leveret.server.server import Server


async def backup(server: Server, destination: str) -> dict[str, object]:
    """Copy to a directory that does not exist or is empty. Returns its name and size. Raises CommandInvalid,
    StoreError."""
    source = server.storage.directory
    journal = server.journal
    files = server.storage.log
    if (
        source is None
        or journal is None
        or files is None
        or server.pager is None
        or server.storage.writer is None
    ):
        raise CommandInvalid("this broker keeps everything in memory: there is no store to back up")
    target = Path(destination)
    if not target.is_absolute():
        raise CommandInvalid(f"{destination} is not an absolute path")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CommandInvalid(f"{destination} exists and is not an empty directory")
    if server.pager.held or server.storage.writer.held:
        raise CommandInvalid("another backup is under way")
    server.pager.held = True
    server.storage.writer.held = True
    try:
        while journal.chains:  # no checkpoint while a large record is on its way
            await asyncio.sleep(0.005)
        journal.close_block()
        journal.roll()
        oldest = int(journal.oldest)
        segment = int(journal.segment)
        while journal.closed or server.storage.writer.busy or files.segment < segment:
            server.commit()
            await asyncio.sleep(0.001)
        if files.segment > segment:
            raise StoreError("the log went on too fast: try again")
        loop = asyncio.get_running_loop()
        size_bytes = await loop.run_in_executor(None, copy, source, target, oldest, segment, files.at)
    finally:
        server.pager.held = False
        server.storage.writer.held = False
    return {"destination": str(target), "size_bytes": size_bytes}


def copy(source: Path, target: Path, oldest: int, newest: int, newest_bytes: int) -> int:
    """Log first, pages then: every page that the copied log names is there. Of the newest segment, which is being
    written, only what was on disk when it was looked at. Returns the bytes copied."""
    size = 0
    try:
        (target / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
        for segment in sorted((source / "log").glob("*.seg")):
            number = int(segment.stem, 16)
            if oldest <= number <= newest:
                size += _copied(
                    segment, target / "log" / segment.name, newest_bytes if number == newest else -1
                )
        for page in sorted((source / "pages").glob("*/*.page")):
            lane = target / "pages" / page.parent.name
            lane.mkdir(mode=0o700, parents=True, exist_ok=True)
            size += _linked(page, lane / page.name)
        size += _copied(source / "store.json", target / "store.json")
        for directory in (target, *[each for each in target.rglob("*") if each.is_dir()]):
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise StoreError(f"the backup failed: {error.strerror}", str(error.filename or target)) from error
    return size


def _copied(source: Path, target: Path, limit_bytes: int = -1) -> int:
    with source.open("rb") as reader, target.open("xb") as writer:
        if limit_bytes < 0:
            shutil.copyfileobj(reader, writer)
        else:
            writer.write(reader.read(limit_bytes))
        writer.flush()
        os.fsync(writer.fileno())
        return writer.tell()


def _linked(source: Path, target: Path) -> int:
    try:
        os.link(source, target)
    except OSError:
        return _copied(source, target)
    return target.stat().st_size
