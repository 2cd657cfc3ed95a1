"""What every log promises, whatever it is kept on; and what a log in files does besides."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from leveret.errors import Bug, StoreError
from leveret.store.disk import RealDisk
from leveret.store.log import SEGMENT_DATA_START, SPARES, FileLog, block_bytes
from tests.store.simdisk import SimDisk
from tests.store.stores import KINDS, SEGMENT_BYTES, Place, read_all, read_segment


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


BLOCKS = [
    (1, 1, []),
    (2, 0, [b""]),
    (3, 0, [b"x"]),
    (4, 6, [b"one", b"", b"two"]),
    (5, 0, [bytes(range(256)) * 2]),
    (6, 1, [b"p"] * 1_500),
]


def test_an_empty_log(place: Place) -> None:
    log = place.log()
    assert log.segments() == []
    log.trim(5)
    log.close()


def test_blocks_come_back_as_they_were(place: Place) -> None:
    log = place.log()
    for number, flags, parts in BLOCKS:
        log.append(1, number, flags, parts)
    want = [(number, flags, b"".join(parts)) for number, flags, parts in BLOCKS]
    assert read_segment(log, 1) == want
    assert read_segment(place.log(), 1) == want


def test_a_restart_goes_on_in_a_segment_of_its_own(place: Place) -> None:
    first = place.log()
    first.append(1, 1, 0, [b"a"])
    second = place.log()
    second.append(2, 2, 0, [b"b"])
    assert second.segments() == [1, 2]
    assert read_all(second) == [(1, 0, b"a"), (2, 0, b"b")]


def test_numbers_may_begin_anywhere_and_segments_skip(place: Place) -> None:
    log = place.log()
    log.append(7, 1_000_000_000_000, 0, [b"a"])
    log.append(9, 1_000_000_000_001, 0, [b"b"])
    assert log.segments() == [7, 9]
    assert [number for number, _, _ in read_all(log)] == [1_000_000_000_000, 1_000_000_000_001]


def test_trim_gives_up_old_segments_and_never_the_one_being_written(place: Place) -> None:
    log = place.log()
    for segment in range(1, 7):
        log.append(segment, segment, 0, [b"%d" % segment])
    log.trim(4)
    assert log.segments() == [4, 5, 6]
    log.trim(4)
    log.trim(100)
    assert log.segments() == [6]
    log.append(6, 7, 0, [b"more"])
    assert read_segment(log, 6) == [(6, 0, b"6"), (7, 0, b"more")]


def test_many_rounds_over_the_same_files(place: Place) -> None:
    log = place.log()
    number = 0
    for segment in range(1, 30):
        for _ in range(segment % 4 + 1):
            number += 1
            log.append(segment, number, 0, [b"%d" % number * (segment * 7 % 90)])
        while log.prepare():
            pass
        log.trim(segment - 1)
        found = read_all(log)
        assert found[-1][0] == number
        assert [block[0] for block in found] == list(range(found[0][0], number + 1))


def test_a_block_larger_than_a_segment(place: Place) -> None:
    log = place.log()
    log.append(1, 1, 0, [b"small"])
    log.append(1, 2, 0, [bytes(3 * SEGMENT_BYTES), b"end"])
    log.append(1, 3, 0, [b"small"])
    log.append(2, 4, 0, [b"next"])
    assert [(number, len(payload)) for number, _, payload in read_all(log)] == [
        (1, 5),
        (2, 3 * SEGMENT_BYTES + 3),
        (3, 5),
        (4, 4),
    ]
    log.trim(2)
    log.append(3, 5, 0, [b"x"])
    assert len(read_all(log)) == 2


def test_appending_out_of_order_is_a_bug(place: Place) -> None:
    log = place.log()
    log.append(3, 4, 0, [b"x"])
    for segment, number in ((3, 6), (3, 4), (2, 5)):
        with pytest.raises(Bug):
            log.append(segment, number, 0, [b"y"])
    log.append(3, 5, 0, [b"y"])
    assert len(read_segment(log, 3)) == 2


def test_a_closed_log_takes_nothing(place: Place) -> None:
    log = place.log()
    log.append(1, 1, 0, [b"x"])
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.append(1, 2, 0, [b"y"])
    log.close()
    assert read_segment(place.log(), 1) == [(1, 0, b"x")]


def test_prepare_comes_to_an_end(place: Place) -> None:
    log = place.log()
    for _ in range(100):
        if not log.prepare():
            break
    else:
        pytest.fail("there is always more to prepare")
    log.append(1, 1, 0, [b"x"])
    assert len(read_segment(log, 1)) == 1


# ---- logs in files


@pytest.mark.parametrize("payload", [0, 15, 16, 17, 80, 81, 4_000])
def test_block_bytes_is_the_room_taken(payload: int) -> None:
    log = FileLog(SimDisk(), 65_536)
    log.append(1, 1, 0, [bytes(payload)])
    assert log.at == SEGMENT_DATA_START + block_bytes(payload)
    assert log.at % 64 == 0


def test_a_first_start_writes_little() -> None:
    disk = SimDisk()
    log = FileLog(disk, 1 << 26)
    log.append(1, 1, 1, [b"x"])
    assert disk.size("log/0000000000000001.seg") == 1 << 20


def test_segments_are_filled_before_they_are_needed_and_used_again() -> None:
    disk = SimDisk()
    log = FileLog(disk, 4 << 20)
    log.append(1, 1, 0, [b"x"])
    for _ in range(3):
        assert log.prepare()
    assert disk.size("log/0000000000000001.seg") == 4 << 20
    while log.prepare():
        pass
    assert len(log.spares) == SPARES
    before = disk.operations
    log.append(2, 2, 0, [b"x"])
    log.append(3, 3, 0, [b"x"])
    assert not [entry for entry in disk.log[before:] if ".tmp" in entry]
    log.trim(3)
    assert log.segments() == [3]
    assert len([name for name in disk.files() if name.endswith(".spare")]) == SPARES


def test_a_block_overtakes_the_filling() -> None:
    log = FileLog(SimDisk(), 4 << 20)
    log.append(1, 1, 0, [b"x"])
    log.append(1, 2, 0, [bytes(range(256)) * 8_000])  # beyond the first filling
    assert log.prepare()
    log.append(1, 3, 0, [b"y"])
    while log.prepare():
        pass
    assert [len(payload) for _, _, payload in read_segment(log, 1)] == [1, 2_048_000, 1]


def test_appending_while_another_thread_prepares(tmp_path: Path) -> None:
    log = FileLog(RealDisk(str(tmp_path)), 1 << 20)
    stop = threading.Event()

    def prepare() -> None:
        while not stop.is_set():
            log.prepare()

    thread = threading.Thread(target=prepare)
    thread.start()
    want = []
    try:
        for number in range(1, 151):
            segment = 1 + number // 40
            payload = number.to_bytes(4, "big") * 4_000
            log.append(segment, number, 0, [payload])
            want.append((number, 0, payload))
            log.trim(segment - 2)
    finally:
        stop.set()
        thread.join()
    log.close()
    found = read_all(FileLog(RealDisk(str(tmp_path)), 1 << 20))
    assert found == want[-len(found) :]
    assert len(found) > 70


def test_other_segment_sizes_and_leftovers_are_put_right_at_a_start() -> None:
    disk = SimDisk()
    log = FileLog(disk, 8_192)
    log.append(1, 1, 0, [b"x"])
    while log.prepare():
        pass
    for name in ("log/00000077.tmp", "log/notes", "log/0000000000000x01.seg"):
        disk.create(name)
    smaller = FileLog(disk, SEGMENT_BYTES)
    assert smaller.spares == []
    assert [name for name in disk.files() if name.startswith("log/")] == [
        "log/0000000000000001.seg",
        "log/0000000000000x01.seg",
        "log/notes",
    ]
    while smaller.prepare():
        pass
    larger = FileLog(disk, 8_192)
    larger.append(2, 2, 0, [b"y"])
    assert larger.prepare()
    assert disk.size("log/0000000000000002.seg") == 8_192
    assert len(read_all(larger)) == 2


def test_two_openings_have_two_writers() -> None:
    disk = SimDisk()
    assert FileLog(disk, SEGMENT_BYTES).writer != FileLog(disk, SEGMENT_BYTES).writer
