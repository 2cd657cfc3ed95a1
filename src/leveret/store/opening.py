"""From a directory to a running state: the log is read, the newest whole checkpoint found, the rest replayed.

It brings log, journal, pager and a broker together through their interfaces; it is used by the server, by tests with
a simulated disk, and by nothing that runs per message.
"""

from __future__ import annotations

from collections.abc import Callable

from leveret.errors import Damaged
from leveret.journal import Journal, Pager, Restorer, StateSource
from leveret.native import i64
from leveret.seams import Log
from leveret.store.journal import LogJournal
from leveret.store.pager import FilePager
from leveret.store.pages import page_name
from leveret.store.recovery import LogBlock, Recovery, checkpoint_of


class Found:
    """A log's blocks from the oldest needed segment on, and where the checkpoint among them is."""

    def __init__(self) -> None:
        self.blocks: list[LogBlock] = []
        self.checkpoint_seq: i64 = -1
        self.keep_from: i64 = 0
        self.next_seq: i64 = 1
        self.last_segment: i64 = 0


def read_log(log: Log) -> Found:
    """Read and verify a whole log. Raises Damaged."""
    found = Found()
    for segment in log.segments():
        found.last_segment = segment
        for seq, flags, payload in log.read(segment):
            if flags & 1:
                keep_from = checkpoint_of(payload)
                if keep_from < 0:
                    raise Damaged(f"block {seq} of the log says that it is a checkpoint and is none")
                found.checkpoint_seq = seq
                found.keep_from = keep_from
            found.blocks.append(LogBlock(segment, seq, flags, payload))
            found.next_seq = seq + 1
    if found.checkpoint_seq < 0 and found.blocks:
        raise Damaged("the log has blocks and no checkpoint")
    found.blocks = [b for b in found.blocks if b.segment >= found.keep_from]
    return found


def replay(found: Found, restorer: Restorer) -> Recovery:
    recovery = Recovery(restorer)
    recovery.checkpoint_seq = found.checkpoint_seq
    recovery.keep_from = found.keep_from
    blocks = found.blocks
    found.blocks = []
    for block in blocks:
        recovery.feed(block)
    blocks.clear()
    recovery.restore()
    return recovery


def new_journal(found: Found, source: StateSource, segment_bytes: i64, segments: i64) -> LogJournal:
    """A journal that goes on behind what was found, in a segment of its own."""
    journal = LogJournal(source, found.last_segment + 1, segment_bytes, segments)
    journal.oldest = found.keep_from if found.keep_from > 0 else found.last_segment + 1
    return journal


def finish(
    journal: LogJournal, pager: FilePager, known: Callable[[int, int], bool], recovery: Recovery
) -> None:
    """After replay: drop page files that nothing knows, give up what the log need not keep, write a checkpoint.

    A page that is needed and not there is damage. Those that nothing knows are deleted once the checkpoint is on disk:
    what says that they are not needed may so far be known to the kernel alone, and a power failure may take it back.
    """
    there = pager.pages.list()
    missing = sorted(set(recovery.needed).difference(there))
    if missing:
        lane, base = missing[0]
        raise Damaged(
            f"{len(missing)} pages that the log needs are gone, the first of them", page_name(lane, base)
        )
    for lane, base in there:
        if not known(lane, base):
            pager.delete(lane, base)
    pager.journal = journal
    journal.leave(0)
    journal.write_checkpoint()


__all__ = ["Found", "Journal", "Pager", "finish", "new_journal", "read_log", "replay"]
