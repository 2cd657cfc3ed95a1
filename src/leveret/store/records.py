"""The records of the log, and how they are told apart. The blocks they travel in are log.py's business.

A record, big endian:

    0       1       2       4               8
    +-------+-------+-------+---------------+---- - - -
    | type  |  0    | n u16 | length u32    | body, `length` bytes
    +-------+-------+-------+---------------+---- - - -

    PUBLISH     n targets: n * (lane i64, seq i64) | flags u8: 1 persistent, 2 has terms, 4 moved | protocol u8
                | route length u16 | data length u32 | body size i64
                | has terms: stamp ms i64, ttl ms i64, due ms i64, priority i64
                | moved: from lane i64, from seq i64 | route | data
                What it was moved from is settled by it
    SETTLE      lane i64 | first i64 | last i64
    DELIVERED   lane i64 | below i64; n = 1: exactly so (a clean stop), else at least so
    STORED      lane i64 | base i64 | entry (core/page.py): the page is on disk
    TOPOLOGY    one change of topology (core/topology.py)
    TX          records, all or nothing
    FRAGMENT    n: 1 first, 2 middle, 3 last | chain i64 | first: segment i64 | a piece of a record too large for a block.
                What its messages are settled with may come before it, but not before that segment
    BEGIN       checkpoint begins: | oldest segment that is needed i64 |
    LANE        in a checkpoint: lane i64 | next seq i64 | delivered below i64
    END         checkpoint ends
    CLEAN       a clean stop: what follows comes from a later start
    NOTE        lane i64 | seq i64 | what else is known of a message: the last one counts, and goes with the message
    FACT        lane i64 | what the lane's owner wants to be told after a restart, in this order

A record that comes in fragments counts where its last one is, so of a long transaction notes and facts may come late. A
checkpoint has all that still count; those before it are forgotten. Versions: 1 knew neither terms nor moves, notes nor
facts, and is read as it is.

To change the format: raise FORMAT_VERSION in segment.py, keep a reader of the old version here for one release, and
add a store of the old version to tests/store/test_versions.py.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be

from leveret.errors import Damaged
from leveret.native import i64

PUBLISH: Final[i64] = 1
SETTLE: Final[i64] = 2
DELIVERED: Final[i64] = 3
STORED: Final[i64] = 4
TOPOLOGY: Final[i64] = 5
TX: Final[i64] = 6
FRAGMENT: Final[i64] = 7
BEGIN: Final[i64] = 8
LANE: Final[i64] = 9
END: Final[i64] = 10
CLEAN: Final[i64] = 11
NOTE: Final[i64] = 12
FACT: Final[i64] = 13

HEADER_BYTES: Final[i64] = 8
TARGET_BYTES: Final[i64] = 16
CONTENT_BYTES: Final[i64] = 16  # of a PUBLISH behind its targets
TERMS_BYTES: Final[i64] = 32
SOURCE_BYTES: Final[i64] = 16

# Flags of a PUBLISH.
PERSISTENT: Final[i64] = 1
HAS_TERMS: Final[i64] = 2
MOVED: Final[i64] = 4

FIRST: Final[i64] = 1
MIDDLE: Final[i64] = 2
LAST: Final[i64] = 3

NAMES: Final = {
    1: "publish",
    2: "settle",
    3: "delivered",
    4: "stored",
    5: "topology",
    6: "tx",
    7: "fragment",
    8: "begin",
    9: "lane",
    10: "end",
    11: "clean",
    12: "note",
    13: "fact",
}


def record_end(payload: bytes, pos: i64) -> i64:
    """Where the record at `pos` ends. Raises Damaged if it does not fit its block."""
    n: i64 = len(payload)
    if pos + HEADER_BYTES > n:
        raise Damaged("a record's header is cut short")
    length: i64 = i64(read_i32_be(payload, pos + 4))
    if length < 0 or pos + HEADER_BYTES + length > n:
        raise Damaged("a record is longer than its block")
    return pos + HEADER_BYTES + length
