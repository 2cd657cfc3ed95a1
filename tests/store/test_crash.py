"""Power lost and processes killed at every operation of the log and of pages, recovery included; every one failing.

CYCLES=100000 makes the random runs longer. A failure names the seed that it comes from.
"""

from __future__ import annotations

import os

import pytest

from leveret.errors import Damaged, StoreError
from leveret.store.log import FileLog
from leveret.store.pages import FilePages
from tests.store.simdisk import EIO, ENOSPC, SHORT, PowerLoss, SimDisk
from tests.store.stores import SEGMENT_BYTES, Model, read_all, read_segment

CYCLES = int(os.environ.get("CYCLES", "6000"))
LIVES = 12  # of one store


def life(disk: SimDisk, model: Model, steps: int) -> None:
    log = FileLog(disk, SEGMENT_BYTES)
    model.restart(log)
    model.live(log, steps)
    if model.rng.random() < 0.3:
        log.close()


def ends_well(disk: SimDisk, model: Model) -> None:
    """What is there can be read, gone on with, and read again after a power failure."""
    for _ in range(2):
        life(disk, model, 6)
        disk.crash()
    model.restart(FileLog(disk, SEGMENT_BYTES))


@pytest.mark.parametrize("power", [True, False])
def test_a_crash_at_every_operation(power: bool) -> None:
    operations = 1
    while True:
        disk, model = SimDisk(operations), Model(7)
        disk.arm(operations, power)
        try:
            life(disk, model, 40)
            break
        except PowerLoss:
            ends_well(disk, model)
        operations += 1
    assert operations > 60


def test_crashes_at_random_over_many_lives() -> None:
    """Each life ends in a crash or a stop, some within recovery; now and then an operation fails."""
    for cycle in range(CYCLES // LIVES):
        seed = cycle
        disk, model = SimDisk(seed), Model(seed)
        try:
            for _ in range(LIVES):
                rng = model.rng
                if rng.random() < 0.7:
                    disk.arm(rng.randrange(1, 60), rng.random() < 0.6)
                if rng.random() < 0.2:
                    disk.fail(rng.randrange(1, 40), rng.choice((EIO, ENOSPC, SHORT)))
                try:
                    life(disk, model, 25)
                    disk.kill()
                except PowerLoss:
                    pass
                except Damaged:
                    raise
                except StoreError:
                    disk.kill()
            ends_well(disk, model)
        except BaseException:
            print(f"seed {seed}")
            raise


@pytest.mark.parametrize("fault", [EIO, ENOSPC, SHORT])
@pytest.mark.parametrize("power", [True, False])
def test_every_operation_of_the_log_failing(fault: str, power: bool) -> None:
    operations = 1
    while True:
        disk, model = SimDisk(operations), Model(11)
        disk.fail(operations, fault)
        log: FileLog | None = None
        error: StoreError | None = None
        try:
            log = FileLog(disk, SEGMENT_BYTES)
            model.restart(log)
            model.live(log, 40)
        except Damaged:
            raise
        except StoreError as failure:
            error = failure
        assert (error is None) or (error.path and disk.failed)
        if not disk.failed:
            break
        if log is not None and log.failure:
            with pytest.raises(StoreError, match="takes nothing more"):
                log.append(model.segment, log.next_number, 0, [b"x"])
            with pytest.raises(StoreError, match="takes nothing more"):
                log.trim(0)
        if power:
            disk.crash()
        else:
            disk.kill()
        ends_well(disk, model)
        operations += 1
    assert operations > 60


@pytest.mark.parametrize("fault", [EIO, ENOSPC, SHORT])
def test_a_failed_append_is_the_last(fault: str) -> None:
    disk = SimDisk()
    log = FileLog(disk, SEGMENT_BYTES)
    log.append(1, 1, 0, [b"x"])
    disk.fail(1, fault)
    with pytest.raises(StoreError, match="cannot write"):
        log.append(1, 2, 0, [b"y"])
    before = disk.operations
    for segment in (1, 2):
        with pytest.raises(StoreError, match="takes nothing more"):
            log.append(segment, 2, 0, [b"y"])
    with pytest.raises(StoreError, match="takes nothing more"):
        log.trim(1)
    assert disk.operations == before


def test_a_rename_that_only_the_kernel_knew_of_is_made_sure_of_before_the_file_is_used() -> None:
    """Killed between giving up a segment and syncing that; then the power goes while the file becomes another one."""
    for seed in range(60):
        disk = SimDisk(seed)
        log = FileLog(disk, SEGMENT_BYTES)
        log.append(1, 1, 0, [b"x"])
        log.append(2, 2, 0, [b"y"])
        disk.arm(4, False)
        with pytest.raises(PowerLoss):
            log.trim(2)  # list, size, rename, sync
        assert "log/0000000000000001.seg" not in disk.files()
        log = FileLog(disk, SEGMENT_BYTES)
        assert read_all(log) == [(2, 0, b"y")]
        disk.arm(7)
        with pytest.raises(PowerLoss):
            log.append(3, 3, 0, [b"z"])
        assert disk.log[-2:] == ["write log/00000002.spare", "rename log/00000002.spare"]
        assert read_all(FileLog(disk, SEGMENT_BYTES))[-1] == (2, 0, b"y")


def test_a_full_disk_leaves_the_log_its_prepared_room() -> None:
    disk = SimDisk()
    log = FileLog(disk, SEGMENT_BYTES)
    log.append(1, 1, 0, [b"x"])
    assert log.prepare()
    disk.fail(2, ENOSPC)
    assert not log.prepare()
    assert disk.failed
    assert log.prepare()  # there is room again
    assert not log.prepare()
    room = log.space_bytes()
    assert room == 2 * (SEGMENT_BYTES - 512) + SEGMENT_BYTES - 512 - 64
    log.append(2, 2, 0, [bytes(1_000)])
    assert log.space_bytes() < room
    assert [len(read_segment(log, segment)) for segment in log.segments()] == [1, 1]
    assert not [name for name in disk.files() if name.endswith(".tmp")]


class Shelf:
    """Pages put and deleted over lives of a process. `sure`: said to be there; `gone`: may be there all the same."""

    def __init__(self) -> None:
        self.sure: dict[tuple[int, int], bytes] = {}
        self.open: dict[tuple[int, int], bytes] = {}
        self.base = 0

    def live(self, pages: FilePages) -> None:
        for lane in (1, 2, 1, 2, 3):
            self.put(pages, lane, True)
        self.put(pages, 4, False)
        self.put(pages, 1, False)
        pages.sync_directories()
        self.sure.update(self.open)
        self.open = {}
        for key in ((1, 1), (2, 2)):
            self.open[key] = self.sure.pop(key, b"")
            pages.delete(*key)
        for key in [k for k in self.sure if k[0] == 3]:
            self.open[key] = self.sure.pop(key)
        pages.delete_queue(3)
        self.put(pages, 3, True)

    def put(self, pages: FilePages, lane: int, sync: bool) -> None:
        self.base += 1
        content = bytes([self.base]) * 700
        self.open[(lane, self.base)] = content
        pages.put(lane, self.base, [content[:100], content[100:]], sync)
        if sync:
            self.sure[(lane, self.base)] = content

    def check(self, pages: FilePages) -> None:
        there = pages.list()
        for lane, base in there:
            content = pages.get(lane, base)
            assert content == (self.sure.get((lane, base)) or self.open[(lane, base)])
        assert set(self.sure) <= set(there)


@pytest.mark.parametrize("how", ["power", "kill", EIO, ENOSPC, SHORT])
def test_every_operation_of_pages_crashing_or_failing(how: str) -> None:
    operations = 1
    while True:
        disk, shelf = SimDisk(operations), Shelf()
        if how in ("power", "kill"):
            disk.arm(operations, how == "power")
        else:
            disk.fail(operations, how)
        try:
            shelf.live(FilePages(disk))
            if not disk.failed:
                break
        except PowerLoss:
            pass
        except StoreError:
            assert disk.failed
        shelf.check(FilePages(disk))
        disk.crash()
        pages = FilePages(disk)
        shelf.check(pages)
        shelf.put(pages, 1, True)
        shelf.check(pages)
        operations += 1
    assert operations > 40


def test_a_disk_that_forgets_nothing_would_not_be_noticed() -> None:
    """The simulation bites: a log that does not sync loses blocks on it."""
    lost = 0
    for seed in range(20):
        disk = SimDisk(seed)
        log = FileLog(disk, SEGMENT_BYTES)
        log.append(1, 1, 0, [b"first"])
        disk.write(log.handle, log.at, [b"unsynced" * 200], False)
        written = bytes(disk.file("log/0000000000000001.seg").cache)
        disk.crash()
        assert len(read_all(FileLog(disk, SEGMENT_BYTES))) == 1
        lost += bytes(disk.file("log/0000000000000001.seg").cache) != written
    assert lost > 5
