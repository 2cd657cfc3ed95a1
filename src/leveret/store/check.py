"""Looks into a data directory without changing anything in it: what is there, what is damaged, what is readable.

It takes no lock, so it may be asked about the directory of a running broker: then the last block may be on its way,
and files that went meanwhile are said to have changed. It knows blocks and pages, and records through `describe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from leveret.errors import Damaged, StoreError
from leveret.journal import Restorer
from leveret.seams import Blocks, Log
from leveret.store.describe import describe as describe_records
from leveret.store.disk import Disk, RealDisk
from leveret.store.opening import read_log, replay
from leveret.store.pages import list_pages, page_name, verified
from leveret.store.reader import DIRECTORY, LogReader, segment_name
from leveret.store.recovery import checkpoint_of
from leveret.store.segment import FULL, RECYCLED, SEALED, TORN, ZEROS, Scan

CHECKPOINT: Final = 1  # flag of a block
TAILS: Final = {
    FULL: "the end of the file",
    ZEROS: "zeros",
    RECYCLED: "what an older segment left",
    SEALED: "the seal of a clean stop",
    TORN: "a torn block, or what an older segment left",
}


class Report:
    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.damage: list[str] = []
        self.text: list[str] = []
        self.blocks = 0
        self.pages = 0
        self.page_bytes = 0

    def lines(self) -> list[str]:
        verdict = f"{len(self.damage)} damaged" if self.damage else "nothing damaged"
        pages = f"{self.pages} pages of {self.page_bytes} bytes"
        return [*self.text, f"{self.directory}: {self.blocks} blocks, {pages}, {verdict}"]


class ReadLog(Log):
    """A log that is only read."""

    def __init__(self, reader: LogReader) -> None:
        self.reader = reader

    def segments(self) -> list[int]:
        return self.reader.segments()

    def blocks(self, segment: int, known: int) -> Blocks:
        return self.reader.blocks(segment) if known < 0 else self.reader.blocks_again(segment, known)


def check(directory: Path | str, restorer: Callable[[], Restorer] | None = None) -> Report:
    """Read and verify everything. With a restorer (a broker that may be thrown away) also whether every page is there
    on which the log says that something waits."""
    report = Report(str(directory))
    disk = RealDisk(str(directory))
    reader = LogReader(disk)
    try:
        reader.identify()
    except StoreError as error:
        report.damage.append(error.text)
    keep_from = -1
    segments = reader.segments()
    for segment in segments:
        scan = _scan(reader, segment, report.damage)
        if scan is not None:
            _add_segment(report, segment, scan)
            for index in range(scan.count()):
                _, flags, payload = scan.block(index)
                if flags & CHECKPOINT:
                    keep_from = int(checkpoint_of(payload))
    if segments and 0 <= keep_from < segments[0]:
        report.damage.append(f"segment {keep_from} is missing: the last checkpoint needs it ({DIRECTORY})")
    for lane, base in list_pages(disk):
        content = _page(disk, lane, base, report.damage)
        if content is not None:
            report.pages += 1
            report.page_bytes += len(content)
    if restorer is not None and not report.damage:
        for lane, base in _missing(disk, reader, restorer):
            report.damage.append(f"a page that the log needs is gone ({page_name(lane, base)})")
    return report


def _missing(disk: Disk, reader: LogReader, restorer: Callable[[], Restorer]) -> list[tuple[int, int]]:
    """A running broker deletes pages, after it has said so in the log: so what is missing is asked of it again."""
    try:
        needed = _needed(reader, restorer())
        missing = needed.difference(list_pages(disk))
        return sorted(missing & _needed(reader, restorer())) if missing else []
    except StoreError:
        return []  # the log was sound: a running broker gave up a segment meanwhile


def _needed(reader: LogReader, restorer: Restorer) -> set[tuple[int, int]]:
    log = ReadLog(reader)
    found = read_log(log)
    replay(log, found, restorer)
    return set(found.needed)


def _scan(reader: LogReader, segment: int, damage: list[str]) -> Scan | None:
    try:
        scan = reader.scan(segment, True)
    except Damaged as error:
        if error.text not in damage:
            damage.append(error.text)
        return None
    except StoreError as error:
        if segment in reader.segments():
            damage.append(error.text)
        return None  # given up by a running broker
    for found in scan.damage:
        if found.text not in damage:
            damage.append(found.text)
    return scan


def _add_segment(report: Report, segment: int, scan: Scan) -> None:
    numbers = "no blocks"
    size = 0
    count = scan.count()
    for index in range(count):
        size += len(scan.block(index)[2])
    if count:
        numbers = f"{count} blocks {scan.block(0)[0]} to {scan.block(count - 1)[0]} of {size} bytes"
    report.blocks += count
    report.text.append(f"{segment_name(segment)}: {numbers}; at byte {scan.end} {TAILS[scan.tail]}")


def _page(disk: Disk, lane: int, base: int, damage: list[str]) -> bytes | None:
    name = page_name(lane, base)
    try:
        return verified(name, lane, base, disk.read(name))
    except Damaged as error:
        damage.append(error.text)
    except StoreError as error:
        if (lane, base) in list_pages(disk):
            damage.append(error.text)
    return None  # damaged, or deleted by a running broker


def dump(directory: Path | str, describe: Callable[[bytes], list[str]] = describe_records) -> Iterator[str]:
    """Lines: each segment, its blocks, their records as `describe` tells them; each page. Damage has its lines too."""
    disk = RealDisk(str(directory))
    reader = LogReader(disk)
    damage: list[str] = []
    for segment in reader.segments():
        scan = _scan(reader, segment, damage)
        if scan is not None:
            yield f"{scan.name} first block {scan.header.first}"
            for index in range(scan.count()):
                number, flags, payload = scan.block(index)
                yield f"  block {number} at byte {scan.offsets[index]} flags {flags} ({len(payload)} bytes)"
                for line in _records(describe, payload, damage):
                    yield f"    {line}"
            yield f"  at byte {scan.end} {TAILS[scan.tail]}"
    for lane, base in list_pages(disk):
        content = _page(disk, lane, base, damage)
        if content is not None:
            yield f"{page_name(lane, base)} ({len(content)} bytes)"
    for text in damage:
        yield f"damaged: {text}"


def _records(describe: Callable[[bytes], list[str]], payload: bytes, damage: list[str]) -> list[str]:
    try:
        return describe(payload)
    except Damaged as error:
        damage.append(error.text)
        return []
