"""One broker a directory: an exclusive lock on a file in it, which names who holds it.

The system lets go of the lock when the process ends, however it ends; the file stays, and means nothing by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from pathlib import Path

from leveret.errors import DirectoryLocked, StoreError


class DirectoryLock:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "lock"
        self.handle = -1

    def acquire(self) -> None:
        """Raises DirectoryLocked, naming the process that has it, since when, and the directory."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock: {error.strerror}", str(self.path)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            raise DirectoryLocked(
                f"{self.path.parent} is in use by {holder}; stop that broker or choose another directory with --data"
            ) from error
        except OSError as error:
            os.close(handle)
            raise StoreError(f"cannot lock: {error.strerror}", str(self.path)) from error
        started = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime())
        text = f"process {os.getpid()} on {platform.node()}, started {started}\n"
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, of "another process"
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode(), 0)
        self.handle = handle

    def release(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
