"""The one seam to the operating system: every file operation the store makes, on names relative to its directory.

`Disk` says what an operation promises; `RealDisk` does it. Tests put a disk between that loses power or fails. Names
are made by the store from numbers: none comes from the wire. Every failure is a StoreError that names the file.
Python itself tries an interrupted call again (PEP 475), so EINTR is not seen here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from leveret.errors import StoreError
from leveret.native import mypyc_attr

IOV_MAX: Final = 1_000  # parts of one write; the system's limit is 1,024
DSYNC: Final[int] = getattr(os, "RWF_DSYNC", 0)
NO_DSYNC: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # from file systems and kernels that lack it


@mypyc_attr(allow_interpreted_subclasses=True)
class Disk:
    def make_directory(self, name: str) -> None:
        """Make a directory if it is not there. Durable when its parent was synced."""
        raise NotImplementedError

    def names(self, name: str) -> list[str]:
        """Names in a directory ("": the root), sorted; none if it is not there."""
        raise NotImplementedError

    def create(self, name: str) -> int:
        """Open a file for writing, made empty if it is not there. Returns a handle."""
        raise NotImplementedError

    def write(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> None:
        """Write all of it. With `sync` these bytes are on disk on return (others of the file need not be)."""
        raise NotImplementedError

    def sync(self, handle: int) -> None:
        """All that was written to the file is on disk on return."""
        raise NotImplementedError

    def close(self, handle: int) -> None:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """A whole file."""
        raise NotImplementedError

    def read_at(self, name: str, offset: int, length: int) -> bytes:
        """A part of a file; less of it where the file ends."""
        raise NotImplementedError

    def size(self, name: str) -> int:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        """Whole at any moment: `new` is the old file or the new one."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Remove a file; none there is fine."""
        raise NotImplementedError

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory; none there, or one in use, is fine."""
        raise NotImplementedError

    def sync_directory(self, name: str) -> None:
        """What was created, renamed or removed in it is on disk on return."""
        raise NotImplementedError


class RealDisk(Disk):
    def __init__(self, root: str) -> None:
        self.root = root
        self.dsync = DSYNC
        self.opened: dict[int, str] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def failed(self, what: str, name: str, error: OSError, offset: int = -1) -> StoreError:
        failure = StoreError(f"cannot {what}: {error.strerror}", self.path(name), offset)
        failure.full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return failure

    def make_directory(self, name: str) -> None:
        try:
            os.makedirs(self.path(name), mode=0o700, exist_ok=True)
        except OSError as error:
            raise self.failed("make directory", name, error) from error

    def names(self, name: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path(name)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self.failed("list", name, error) from error

    def create(self, name: str) -> int:
        try:
            handle = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self.failed("open", name, error) from error
        self.opened[handle] = name
        return handle

    def write(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> None:
        if len(parts) > IOV_MAX:
            parts = [b"".join(parts)]  # one call, so that one sync covers it
        want = 0
        for part in parts:
            want += len(part)
        try:
            done = self._pwritev(handle, offset, parts, sync)
            if done < want:  # interrupted by a signal, or more than one call takes: the rest, plainly
                whole = b"".join(parts)
                while done < want:
                    n = os.pwrite(handle, memoryview(whole)[done:], offset + done)
                    if n <= 0:
                        raise OSError(errno.EIO, "nothing was written")
                    done += n
                if sync:
                    os.fdatasync(handle)
        except OSError as error:
            raise self.failed(f"write {want} bytes", self.opened.get(handle, "?"), error, offset) from error

    def _pwritev(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> int:
        if sync and self.dsync:
            try:
                return os.pwritev(handle, parts, offset, self.dsync)
            except OSError as error:
                if error.errno not in NO_DSYNC:
                    raise
                self.dsync = 0
        done = os.pwritev(handle, parts, offset)
        if sync:
            os.fdatasync(handle)
        return done

    def sync(self, handle: int) -> None:
        try:
            os.fdatasync(handle)
        except OSError as error:
            raise self.failed("sync", self.opened.get(handle, "?"), error) from error

    def close(self, handle: int) -> None:
        self.opened.pop(handle, None)
        os.close(handle)

    def read(self, name: str) -> bytes:
        try:
            with open(self.path(name), "rb", 0) as stream:
                return bytes(stream.readall())
        except OSError as error:
            raise self.failed("read", name, error) from error

    def read_at(self, name: str, offset: int, length: int) -> bytes:
        try:
            with open(self.path(name), "rb", 0) as stream:
                return os.pread(stream.fileno(), length, offset)
        except OSError as error:
            raise self.failed(f"read {length} bytes", name, error, offset) from error

    def size(self, name: str) -> int:
        try:
            return os.stat(self.path(name)).st_size
        except OSError as error:
            raise self.failed("look at", name, error) from error

    def rename(self, old: str, new: str) -> None:
        try:
            os.rename(self.path(old), self.path(new))
        except OSError as error:
            raise self.failed(f"rename to {new}", old, error) from error

    def remove(self, name: str) -> None:
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self.failed("remove", name, error) from error

    def remove_directory(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self.path(name))

    def sync_directory(self, name: str) -> None:
        try:
            handle = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self.failed("sync directory", name, error) from error
