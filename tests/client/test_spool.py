"""The spool: order, positions, bounds, crashes, other processes, and files that are damaged or no spool."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leveret.client.spool import ROW_BYTES, Entry, Spool
from leveret.errors import BufferFull, Closed, SpoolError


def entries(first: int, count: int) -> list[Entry]:
    return [(b"route", b"properties", b"body %d" % n, b"id-%d" % n) for n in range(first, first + count)]


def ids(spool: Spool, after: int = 0, limit: int = 1000) -> list[bytes]:
    return [row[4] for row in spool.read(after, limit)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def test_what_is_appended_is_read_in_order(path: Path) -> None:
    with Spool(path) as spool:
        assert spool.append(entries(0, 3)) == 1
        assert spool.append(entries(3, 2)) == 4
        assert spool.append([]) == 6
        assert spool.count == 5
        assert spool.read(limit=1) == [(1, b"route", b"properties", b"body 0", b"id-0")]
        assert ids(spool, after=1, limit=2) == [b"id-1", b"id-2"]
        assert ids(spool, after=3) == [b"id-3", b"id-4"]
        assert ids(spool, after=5) == []


def test_what_is_confirmed_is_forgotten(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 10))
        assert spool.forget(3) == 3
        assert spool.forget(3) == 0
        assert spool.forget_many([10, 5, 6, 99]) == 3
        assert spool.forget_many([]) == 0
        assert ids(spool) == [b"id-3", b"id-6", b"id-7", b"id-8"]
        assert spool.count == 4


def test_numbers_are_not_used_again(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 2))
        spool.forget(2)
        assert (spool.count, spool.size_bytes) == (0, 0)
        assert spool.append(entries(2, 1)) == 3
        assert ids(spool, after=2) == [b"id-2"]


def test_empty_fields_and_any_bytes(path: Path) -> None:
    with Spool(path) as spool:
        spool.append([(b"", b"", b"", b""), (b"\0", b"\xff", bytes(range(256)), b"'")])
        assert [row[1:] for row in spool.read()] == [
            (b"", b"", b"", b""),
            (b"\0", b"\xff", bytes(range(256)), b"'"),
        ]


def test_it_is_opened_with_what_was_left(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 4))
        spool.forget_many([2])
        count, size_bytes = spool.count, spool.size_bytes
    with Spool(path) as spool:
        assert (spool.count, spool.size_bytes) == (count, size_bytes)
        assert ids(spool) == [b"id-0", b"id-2", b"id-3"]
        assert spool.append(entries(4, 1)) == 5


@pytest.mark.parametrize("power_safe", [False, True])
def test_a_killed_producer_leaves_what_was_appended_and_not_forgotten(path: Path, power_safe: bool) -> None:
    code = f"""
import os, signal
from leveret.client.spool import Spool
spool = Spool({str(path)!r}, power_safe={power_safe})
spool.append([(b"r", b"p", b"b", b"id-%d" % n) for n in range(5000)])
spool.forget(2000)
spool.append([(b"r", b"p", b"b", b"id-5000")])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with Spool(path) as spool:
        assert spool.count == 3001
        assert ids(spool, limit=10_000) == [b"id-%d" % n for n in range(2000, 5001)]


def test_the_bound_of_messages(path: Path) -> None:
    with Spool(path, limit_messages=3) as spool:
        spool.append(entries(0, 2))
        assert spool.has_room(1, 0) and not spool.has_room(2, 0)
        with pytest.raises(BufferFull, match=r"has 2 messages in .* no room for 2 more: at most 3"):
            spool.append(entries(2, 2))
        assert spool.count == 2
        assert spool.append(entries(2, 1)) == 3
        spool.forget(1)
        spool.append(entries(3, 1))


def test_the_bound_of_bytes(path: Path) -> None:
    entry = (b"12", b"34", b"56", b"78")
    with Spool(path, limit_bytes=2 * (8 + ROW_BYTES)) as spool:
        spool.append([entry, entry])
        assert spool.size_bytes == 2 * (8 + ROW_BYTES)
        with pytest.raises(BufferFull):
            spool.append([(b"", b"", b"", b"")])
        spool.forget(1)
        assert spool.has_room(1, 8) and not spool.has_room(1, 9)


def test_a_full_disk_takes_nothing_of_a_batch(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 10))
        assert spool._database is not None
        spool._database.execute("PRAGMA max_page_count = 3")
        with pytest.raises(SpoolError, match="full"):
            spool.append([(b"r", b"p", bytes(3000), b"id")] * 10)
        assert spool.count == len(spool.read()) == 10
        spool._database.execute("PRAGMA max_page_count = 1000000")
        assert spool.append(entries(10, 1)) == 11


def test_two_producers_cannot_share_a_file(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 1))
        code = f"from leveret.client.spool import Spool; Spool({str(path)!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.returncode == 1
        assert "in use by another process: give each producer its own file" in other.stderr
        with pytest.raises(SpoolError, match="in use"):
            Spool(path)
        assert ids(spool) == [b"id-0"]
    Spool(path).close()


def test_a_forked_child_is_refused_and_harms_nothing(path: Path) -> None:
    spool = Spool(path)
    spool.append(entries(0, 3))
    child = os.fork()
    if child == 0:
        try:
            spool.append(entries(3, 1))
        except SpoolError as error:
            spool.close()
            os._exit(0 if "which forked this one" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.append(entries(3, 1))
    spool.close()
    with Spool(path) as again:
        assert again.count == 4


def test_a_forked_child_that_ends_as_python_ends_harms_nothing(path: Path) -> None:
    code = f"""
import os
from leveret.client.spool import Spool
spool = Spool({str(path)!r})
spool.append([(b"r", b"p", b"b", b"id-0")])
child = os.fork()
if child:
    os.waitpid(child, 0)
    assert os.path.exists({str(path) + "-wal"!r}), "the child has put the log away"
    spool.append([(b"r", b"p", b"b", b"id-1")])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with Spool(path) as spool:
        assert ids(spool) == [b"id-0", b"id-1"]


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SpoolError, match=r"damaged|cannot be used"):
        Spool(path)
    assert path.read_bytes() == content


def test_a_damaged_spool_is_left_as_it_is(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 5000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 6000] = b"\xa5" * 6000
    path.write_bytes(content)
    with pytest.raises(SpoolError, match=r"is damaged .*move it away and keep it"):
        Spool(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE message (id INTEGER PRIMARY KEY)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(SpoolError, match="a database of something else"):
        Spool(path)
    assert path.read_bytes() == content


def test_a_spool_of_a_later_version(path: Path) -> None:
    Spool(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 2")
    other.close()
    with pytest.raises(SpoolError, match="of version 2"):
        Spool(path)


def test_a_place_that_is_not_there(path: Path) -> None:
    with pytest.raises(SpoolError, match=r"missing/spool\.db cannot be opened"):
        Spool(path.parent / "missing" / "spool.db")
    with pytest.raises(SpoolError, match="cannot be"):
        Spool(path.parent)


def test_a_closed_spool(path: Path) -> None:
    spool = Spool(path)
    spool.append(entries(0, 1))
    spool.close()
    spool.close()
    with pytest.raises(Closed):
        spool.append(entries(1, 1))
    with pytest.raises(Closed):
        spool.read()


def test_an_empty_spool_gives_its_disk_back(path: Path) -> None:
    with Spool(path) as spool:
        spool.append(entries(0, 20_000))
        spool.forget(20_000)
    assert path.stat().st_size < 20_000
    assert sorted(file.name for file in path.parent.iterdir()) == ["spool.db"]


def test_several_threads_append_without_losing_or_mixing(path: Path) -> None:
    with Spool(path) as spool:

        def work(first: int) -> None:
            for batch in range(20):
                spool.append(entries(first + batch * 10, 10))

        threads = [threading.Thread(target=work, args=(number * 1000,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = ids(spool)
    assert sorted(found) == sorted(b"id-%d" % (t * 1000 + n) for t in range(4) for n in range(200))
    assert [found[at] for at in range(0, 800, 10)] == [
        b"id-%d" % (int(found[at + 9][3:]) - 9) for at in range(0, 800, 10)
    ]
