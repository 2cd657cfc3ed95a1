"""Looking into a directory: it says what is there, finds what is damaged, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from leveret.core.broker import Broker
from leveret.core.restore import BrokerRestorer
from leveret.journal import Journal, Pager
from leveret.store.check import check, dump
from leveret.store.disk import RealDisk
from leveret.store.log import FileLog
from leveret.store.pages import FilePages
from tests.store.machine import Machine


@pytest.fixture
def store(tmp_path: Path) -> Path:
    disk = RealDisk(str(tmp_path))
    log, pages = FileLog(disk, 4_096), FilePages(disk)
    for number in range(1, 10):
        log.append(1 + number // 4, number, 0, [b"%d" % number * 20])
        pages.put(number % 2, number, [b"page"], True)
    log.close()
    return tmp_path


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in root.rglob("*")}


def damage(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def text(payload: bytes) -> list[str]:
    return [f"payload {payload[:1].decode()}"]


def test_a_sound_store(store: Path) -> None:
    before = snapshot(store)
    report = check(store)
    lines = list(dump(store, text))
    assert report.damage == []
    assert "9 blocks, 9 pages of 36 bytes, nothing damaged" in report.lines()[-1]
    assert "3 blocks 1 to 3 of 60 bytes" in report.lines()[0]
    assert "the seal of a clean stop" in report.lines()[2]
    assert len([line for line in lines if line.startswith("    payload")]) == 9
    assert len([line for line in lines if line.startswith("pages/")]) == 9
    assert not [line for line in lines if line.startswith("damaged")]
    assert snapshot(store) == before


def test_an_empty_directory(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert report.damage == []
    assert "0 blocks, 0 pages" in report.lines()[-1]
    assert list(dump(tmp_path)) == []


def test_everything_damaged_is_named_and_the_rest_is_read(store: Path) -> None:
    damage(store / "log/0000000000000001.seg", 512 + 128 + 50)  # the second block
    damage(store / "log/0000000000000002.seg", 10)  # its header
    damage(store / "pages/0000000000000001/0000000000000003.page", 50)
    before = snapshot(store)
    report = check(store)
    assert len(report.damage) == 3
    assert any("0000000000000001.seg at byte 640" in line for line in report.damage)
    assert any("0000000000000002.seg at byte 0" in line for line in report.damage)
    assert any("0000000000000003.page at byte 48" in line for line in report.damage)
    assert "4 blocks, 8 pages of 32 bytes, 3 damaged" in report.lines()[-1]
    lines = list(dump(store, text))
    assert [line for line in lines if line.startswith("    payload")] == [
        f"    payload {n}" for n in (1, 3, 8, 9)
    ]
    assert len([line for line in lines if line.startswith("damaged: ")]) == 3
    assert snapshot(store) == before


def test_a_lost_identity_is_damage(store: Path) -> None:
    (store / "store.json").unlink()
    assert [line for line in check(store).damage if "identity" in line]


def test_a_checkpoint_that_needs_a_lost_segment_is_damage(tmp_path: Path) -> None:
    log = FileLog(RealDisk(str(tmp_path)), 4_096)
    begin = bytes([8, 0, 0, 0, 0, 0, 0, 8]) + (1).to_bytes(8, "big")
    log.append(1, 1, 0, [b""])
    log.append(2, 2, 1, [begin])
    assert check(tmp_path).damage == []
    (tmp_path / "log/0000000000000001.seg").unlink()
    assert [line for line in check(tmp_path).damage if "segment 1 is missing" in line]


def test_a_page_that_is_needed_and_gone_is_damage(tmp_path: Path) -> None:
    machine = Machine(RealDisk(str(tmp_path)))
    machine.start()
    queue = machine.queue("q")
    for n in range(100):
        machine.publish("", "q", b"%d" % n * 100)
    machine.settle_down()
    machine.broker.shed()
    machine.settle_down()

    def found() -> list[str]:
        return check(tmp_path, lambda: BrokerRestorer(Broker(Journal(), Pager()))).damage

    assert found() == []
    page = sorted(tmp_path.glob("pages/*/*.page"))[1]
    page.unlink()
    assert found() == [f"a page that the log needs is gone ({page.relative_to(tmp_path)})"]
    queue.purge()
    machine.settle_down()
    assert found() == []


def test_records_are_told_apart_and_what_is_no_record_is_damage(tmp_path: Path) -> None:
    log = FileLog(RealDisk(str(tmp_path)), 4_096)
    settle = bytes([2, 0, 0, 0, 0, 0, 0, 24]) + b"".join(n.to_bytes(8, "big") for n in (7, 1, 9))
    tx = bytes([6, 0, 0, 0, 0, 0, 0, len(settle)]) + settle
    publish = bytes([1, 0, 0, 1, 0, 0, 0, 16]) + (7).to_bytes(8, "big") + (3).to_bytes(8, "big")
    log.append(1, 1, 0, [settle, tx, publish])
    log.append(1, 2, 0, [b"\x02\x00\x00\x00\x00\x00\x00\x09"])
    lines = [line.strip() for line in dump(tmp_path)]
    assert lines[2:6] == [
        "settle lane 7 first 1 last 9 (32 bytes)",
        "tx (40 bytes)",
        "settle lane 7 first 1 last 9 (32 bytes)",
        "publish lane 7 seq 3 (24 bytes)",
    ]
    assert [line for line in lines if line.startswith("damaged: a record is longer")]
