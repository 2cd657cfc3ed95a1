"""The broker's state on disk: opened, recovered, written to by one thread, and closed.

Threads are here and nowhere else in the broker: one writes the log, a block at a time; one moves pages. The loop
hands them work and is woken when it is done. Knows files through `store` only.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from leveret import logs
from leveret.config import Config
from leveret.core.broker import Broker
from leveret.core.restore import BrokerRestorer, BrokerSource
from leveret.errors import StoreError
from leveret.journal import Journal, Pager
from leveret.seams import Log
from leveret.store.disk import RealDisk
from leveret.store.journal import Block, LogJournal
from leveret.store.lock import DirectoryLock
from leveret.store.log import FileLog
from leveret.store.opening import finish, new_journal, read_log, replay
from leveret.store.pager import FilePager
from leveret.store.pages import FilePages

log = logs.get("store")


class Writer:
    """The thread that writes blocks. `hand` gives it one; `landed` is called on the loop when it is on disk."""

    def __init__(self, target: Log, first_seq: int, wake: Callable[[], None]) -> None:
        self.log = target
        self.seq = first_seq
        self.wake = wake
        self.block: Block | None = None
        self.busy = False
        self.held = False  # segments that are not needed stay: a backup is being made
        self.error = ""
        self.given = threading.Lock()
        self.given.acquire()
        self.thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.stopping = False
        self.thread.start()

    def hand(self, block: Block) -> None:
        self.busy = True
        self.block = block
        self.given.release()

    def _run(self) -> None:
        append = self.log.append
        while True:
            self.given.acquire()
            block = self.block
            if self.stopping or block is None:
                return
            try:
                append(block.segment, self.seq, block.flags, block.parts)
                self.seq += 1
                if block.keep_from and not self.held:
                    self.log.trim(block.keep_from)
            except StoreError as error:
                self.error = error.text
            self.wake()

    def stop(self) -> None:
        """End the thread. Nothing is handed to it any more."""
        self.stopping = True
        with contextlib.suppress(RuntimeError):  # not locked: a block was given just now, so it looks anyway
            self.given.release()
        self.thread.join()


class Storage:
    """`journal` and `pager` of a broker, and what stands behind them. Without a directory: null objects."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.directory: Path | None = None if config.memory else Path(config.data_dir)
        self.source = BrokerSource()
        self.writer: Writer | None = None
        self.lock: DirectoryLock | None = None
        self.file_pager: FilePager | None = None
        self.log_journal: LogJournal | None = None
        self.log: FileLog | None = None
        self.recovery_s = 0.0
        self.pager_thread: threading.Thread | None = None

    def open(self) -> Broker:
        """Recover what is there. Raises DirectoryLocked, Damaged, StoreError."""
        if self.directory is None:
            return Broker(Journal(), Pager())
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock = DirectoryLock(self.directory)
        self.lock.acquire()
        started = time.perf_counter()
        disk = RealDisk(os.fspath(self.directory))
        self.log = FileLog(disk, self.config.segment_bytes)
        self.file_pager = FilePager(FilePages(disk), self.config.pages_in_memory_bytes)
        found = read_log(self.log)
        journal = new_journal(found, self.source, self.config.segment_bytes, self.config.log_segments)
        broker = Broker(journal, self.file_pager)
        self.source.broker = broker
        replay(self.log, found, BrokerRestorer(broker))
        for vhost in broker.vhosts.values():
            vhost.recovered()
        finish(journal, self.file_pager, broker.knows_page, found)
        self.log_journal = journal
        self.next_seq = int(found.next_seq)
        self.recovery_s = time.perf_counter() - started
        log.info(
            "recovered",
            extra=logs.fields(
                directory=str(self.directory),
                messages_in_log=found.messages,
                records=found.records,
                clean_stop=found.clean,
                seconds=round(self.recovery_s, 3),
            ),
        )
        return broker

    def start(self, block_landed: Callable[[], None], page_landed: Callable[[], None]) -> None:
        """Start the threads. The callables are called in them: they must only wake the loop."""
        if self.log is None or self.file_pager is None:
            return
        self.writer = Writer(self.log, self.next_seq, block_landed)
        self.file_pager.wake = page_landed
        self.file_pager.background = self.log.prepare
        self.file_pager.hurry = self.log.hurry
        self.pager_thread = threading.Thread(target=self.file_pager.work, name="pager", daemon=True)
        self.pager_thread.start()
        self.file_pager.prepare()

    def close(self) -> None:
        """Stop the threads and let go of the directory. What is to be written has been."""
        if self.writer is not None:
            self.writer.stop()
        if self.file_pager is not None and self.pager_thread is not None:
            self.file_pager.stop()
            self.pager_thread.join()
        if self.log is not None:
            self.log.close()
        if self.lock is not None:
            self.lock.release()
