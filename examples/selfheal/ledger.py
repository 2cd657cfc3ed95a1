"""The book: which messages were sent (and confirmed), and each time that one was handled. Survives everybody.

A file of SQLite which several processes write to. It is the proof, so nothing is kept anywhere else.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WAIT_S = 30.0  # for another process that is writing

SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (id TEXT PRIMARY KEY, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS handled (id TEXT NOT NULL, worker TEXT NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY);
"""


@dataclass(frozen=True)
class Balance:
    sent: int
    missing: tuple[str, ...]  # sent and never handled: there must be none
    unknown: tuple[str, ...]  # handled and never confirmed as sent
    repeats: int  # handlings beyond the first of each message
    most: int  # handlings of one message
    effects: int  # what came of it: each message has its effect once


class Ledger:
    def __init__(self, path: Path) -> None:
        # Without transactions of the module's own: what is one is said below.
        self._book = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
        self._book.execute("PRAGMA journal_mode = WAL")
        self._book.execute("PRAGMA synchronous = OFF")  # processes are killed here, not the machine
        self._book.executescript(SCHEMA)

    def close(self) -> None:
        self._book.close()

    def sent(self, id: str) -> None:
        self._book.execute("INSERT OR IGNORE INTO sent VALUES (?, ?)", (id, time.time()))

    def handled(self, id: str, worker: str) -> bool:
        """Note that it was handled, and have its effect if it had none. Returns whether it was the first time.

        Both in one transaction: a worker that is killed here has done both or nothing.
        """
        self._book.execute("BEGIN IMMEDIATE")
        self._book.execute("INSERT INTO handled VALUES (?, ?, ?)", (id, worker, time.time()))
        first = self._book.execute("INSERT OR IGNORE INTO effects VALUES (?)", (id,)).rowcount == 1
        self._book.execute("COMMIT")
        return first

    def counts(self) -> tuple[int, int]:
        """How many were sent, and how often something was handled."""
        return self._one("SELECT count(*) FROM sent"), self._one("SELECT count(*) FROM handled")

    def effects(self) -> int:
        """How many have had their effect."""
        return self._one("SELECT count(*) FROM effects")

    def left(self) -> int:
        """How many were sent and not handled yet."""
        return self._one("SELECT count(*) FROM sent WHERE id NOT IN (SELECT id FROM effects)")

    def times(self) -> tuple[list[float], list[float]]:
        """When messages were confirmed, and when they were handled; seconds since the epoch."""
        return (
            [row[0] for row in self._book.execute("SELECT at_s FROM sent ORDER BY at_s")],
            [row[0] for row in self._book.execute("SELECT at_s FROM handled ORDER BY at_s")],
        )

    def workers(self) -> dict[str, int]:
        return dict(
            self._book.execute("SELECT worker, count(*) FROM handled GROUP BY worker ORDER BY worker")
        )

    def balance(self) -> Balance:
        handled = "SELECT id, count(*) AS times FROM handled GROUP BY id"
        return Balance(
            sent=self._one("SELECT count(*) FROM sent"),
            missing=_ids(self._book.execute("SELECT id FROM sent EXCEPT SELECT id FROM handled ORDER BY id")),
            unknown=_ids(self._book.execute("SELECT id FROM handled EXCEPT SELECT id FROM sent ORDER BY id")),
            repeats=self._one(f"SELECT coalesce(sum(times - 1), 0) FROM ({handled})"),
            most=self._one(f"SELECT coalesce(max(times), 0) FROM ({handled})"),
            effects=self._one("SELECT count(*) FROM effects"),
        )

    def _one(self, query: str) -> int:
        return int(self._book.execute(query).fetchone()[0])


def _ids(rows: Iterable[tuple[str]]) -> tuple[str, ...]:
    return tuple(row[0] for row in rows)
