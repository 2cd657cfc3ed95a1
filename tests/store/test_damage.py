"""Every byte of a log's files with a bit flipped: found and named, or without effect. And other ways to spoil a log.

FLIPS=8 flips every bit, not one in each byte.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from zlib import crc32

import pytest

from leveret.errors import Damaged, StoreError
from leveret.store.log import FileLog
from leveret.store.segment import FORMAT_VERSION, SEAL, block_bytes, block_header, segment_header
from tests.store.simdisk import SimDisk
from tests.store.stores import read_all

SEGMENT_BYTES = 2_048
FLIPS = int(os.environ.get("FLIPS", "1"))


def seg(number: int) -> str:
    return f"log/{number:016x}.seg"


def filled(clean: bool, shift: int = 0) -> SimDisk:
    """A store of three segments in recycled files, with old blocks behind the new ones."""
    disk = SimDisk(1)
    log = FileLog(disk, SEGMENT_BYTES, 77)
    rng = random.Random(5 + shift)
    number = 0
    for segment in range(1, 8):
        for size in (200, 90, 400, 16) if segment < 5 else (30 + shift, 150):
            number += 1
            log.append(segment, number, number % 2, [rng.randbytes(size)])
        log.trim(segment - 2)
    if clean:
        log.close()
    disk.kill()
    return disk


def read(disk: SimDisk) -> list[tuple[int, int, bytes]]:
    return read_all(FileLog(disk, SEGMENT_BYTES))


@pytest.mark.parametrize("shift", [0, 30])
@pytest.mark.parametrize("clean", [True, False])
def test_a_flipped_bit_is_found_or_harmless(clean: bool, shift: int) -> None:
    disk = filled(clean, shift)
    want = read(disk)
    assert len(want) == 6
    last = FileLog(disk, SEGMENT_BYTES).reader.last_block(7)
    rng = random.Random(9)
    found = 0
    harmless = 0
    names = [name for name in disk.files() if not name.endswith(".spare")]
    assert len(names) == 4
    for name in names:
        for byte in range(len(disk.file(name).cache)):
            for bit in rng.sample(range(8), FLIPS):
                disk.flip(name, byte * 8 + bit)
                try:
                    got = read(disk)
                    # The only block that may go unnoticed, and only after a crash: nothing says that it was whole.
                    torn = not clean and name == seg(7) and last[0] <= byte < last[1]
                    harmless += 1
                    assert got == want or (torn and got == want[:-1]), f"{name} byte {byte} bit {bit}"
                except StoreError as error:
                    found += bool(error.path)
                disk.flip(name, byte * 8 + bit)
    assert found > 1_500 * FLIPS
    assert found + harmless == sum(len(disk.file(name).cache) for name in names) * FLIPS
    assert read(disk) == want


def test_after_a_restart_the_last_block_of_the_crashed_log_is_guarded_too() -> None:
    disk = filled(False)
    name = seg(7)
    log = FileLog(disk, SEGMENT_BYTES)
    first, _ = log.reader.last_block(7)
    log.append(8, read(disk)[-1][0] + 1, 0, [b"x"])
    for byte in range(first, first + 48 + 150):
        disk.flip(name, byte * 8 + byte % 8)
        with pytest.raises(Damaged, match=name):
            read(disk)
        disk.flip(name, byte * 8 + byte % 8)


def test_damage_names_the_file_and_the_byte() -> None:
    disk = filled(True)
    disk.flip(seg(6), (512 + 60) * 8)
    with pytest.raises(Damaged, match=r"damaged or missing.*0000000000000006\.seg at byte 512") as caught:
        read(disk)
    assert caught.value.offset_bytes == 512
    assert caught.value.path == seg(6)


def remove_file(name: str) -> Callable[[SimDisk], None]:
    return lambda disk: disk.remove(name)


def cut_file(name: str, length: int) -> Callable[[SimDisk], None]:
    def spoil(disk: SimDisk) -> None:
        del disk.file(name).cache[length:]

    return spoil


def swap_files(disk: SimDisk) -> None:
    a, b = disk.file(seg(6)), disk.file(seg(7))
    a.cache, b.cache = b.cache, a.cache


def other_identity(disk: SimDisk) -> None:
    disk.remove("store.json")
    other = SimDisk(3)
    FileLog(other, SEGMENT_BYTES).append(1, 1, 0, [b"x"])
    disk.write(disk.create("store.json"), 0, [other.read("store.json")], False)


def remove_log(disk: SimDisk) -> None:
    for name in disk.files():
        if name.startswith("log/"):
            disk.remove(name)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (remove_file(seg(6)), "block 19 is missing: segment 7 begins with block 21"),
        (remove_file("store.json"), "identity is missing"),
        (remove_log, "the log is gone"),
        (cut_file(seg(5), 100), "cut short"),
        (cut_file(seg(5), 700), "block 18 is missing"),
        (cut_file("store.json", 30), "not an identity"),
        (swap_files, "holds segment 7"),
        (other_identity, "another store"),
    ],
)
def test_spoilt_directories(spoil: Callable[[SimDisk], None], text: str) -> None:
    disk = filled(True)
    spoil(disk)
    with pytest.raises(Damaged, match=text):
        read(disk)


def test_a_second_writer_is_found() -> None:
    disk = filled(False)
    end = FileLog(disk, SEGMENT_BYTES).reader.last_block(7)[1]
    number = read(disk)[-1][0] + 1
    handle = disk.create(seg(7))
    disk.write(handle, end, [block_header(7, 78, number, 0, 0, 0)], True)
    with pytest.raises(Damaged, match="a second writer wrote block 23"):
        read(disk)


def test_two_processes_that_both_write_are_found() -> None:
    """Where locks do not work: the second begins a segment; the first goes on in its own."""
    disk = SimDisk()
    one = FileLog(disk, SEGMENT_BYTES)
    one.append(1, 1, 0, [b"a"])
    two = FileLog(disk, SEGMENT_BYTES)
    two.append(2, 2, 0, [b"b"])
    one.append(1, 2, 0, [b"c"])
    with pytest.raises(Damaged, match="block 3 is missing: segment 2 begins with block 2"):
        read(disk)


def test_a_newer_format_is_refused_by_name() -> None:
    disk = filled(True)
    header = bytearray(segment_header(5, 77, 17, SEGMENT_BYTES, FileLog(disk, SEGMENT_BYTES).reader.store_id))
    header[11] = FORMAT_VERSION + 1
    header[508:] = crc32(header[:508]).to_bytes(4, "big")
    disk.write(disk.create(seg(5)), 0, [bytes(header)], True)
    with pytest.raises(StoreError, match=f"format version {FORMAT_VERSION + 1} is newer"):
        read(disk)


# ---- what a torn end may look like


def log_with(payload: bytes) -> tuple[SimDisk, FileLog, int]:
    disk = SimDisk()
    log = FileLog(disk, 65_536, 99)
    log.append(1, 1, 0, [b"first"])
    at = log.at
    log.append(1, 2, 0, [payload])
    return disk, log, at


def test_a_torn_message_that_quotes_the_log_is_not_damage() -> None:
    """Someone sends the log's own bytes as a message, and that block is torn."""
    quoted = block_header(1, 99, 1, 5, 0, 0)
    disk, log, at = log_with(bytes(16) + quoted * 3)
    assert block_bytes(0) == 64
    disk.flip(seg(1), (at + 50) * 8)
    assert read(disk) == [(1, 0, b"first")]
    assert log.at > at


@pytest.mark.parametrize(("flags", "number"), [(0, 3), (SEAL, 3), (0, 9)])
def test_a_later_header_is_enough_to_know_of_damage(flags: int, number: int) -> None:
    """The block behind it was begun, so the damaged one had been confirmed."""
    disk, log, at = log_with(b"second" * 20)
    handle = disk.create(seg(1))
    disk.write(handle, log.at, [block_header(1, 99, number, 500, flags, 0)], True)
    disk.flip(seg(1), (at + 50) * 8)
    with pytest.raises(Damaged, match="block 2 is damaged"):
        read(disk)


def test_a_block_after_the_seal_is_damage() -> None:
    disk, log, _ = log_with(b"second")
    log.close()
    handle = disk.create(seg(1))
    disk.write(handle, log.at, [block_header(1, 99, 3, 0, 0, 0)], True)
    with pytest.raises(Damaged):
        read(disk)
