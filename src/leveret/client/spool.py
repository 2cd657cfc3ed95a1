"""Messages that are to be sent, on disk until the broker has confirmed them: an SQLite file that outlives the producer.

What this file knows: rows of route, properties, body and message id, in the order they came; nothing of AMQP or loops.

Durability: write-ahead log with synchronous=NORMAL. What `append` returned for survives the crash or kill of the
process. A power cut may take the last commits with it, and never damages the file; with `power_safe` (synchronous=
FULL) it takes nothing, and each append waits for the disk.

Every call blocks. With batches of 1,000 messages of 100 bytes, on an ordinary machine: append 3 ms, read 0.5 ms, forget
1 ms; opening takes a quarter of a second for each million of messages that are in it, since it looks for damage. Its
memory stays at a few MB, however much is in it. One lock makes it fit for many threads. A forked child leaves it alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from leveret import limits
from leveret.errors import BufferFull, Closed, SpoolError

APPLICATION_ID: Final = 0x4C_56_52_54  # "LVRT", in the file's head
VERSION: Final = 1
ROW_BYTES: Final = 24  # what a row takes besides its fields, about

Entry = tuple[bytes, bytes, bytes, bytes]
Row = tuple[int, bytes, bytes, bytes, bytes]

_CREATE: Final = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    route BLOB NOT NULL, properties BLOB NOT NULL, body BLOB NOT NULL, message_id BLOB NOT NULL
)
"""
_SIZE: Final = f"length(route) + length(properties) + length(body) + length(message_id) + {ROW_BYTES}"
_INSERT: Final = "INSERT INTO message (route, properties, body, message_id) VALUES (?, ?, ?, ?)"
_INSERT_FIRST: Final = "INSERT INTO message (id, route, properties, body, message_id) VALUES (?, ?, ?, ?, ?)"
_READ: Final = "SELECT id, route, properties, body, message_id FROM message WHERE id > ? ORDER BY id LIMIT ?"
_SUM: Final = f"SELECT count(*), total({_SIZE}) FROM message WHERE id BETWEEN ? AND ?"
_DELETE: Final = "DELETE FROM message WHERE id BETWEEN ? AND ?"


class Spool:
    """The messages of one producer in the file `path`, which is made if it is not there.

    `limit_messages` and `limit_bytes` bound what is in it; `count` and `size_bytes` say what is. Raises SpoolError if
    another process (or another Spool) has the file, if it is no spool or a damaged one: it is left as it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        limit_messages: int = limits.SPOOL_MESSAGES,
        limit_bytes: int = limits.SPOOL_BYTES,
        power_safe: bool = False,
    ) -> None:
        self.path = Path(path)
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.count = 0
        self.size_bytes = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._next = 1
        self._database: sqlite3.Connection | None = None
        try:
            # what another has is refused at once: timeout 0
            database = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {self.path} cannot be opened: {error}") from None
        try:
            self._open(database, power_safe)
        except BaseException as error:
            database.close()
            if isinstance(error, sqlite3.Error):
                raise self._worded(error) from None
            raise
        self._database = database
        _OPEN.add(self)

    def _open(self, database: sqlite3.Connection, power_safe: bool) -> None:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # held until it is closed, by crash or otherwise
        database.execute("BEGIN EXCLUSIVE")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if tables and application != APPLICATION_ID:
            raise SpoolError(f"{self.path} is a database of something else: name another file for the spool")
        if tables and version != VERSION:
            raise SpoolError(
                f"the spool {self.path} is of version {version}, and this is for version {VERSION}"
            )
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        if not tables:
            database.execute("BEGIN")
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute(_CREATE)
            database.execute("COMMIT")
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise SpoolError(f"the spool {self.path} is damaged ({found.splitlines()[-1]}): {_RESCUE}")
        (last,) = database.execute("SELECT max(id) FROM message").fetchone()
        self._next = (last or 0) + 1
        self.count, self.size_bytes = self._sum(database, 0, self._next)

    @staticmethod
    def _sum(database: sqlite3.Connection, first: int, last: int) -> tuple[int, int]:
        count, size = database.execute(_SUM, (first, last)).fetchone()
        return count, int(size)

    def _worded(self, error: sqlite3.Error) -> SpoolError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SpoolError(
                f"the spool {self.path} is in use by another process: give each producer its own file"
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return SpoolError(f"the spool {self.path} is damaged ({error}): {_RESCUE}")
        return SpoolError(f"the spool {self.path} cannot be used: {error}")

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise Closed(f"the spool {self.path} is closed")
        if self._pid != os.getpid():
            raise SpoolError(
                f"the spool {self.path} belongs to the process {self._pid}, which forked this one"
            )
        return self._database

    # ---- what is in it

    def has_room(self, messages: int, size_bytes: int) -> bool:
        """Whether so many more messages, with so many bytes in their four fields, would be taken."""
        added = size_bytes + messages * ROW_BYTES
        return self.count + messages <= self.limit_messages and self.size_bytes + added <= self.limit_bytes

    def append(self, entries: Sequence[Entry]) -> int:
        """Write (route, properties, body, message id) of each, all or none; the number of the first one is returned.

        Numbers grow by one. Raises BufferFull if not all of them fit, SpoolError if the disk does not take them.
        """
        with self._lock:
            database = self._opened()
            if not entries:
                return self._next
            size_bytes = sum([len(a) + len(b) + len(c) + len(d) for a, b, c, d in entries])
            if not self.has_room(len(entries), size_bytes):
                raise BufferFull(
                    f"the spool {self.path} has {self.count} messages in {self.size_bytes} bytes, and no room for"
                    f" {len(entries)} more: at most {self.limit_messages}, and {self.limit_bytes} bytes"
                )
            first = self._next
            try:
                database.execute("BEGIN")
                database.execute(_INSERT_FIRST, (first, *entries[0]))  # the rest is numbered after it
                database.executemany(_INSERT, entries[1:])
                database.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo(database)
                raise self._worded(error) from None
            self._next = first + len(entries)
            self.count += len(entries)
            self.size_bytes += size_bytes + len(entries) * ROW_BYTES
            return first

    def read(self, after: int = 0, limit: int = 1_000) -> list[Row]:
        """The next messages behind number `after`, at most `limit`: (number, route, properties, body, message id)."""
        with self._lock:
            try:
                return self._opened().execute(_READ, (after, limit)).fetchall()
            except sqlite3.Error as error:
                raise self._worded(error) from None

    def forget(self, upto: int) -> int:
        """Delete all up to this number, with it; how many there were."""
        return self._forget([(0, upto)])

    def forget_many(self, numbers: Iterable[int]) -> int:
        """Delete these; how many there were. Numbers that follow each other are the cheapest."""
        ranges: list[tuple[int, int]] = []
        first = last = -1
        for number in sorted(numbers):
            if number > last + 1 or first < 0:
                if first >= 0:
                    ranges.append((first, last))
                first = number
            last = number
        if first >= 0:
            ranges.append((first, last))
        return self._forget(ranges)

    def _forget(self, ranges: list[tuple[int, int]]) -> int:
        with self._lock:
            database = self._opened()
            forgotten = forgotten_bytes = 0
            try:
                database.execute("BEGIN")
                for first, last in ranges:
                    count, size = self._sum(database, first, last)
                    forgotten += count
                    forgotten_bytes += size
                database.executemany(_DELETE, ranges)
                database.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo(database)
                raise self._worded(error) from None
            self.count -= forgotten
            self.size_bytes -= forgotten_bytes
            return forgotten

    @staticmethod
    def _undo(database: sqlite3.Connection) -> None:
        if database.in_transaction:
            database.execute("ROLLBACK")

    # ---- its end

    def close(self) -> None:
        """Let go of the file; an empty spool's becomes small. May be called twice. What is not forgotten stays."""
        with self._lock:
            database, self._database = self._database, None
            if database is None or self._pid != os.getpid():
                return
            try:
                if self.count == 0:
                    database.execute("VACUUM")
            except sqlite3.Error:
                pass  # a large file is no harm
            finally:
                database.close()

    def _leave(self) -> None:
        """In a forked child: never close what the parent uses, which would put its log away under its feet."""
        if self._database is not None:
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._database))
            self._lock = threading.Lock()  # a thread that is not here may hold the other

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_RESCUE: Final = "move it away and keep it, sqlite3's .recover may get messages out of it"

_OPEN: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()


def _leave_all() -> None:
    for spool in list(_OPEN):
        spool._leave()


os.register_at_fork(after_in_child=_leave_all)
