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
from leveret.store.recovery import Recovery


def read_log(log: Log) -> Recovery:
    """First pass: read and verify a whole log, a segment at a time. Raises Damaged."""
    found = Recovery()
    segments = log.segments()
    for segment in segments:
        blocks = log.blocks(segment, -1)
        n: i64 = blocks.count()
        i: i64 = 0
        while i < n:
            seq, flags, payload = blocks.block(i)
            found.learn(segment, seq, flags, payload)
            i += 1
        found.counts[segment] = n
        found.last_segment = segment
    if found.seen_checkpoint:
        if found.keep_from < segments[0]:
            raise Damaged(f"segment {found.keep_from} of the log is missing: the last checkpoint needs it")
    elif found.next_seq > 1:
        raise Damaged("the log has blocks and no checkpoint")
    return found


def replay(log: Log, found: Recovery, restorer: Restorer) -> None:
    """Second pass: bring back what waits."""
    found.begin(restorer)
    for segment, count in found.counts.items():
        if segment < found.keep_from:
            continue
        blocks = log.blocks(segment, count)
        n: i64 = blocks.count()
        i: i64 = 0
        while i < n:
            _, flags, payload = blocks.block(i)
            found.recall(segment, flags, payload)
            i += 1
    found.end()


def new_journal(found: Recovery, source: StateSource, segment_bytes: i64, segments: i64) -> LogJournal:
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


__all__ = ["Journal", "Pager", "finish", "new_journal", "read_log", "replay"]
