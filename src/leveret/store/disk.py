"""The one seam to the operating system: every file operation the store makes, on names relative to its directory.

`Disk` says what an operation promises; `RealDisk` does it. Tests put a disk between that loses power or fails. Names
are made by the store from numbers: none comes from the wire. Every failure is a StoreError that names the file.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from leveret.errors import StoreError
from leveret.native import mypyc_attr

IOV_MAX: Final = 1_000  # parts of one write; the system's limit is 1,024
DSYNC: Final = getattr(os, "RWF_DSYNC", 0)


@mypyc_attr(allow_interpreted_subclasses=True)
class Disk:
    def make_directory(self, name: str) -> None:
        """Make a directory if it is not there. Durable when its parent was synced."""
        raise NotImplementedError

    def names(self, name: str) -> list[str]:
        """Names in a directory; none if it is not there."""
        raise NotImplementedError

    def create(self, name: str) -> int:
        """Open a file for writing, made if it is not there. Returns a handle."""
        raise NotImplementedError

    def write(self, handle: int, offset: int, parts: list[bytes], sync: bool) -> None:
        """Write all of it. With `sync` it is on disk on return."""
        raise NotImplementedError

    def sync(self, handle: int) -> None:
        raise NotImplementedError

    def close(self, handle: int) -> None:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """A whole file."""
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
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
        self.opened: dict[int, str] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def failed(self, what: str, name: str, error: OSError) -> StoreError:
        failure = StoreError(f"cannot {what}: {error.strerror}", self.path(name))
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
        try:
            if len(parts) > IOV_MAX:
                parts = [b"".join(parts)]
            want = 0
            for part in parts:
                want += len(part)
            if DSYNC:
                done = os.pwritev(handle, parts, offset, DSYNC if sync else 0)
            else:
                done = os.pwritev(handle, parts, offset)
            if done < want:
                whole = b"".join(parts)
                while done < want:
                    n = os.pwrite(handle, whole[done:], offset + done)
                    if n <= 0:
                        raise OSError(errno.EIO, "nothing was written")
                    done += n
                if sync:
                    os.fdatasync(handle)
            elif sync and not DSYNC:
                os.fdatasync(handle)
        except OSError as error:
            raise self.failed(f"write {want} bytes at {offset}", self.opened.get(handle, "?"), error) from error

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
            with open(self.path(name), "rb") as stream:
                return stream.read()
        except OSError as error:
            raise self.failed("read", name, error) from error

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
        try:
            os.rmdir(self.path(name))
        except OSError:
            pass

    def sync_directory(self, name: str) -> None:
        try:
            handle = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self.failed("sync directory", name, error) from error
