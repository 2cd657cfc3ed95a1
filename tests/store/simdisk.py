"""A disk in memory that forgets: all that was not synced may be gone, or half there, after `crash`.

What a real disk may do, from a seed, and somewhat worse than most do:

* of a file's unsynced writes any subset survives, sector by sector of 512 bytes, in any order of time;
* a write with `sync` makes durable the sectors it touched, and the file's size, no other ones;
* a file's name, a rename, a removal survives only if its directory was synced, each by itself;
* the write under way when the power goes is torn anywhere, also inside a sector;
* after a sync that failed, what it was to write never reaches the disk, though reads show it.

`kill` is the other crash: the process goes, the kernel keeps all that it was given.
Operations are counted: `arm` crashes in the middle of the Nth one from now, `fail` makes it fail once. `no_room_for`
is a disk that is full for some files until it is cleared.
"""

from __future__ import annotations

import copy
import random

from leveret.errors import StoreError
from leveret.store.disk import Disk

SECTOR = 512

EIO = "EIO"
ENOSPC = "ENOSPC"
SHORT = "short"  # a part is written, then the disk is full


class PowerLoss(BaseException):
    """The machine stopped in the middle of an operation."""


class SimFile:
    def __init__(self) -> None:
        self.cache = bytearray()  # what reads see
        self.durable = bytearray()
        self.dirty: dict[int, list[bytes]] = {}  # sector: what it held since it was last durable

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.cache):
            self.cache.extend(bytes(end - len(self.cache)))
        self.cache[offset:end] = data
        for sector in range(offset // SECTOR, (end + SECTOR - 1) // SECTOR):
            self.dirty.setdefault(sector, []).append(self.sector(sector))

    def sector(self, sector: int) -> bytes:
        return bytes(self.cache[sector * SECTOR : (sector + 1) * SECTOR])

    def sync(self, first: int, last: int) -> None:
        """Make sectors durable, both ends included."""
        for sector in [s for s in self.dirty if first <= s <= last]:
            self.put(sector, self.sector(sector))
            del self.dirty[sector]

    def put(self, sector: int, data: bytes) -> None:
        end = sector * SECTOR + len(data)
        if end > len(self.durable):
            self.durable.extend(bytes(end - len(self.durable)))
        self.durable[sector * SECTOR : end] = data

    def lose(self, rng: random.Random) -> None:
        """Keep the durable sectors, and of the others what chance says."""
        luck = rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        for sector, versions in self.dirty.items():
            if rng.random() < luck:
                self.put(sector, rng.choice((versions[-1], rng.choice(versions))))
        self.dirty = {}
        self.cache = bytearray(self.durable)


Entry = tuple[str, SimFile | None]  # name, and what it names from now on; None: nothing


class SimDirectory:
    def __init__(self) -> None:
        self.now: dict[str, SimFile] = {}
        self.durable: dict[str, SimFile] = {}
        self.pending: list[list[Entry]] = []  # changes since the last sync, each whole or not at all

    def change(self, entries: list[Entry]) -> None:
        apply(self.now, entries)
        self.pending.append(entries)

    def sync(self) -> None:
        self.durable = dict(self.now)
        self.pending = []

    def lose(self, rng: random.Random) -> None:
        luck = rng.choice((0.0, 0.3, 0.7, 1.0))
        for entries in self.pending:
            if rng.random() < luck:
                apply(self.durable, entries)
        self.pending = []
        self.now = dict(self.durable)


def apply(names: dict[str, SimFile], entries: list[Entry]) -> None:
    for name, file in entries:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def split(name: str) -> tuple[str, str]:
    directory, _, last = name.rpartition("/")
    return directory, last


class SimDisk(Disk):
    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.directories: dict[str, SimDirectory] = {"": SimDirectory()}
        self.durable_directories: set[str] = {""}
        self.removed_directories: dict[str, SimDirectory] = {}  # durable, removed, and not synced yet
        self.handles: dict[int, tuple[str, SimFile]] = {}
        self.next_handle = 3
        self.operations = 0
        self.log: list[str] = []
        self.crash_at = 0
        self.power = True
        self.fail_at = 0
        self.fault = EIO
        self.failed = 0
        self.faulted = ""  # the operation that failed last
        self.no_room_for = ""  # writing to files with this in their names finds the disk full

    # ---- what tests do to it

    def arm(self, operations: int, power: bool = True) -> None:
        """Crash in the middle of that operation from now; `power`: what was not synced is lost too."""
        self.crash_at = self.operations + operations
        self.power = power

    def fail(self, operations: int, fault: str = EIO) -> None:
        """Let that operation from now fail, once."""
        self.fail_at = self.operations + operations
        self.fault = fault

    def crash(self) -> None:
        """The power goes. What is left is what the next process finds."""
        for name in sorted(self.directories):
            directory = self.directories[name]
            for file in [*directory.now.values(), *directory.durable.values()]:
                file.lose(self.rng)
            for entries in directory.pending:
                for _, changed in entries:
                    if changed is not None:
                        changed.lose(self.rng)
            directory.lose(self.rng)
        for name in sorted(self.directories):
            if name not in self.durable_directories and self.rng.random() < 0.5:
                del self.directories[name]
        for name in sorted(self.removed_directories):
            if self.rng.random() < 0.5:
                directory = self.removed_directories[name]
                directory.lose(self.rng)
                self.directories.setdefault(name, directory)
        self.durable_directories = set(self.directories)
        self.removed_directories = {}
        self.kill()

    def kill(self) -> None:
        """The process goes, and its handles with it."""
        self.handles = {}
        self.crash_at = 0
        self.fail_at = 0

    def copied(self) -> SimDisk:
        """Another disk with the same on it, for a process that has just started."""
        other = SimDisk()
        other.directories = copy.deepcopy(self.directories)
        other.durable_directories = set(self.directories)
        return other

    def files(self) -> list[str]:
        return [
            f"{d}/{n}" if d else n for d in sorted(self.directories) for n in sorted(self.directories[d].now)
        ]

    def file(self, name: str) -> SimFile:
        directory, last = split(name)
        found = self.directories.get(directory, SimDirectory()).now.get(last)
        if found is None:
            raise StoreError("cannot find: No such file or directory", name)
        return found

    def flip(self, name: str, bit: int) -> None:
        """Turn a bit of a file over; again to turn it back."""
        file = self.file(name)
        for data in (file.cache, file.durable):
            data[bit // 8] ^= 1 << bit % 8

    # ---- each operation begins here

    def _step(self, what: str, name: str) -> str:
        """Count. Returns the fault to act out, "crash" included, or an empty string."""
        self.operations += 1
        self.log.append(f"{what} {name}")
        if self.operations == self.crash_at:
            return "crash"
        if self.operations == self.fail_at:
            self.failed += 1
            self.faulted = f"{what} {name}"
            return self.fault
        if self.no_room_for and what == "write" and self.no_room_for in name:
            return ENOSPC
        return ""

    def _stop(self) -> None:
        if self.power:
            self.crash()
        else:
            self.kill()
        raise PowerLoss

    def _plain(self, what: str, name: str) -> None:
        """An operation that happens or does not."""
        fault = self._step(what, name)
        if fault == "crash":
            self._stop()
        if fault:
            raise self._error(what, name, fault)

    def _error(self, what: str, name: str, fault: str, offset: int = -1) -> StoreError:
        error = StoreError(f"cannot {what}: {fault}", name or ".", offset)
        error.full = fault != EIO
        return error

    # ---- the seam

    def make_directory(self, name: str) -> None:
        self._plain("make directory", name)
        self.directories.setdefault(name, SimDirectory())

    def names(self, name: str) -> list[str]:
        self._plain("list", name)
        found = list(self.directories[name].now) if name in self.directories else []
        found += [last for parent, last in map(split, self.directories) if last and parent == name]
        return sorted(found)

    def create(self, name: str) -> int:
        self._plain("open", name)
        directory, last = split(name)
        if directory not in self.directories:
            raise StoreError("cannot open: No such file or directory", name)
        if last not in self.directories[directory].now:
            self.directories[directory].change([(last, SimFile())])
        self.next_handle += 1
        self.handles[self.next_handle] = (name, self.directories[directory].now[last])
        return self.next_handle

    def write(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> None:
        name, file = self.handles[handle]
        data = b"".join(parts)
        fault = self._step("write", name)
        first, last = offset // SECTOR, (offset + len(data) - 1) // SECTOR
        if fault == "crash":
            self._tear(file, offset, data)
            self._stop()
        if fault in (EIO, SHORT):
            file.write(offset, data[: self.rng.randrange(len(data) + 1)])
        if fault:
            if fault == EIO and sync:  # the pages are clean now, and the bytes nowhere
                for sector in range(first, last + 1):
                    file.dirty.pop(sector, None)
            raise self._error("write", name, fault, offset)
        file.write(offset, data)
        if sync:
            file.sync(first, last)

    def _tear(self, file: SimFile, offset: int, data: bytes) -> None:
        how = self.rng.randrange(3)
        cut = self.rng.randrange(len(data) + 1)
        if how == 0 or not self.power:
            file.write(offset, data[:cut])
        elif how == 1:  # any sectors of it
            file.write(offset, data)
        if how == 0 and self.power:  # in the midst of a sector
            file.sync(0, len(file.cache) // SECTOR)

    def sync(self, handle: int) -> None:
        name, file = self.handles[handle]
        fault = self._step("sync", name)
        if fault == "crash":
            self._stop()
        if fault:
            file.dirty = {}
            raise self._error("sync", name, fault)
        file.sync(0, len(file.cache) // SECTOR)

    def close(self, handle: int) -> None:
        self.handles.pop(handle, None)

    def read(self, name: str) -> bytes:
        self._plain("read", name)
        return bytes(self.file(name).cache)

    def read_at(self, name: str, offset: int, length: int) -> bytes:
        self._plain("read", name)
        return bytes(self.file(name).cache[offset : offset + length])

    def size(self, name: str) -> int:
        self._plain("look at", name)
        return len(self.file(name).cache)

    def rename(self, old: str, new: str) -> None:
        self._plain("rename", old)
        file = self.file(old)
        for handle, (_, opened) in self.handles.items():
            if opened is file:
                self.handles[handle] = (new, file)
        there, name = split(new)
        here, before = split(old)
        if here == there:
            self.directories[here].change([(before, None), (name, file)])
        else:
            self.directories[there].change([(name, file)])
            self.directories[here].change([(before, None)])

    def remove(self, name: str) -> None:
        self._plain("remove", name)
        directory, last = split(name)
        if last in self.directories.get(directory, SimDirectory()).now:
            self.directories[directory].change([(last, None)])

    def remove_directory(self, name: str) -> None:
        self._plain("remove directory", name)
        if name in self.directories and not self.directories[name].now:
            directory = self.directories.pop(name)
            if name in self.durable_directories:
                self.durable_directories.discard(name)
                self.removed_directories[name] = directory

    def sync_directory(self, name: str) -> None:
        self._plain("sync directory", name)
        self.directories[name].sync()
        for child in list(self.directories):
            if child and split(child)[0] == name:
                self.durable_directories.add(child)
        for removed in list(self.removed_directories):
            if split(removed)[0] == name:
                del self.removed_directories[removed]
