"""The operating system's side of the store: every byte is written, whatever the calls do, and failures name files."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from leveret.errors import StoreError
from leveret.store.disk import IOV_MAX, RealDisk


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    return RealDisk(str(tmp_path))


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, IOV_MAX, IOV_MAX + 1, 5_000])
def test_any_number_of_parts(disk: RealDisk, count: int, sync: bool) -> None:
    handle = disk.create("file")
    parts = [b"%d" % number for number in range(count)]
    disk.write(handle, 10, parts, sync)
    disk.sync(handle)
    disk.close(handle)
    want = b"".join(parts)
    assert disk.read("file") == (bytes(10) + want if want else b"")
    assert disk.read_at("file", 10, len(want) + 5) == want
    assert disk.size("file") == len(disk.read("file"))


@pytest.mark.parametrize("dsync", [True, False])
@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_short_writes_are_gone_on_with(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch, step: int, dsync: bool
) -> None:
    real = os.pwrite
    synced: list[int] = []

    def short_v(handle: int, parts: Sequence[bytes], offset: int, flags: int = 0) -> int:
        return real(handle, b"".join(parts)[:step], offset)

    monkeypatch.setattr(os, "pwritev", short_v)
    monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: real(handle, bytes(data)[:step], offset))
    monkeypatch.setattr(os, "fdatasync", synced.append)
    if not dsync:
        disk.dsync = 0
    handle = disk.create("file")
    disk.write(handle, 3, [b"abc", b"defg"], True)
    assert disk.read("file") == b"\0\0\0abcdefg"
    if step < 7 or not dsync:
        assert synced[-1] == handle


def test_a_write_that_gets_nowhere_fails(disk: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(StoreError, match="nothing was written"):
        disk.write(disk.create("file"), 0, [b"x"], False)


def test_without_synced_writes_the_file_is_synced(disk: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    synced: list[int] = []

    def refuse(handle: int, parts: Sequence[bytes], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(handle, parts, offset)

    monkeypatch.setattr(os, "pwritev", refuse)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    disk.dsync = 2
    handle = disk.create("file")
    disk.write(handle, 0, [b"abc"], True)
    disk.write(handle, 3, [b"def"], True)
    disk.write(handle, 6, [b"ghi"], False)
    assert disk.read("file") == b"abcdefghi"
    assert synced == [handle, handle]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_failures_name_file_and_byte_and_say_when_the_disk_is_full(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    handle = disk.create("file")

    def failing(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwritev", failing)
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(StoreError, match="cannot write 1 bytes") as caught:
        disk.write(handle, 5, [b"x"], True)
    assert caught.value.path.endswith("file")
    assert caught.value.offset_bytes == 5
    assert caught.value.full == (code != errno.EIO)
    with pytest.raises(StoreError, match="cannot sync"):
        disk.sync(handle)


def test_names_directories_and_what_is_not_there(disk: RealDisk) -> None:
    assert disk.names("nowhere") == []
    disk.make_directory("a")
    disk.make_directory("a")
    handle = disk.create("a/x")
    disk.write(handle, 0, [b"1"], False)
    disk.rename("a/x", "a/y")
    disk.sync_directory("a")
    disk.sync_directory("")
    assert disk.names("a") == ["y"]
    assert disk.names("") == ["a"]
    disk.remove_directory("a")  # in use
    disk.remove("a/y")
    disk.remove("a/y")
    disk.remove_directory("a")
    disk.remove_directory("a")
    assert disk.names("") == []
    for missing in (
        lambda: disk.read("b"),
        lambda: disk.read_at("b", 0, 1),
        lambda: disk.size("b"),
        lambda: disk.rename("b", "c"),
        lambda: disk.sync_directory("b"),
        lambda: disk.create("b/c"),
    ):
        with pytest.raises(StoreError, match="No such file"):
            missing()
