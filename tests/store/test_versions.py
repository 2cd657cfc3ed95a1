"""Stores of older versions are opened as they are, and go on in the present one.

What an older broker wrote is put together here byte by byte, from its description, so that no change of the code that
writes can make it look newer.
"""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec
import pytest

from leveret.errors import Damaged
from leveret.message import Terms
from leveret.store.pages import FORMAT_VERSION as PAGE_VERSION
from leveret.store.segment import FORMAT_VERSION
from tests.store.machine import Hand, Machine, contents
from tests.store.simdisk import SimDisk

STORE_ID = bytes(range(16))
WRITER = 0x1122334455667788
QID = 3
SEGMENT = "log/0000000000000001.seg"
PAGE = "pages/0000000000000003/0000000000000000.page"


def record(kind: int, n: int, body: bytes) -> bytes:
    return struct.pack(">BBHI", kind, 0, n, len(body)) + body


def publish(seqs: list[int], data: bytes) -> bytes:
    targets = b"".join(struct.pack(">qq", QID, seq) for seq in seqs)
    route = b"\0\1q"
    return record(
        1, len(seqs), targets + struct.pack(">BBHIq", 1, 1, len(route), len(data), len(data)) + route + data
    )


def topology(*op: object) -> bytes:
    return record(5, 0, b"\1/" + msgspec.msgpack.encode(op))


def block(number: int, flags: int, payload: bytes) -> bytes:
    head = struct.pack(">8sQQQIII", b"LEVBLOCK", 1, WRITER, number, len(payload), flags, crc32(payload))
    whole = head + struct.pack(">I", crc32(head)) + payload
    return whole + bytes(-len(whole) % 64)


def segment(blocks: list[bytes]) -> bytes:
    head = struct.pack(">8sIIQQQQ16s444x", b"LEVERETL", 1, 0, 1, WRITER, 1, 16_384, STORE_ID)
    return (head + struct.pack(">I", crc32(head)) + b"".join(blocks)).ljust(16_384, b"\0")


def page_file(entries: dict[int, bytes]) -> bytes:
    content = b""
    for slot, data in entries.items():
        content += struct.pack(">HBBHIQ", slot, 1, 1, 3, len(data), len(data)) + b"\0\1q" + data
    head = struct.pack(">8sIIQQQI", b"LEVERETP", 1, 0, QID, 0, len(content), crc32(content))
    return head + struct.pack(">I", crc32(head)) + content


def version_1(identity_version: int = 1) -> SimDisk:
    """One queue: a page with slots 1 and 3, messages 4 to 7 in the log, of which 5 is settled."""
    disk = SimDisk()
    identity = f'{{"leveret": "store", "format": {identity_version}, "id": "{STORE_ID.hex()}"}}\n'
    checkpoint = b"".join(
        [
            record(8, 0, struct.pack(">q", 1)),
            topology(8, QID),
            topology(3, b"q", QID, False, b"", b"classic"),
            record(9, 0, struct.pack(">qqq", QID, 4, 2)),
            record(4, 0, struct.pack(">qqH4H", QID, 0, 4, 0, 0, 2, 2)),
            record(10, 0, b""),
        ]
    )
    chain = publish([7], b"seven" * 100)
    blocks = [
        block(1, 1, checkpoint),
        block(2, 0, publish([4], b"four") + publish([5], b"five")),
        block(3, 0, record(6, 0, publish([6], b"six") + record(2, 0, struct.pack(">qqq", QID, 5, 5)))),
        block(4, 0, record(7, 1, struct.pack(">qq", 1, 1) + chain[:200])),
        block(5, 0, record(7, 3, struct.pack(">q", 1) + chain[200:])),
        block(6, 0, record(3, 1, struct.pack(">qq", QID, 5)) + record(11, 0, b"")),
        block(7, 1 << 31, b""),
    ]
    for directory in ("log", "pages", "pages/0000000000000003"):
        disk.make_directory(directory)
    files = {
        "store.json": identity.encode(),
        SEGMENT: segment(blocks),
        PAGE: page_file({1: b"one", 3: b"three"}),
    }
    for name, data in files.items():
        disk.write(disk.create(name), 0, [data], True)
    return disk


WAITS = [(b"one", True), (b"three", True), (b"four", True), (b"six", False), (b"seven" * 100, False)]


def waiting(machine: Machine) -> list[tuple[bytes, bool]]:
    return contents(machine, machine.vhost.queue("q", None).lane)


def test_a_store_of_version_1_opens() -> None:
    assert waiting(Machine(version_1())) == WAITS


def test_a_store_of_version_1_goes_on_in_the_present_version() -> None:
    disk = version_1()
    machine = Machine(disk)
    machine.start()
    machine.publish("", "q", b"new", terms=Terms(5, -1, 0, 7))
    machine.settle_down()
    disk.kill()
    machine = Machine(disk)
    machine.start()
    assert waiting(machine) == [*WAITS, (b"new", False)]
    hand = Hand(machine, machine.vhost.queue("q", None), 10, False, "hand")
    machine.settle_down()
    assert [body for _, body, _, _ in hand.got] == [body for body, _ in WAITS] + [b"new"]
    machine.broker.shed()
    hand.leave()
    machine.stop()
    versions = {
        name: int.from_bytes(disk.read(name)[8:12], "big")
        for name in disk.files()
        if name[-4:] in (".seg", "page")
    }
    assert versions.pop(PAGE, 1) == 1
    versions.pop(SEGMENT, None)
    assert versions
    assert {version for name, version in versions.items() if name.endswith(".seg")} == {FORMAT_VERSION}
    assert {version for name, version in versions.items() if name.endswith(".page")} <= {PAGE_VERSION}


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1])
def test_an_identity_of_no_known_version_is_refused(version: int) -> None:
    with pytest.raises(Damaged, match="not an identity"):
        Machine(version_1(version))


def test_a_bit_flipped_in_the_identity_never_makes_another_version_of_it() -> None:
    disk = version_1()
    for bit in range(len(disk.read("store.json")) * 8):
        disk.flip("store.json", bit)
        with pytest.raises(Damaged):
            Machine(disk)
        disk.flip("store.json", bit)
    assert waiting(Machine(disk)) == WAITS
