"""One process a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leveret.errors import DirectoryLocked, StoreError
from leveret.store.lock import DirectoryLock

HOLD = """
import sys
from pathlib import Path
from leveret.store.lock import DirectoryLock
DirectoryLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_names_who_holds_it_and_ends_with_the_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DirectoryLocked) as caught:
            DirectoryLock(tmp_path).acquire()
        holder.kill()
    assert f"process {holder.pid} on " in caught.value.text
    assert "started 20" in caught.value.text
    assert str(tmp_path) in caught.value.text
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()


def test_released_and_taken_again(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    with pytest.raises(DirectoryLocked):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()
    second.release()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the lock"):
        DirectoryLock(tmp_path / "nowhere").acquire()
