"""Terms, moves, notes and facts: from a journal's calls, through its blocks, to what recovery says.

Every history is cut off behind every block. LEVERET_HISTORIES=N plays more of those made at random, and
LEVERET_HISTORY_SEED=S begins elsewhere: a failure names its seed.
"""

from __future__ import annotations

import os
import random

import pytest

from leveret.errors import Damaged
from leveret.store.describe import describe
from leveret.store.journal import Block
from tests.store.ledger import LANES, Ledger, Reader, State, message, recovered

HISTORIES = int(os.environ.get("LEVERET_HISTORIES", "12"))
FIRST_SEED = int(os.environ.get("LEVERET_HISTORY_SEED", "0"))
A, B, C = LANES
TERMS = (1_700_000_000_000, -1, 1 << 40, 255)
CHAIN = 20_000  # bytes from 16,384 on go to the log uncopied: as a chain, if they are more than half a block
SIZES = (0, 30, 600, 1_900, 5_000, CHAIN)


def look(ledger: Ledger, blocks: list[Block] | None = None) -> State:
    ledger.write()
    return recovered(ledger.blocks if blocks is None else blocks, Reader(ledger.files))


def ends(ledger: Ledger) -> list[tuple[int, int]]:
    """(how many blocks, the number of the last) for each place where the log may be cut off."""
    last = 0
    found: list[tuple[int, int]] = []
    for n, block in enumerate(ledger.blocks):
        last = max(last, int(block.number))
        found.append((n + 1, last))
    return found


def check_every_end(ledger: Ledger, who: str = "") -> None:
    ledger.write()
    for n, last in ends(ledger):
        for trimmed in (False, True):
            found, notes, facts = recovered(ledger.cut(n, trimmed), Reader(ledger.files))
            want = ledger.after(last)
            where = f"{who}cut off behind block {last}, trimmed: {trimmed}"
            assert found == want[0], where
            assert notes == want[1], where
            # One that came in a chain is behind those of the blocks between, until a checkpoint puts it right.
            assert in_any_order(facts) == in_any_order(want[2]), where


def in_any_order(facts: dict[int, list[bytes]]) -> dict[int, list[bytes]]:
    return {lane: sorted(each) for lane, each in facts.items()}


# ---- one at a time


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lanes", [[A], [A, B, C]])
@pytest.mark.parametrize("in_tx", [False, True])
def test_terms_come_back(size: int, lanes: list[int], in_tx: bool) -> None:
    ledger = Ledger()
    if in_tx:
        ledger.begin_tx()
    ledger.publish(message(bytes(size), TERMS), lanes)
    ledger.publish(message(b"plain"), lanes)
    ledger.publish(message(bytes(size), (0, 0, 0, 0)), lanes)
    if in_tx:
        ledger.end_tx()
    found, _, _ = look(ledger)
    for lane in lanes:
        assert found[(lane, 0)] == (bytes(size), TERMS)
        assert found[(lane, 1)] == (b"plain", None)
        assert found[(lane, 2)] == (bytes(size), (0, 0, 0, 0))
    check_every_end(ledger)


def test_a_message_without_terms_has_the_record_it_always_had() -> None:
    one, two = Ledger(), Ledger()
    one.journal.publish(message(b"body"), A, 3)
    two.journal.begin(message(b"body"), -1, 0)
    two.journal.target(A, 3)
    two.journal.end()
    one.write()
    two.write()
    record = b"\1\0\0\1\0\0\0\x27" + A.to_bytes(8, "big") + (3).to_bytes(8, "big")
    record += b"\1\1\0\3\0\0\0\4" + (4).to_bytes(8, "big") + b"\0\1q" + b"body"
    assert b"".join(one.blocks[-1].parts) == b"".join(two.blocks[-1].parts) == record


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("terms", [None, TERMS])
@pytest.mark.parametrize("in_tx", [False, True])
def test_a_move_settles_what_it_was_moved_from(
    size: int, terms: tuple[int, int, int, int] | None, in_tx: bool
) -> None:
    ledger = Ledger()
    for n in range(3):
        ledger.publish(message(b"%d" % n), [A])
    ledger.note((A, 1), b"goes with it")
    ledger.write()
    before = look(ledger)
    if in_tx:
        ledger.begin_tx()
    ledger.publish(message(bytes(size), terms), [B, C], (A, 1))
    if in_tx:
        ledger.end_tx()
    found, notes, _ = look(ledger)
    assert set(found) == {(A, 0), (A, 2), (B, 0), (C, 0)}
    assert found[(B, 0)] == found[(C, 0)] == (bytes(size), terms)
    assert notes == {}
    assert before[1] == {(A, 1): b"goes with it"}
    check_every_end(ledger)


def test_a_move_that_is_a_chain_counts_when_it_is_whole() -> None:
    ledger = Ledger()
    ledger.publish(message(b"source"), [A])
    ledger.write()
    position = ledger.publish(message(bytes(CHAIN), TERMS), [B], (A, 0))
    ledger.note((B, 0), b"before the message itself")
    ledger.write()
    whole = [int(block.number) for block in ledger.blocks].index(position) + 1
    assert whole > 4
    short = recovered(ledger.blocks[: whole - 1], Reader(ledger.files))
    assert short == ({(A, 0): (b"source", None)}, {}, {})
    moved = recovered(ledger.blocks[:whole], Reader(ledger.files))
    assert moved == ({(B, 0): (bytes(CHAIN), TERMS)}, {(B, 0): b"before the message itself"}, {})


def test_a_page_that_knows_of_a_move_waits_for_the_moves_chain() -> None:
    """Its entry says that the source is gone: with the move cut off, that would be the end of the message."""
    ledger = Ledger()
    for n in range(4):
        ledger.publish(message(b"%d" % n), [A])
    ledger.write()
    ledger.publish(message(bytes(CHAIN)), [B], (A, 1))
    assert not ledger.pages[(A, 0)].leave_log()
    check_every_end(ledger)


def test_what_was_settled_before_its_chain_stays_settled() -> None:
    ledger = Ledger()
    ledger.publish(message(b"source"), [A])
    ledger.publish(message(bytes(CHAIN)), [B, C], (A, 0))
    ledger.settle((B, 0))
    found, _, _ = look(ledger)
    assert set(found) == {(C, 0)}
    check_every_end(ledger)


def test_a_move_along_three_lanes() -> None:
    ledger = Ledger()
    ledger.publish(message(b"1"), [A])
    ledger.publish(message(b"2"), [B], (A, 0))
    ledger.publish(message(b"3"), [C], (B, 0))
    ledger.publish(message(b"4"), [A], (C, 0))
    found, _, _ = look(ledger)
    assert found == {(A, 1): (b"4", None)}


def test_the_last_note_counts_and_goes_with_the_message() -> None:
    ledger = Ledger()
    for n in range(3):
        ledger.publish(message(b"%d" % n), [A])
    ledger.note((A, 0), b"one")
    ledger.note((A, 1), b"other")
    ledger.note((A, 0), b"two")
    ledger.note((A, 2), b"")
    ledger.settle((A, 1))
    _, notes, _ = look(ledger)
    assert notes == {(A, 0): b"two", (A, 2): b""}
    check_every_end(ledger)


def test_a_note_of_a_settled_message_is_not_given() -> None:
    class Strict(Reader):
        def note(self, lane: int, seq: int, note: bytes) -> None:
            given.append((int(lane), int(seq)))

    given: list[tuple[int, int]] = []
    ledger = Ledger()
    ledger.publish(message(b"0"), [A])
    ledger.publish(message(b"1"), [A])
    ledger.note((A, 0), b"x")
    ledger.note((A, 1), b"y")
    ledger.settle((A, 0))
    ledger.write()
    recovered(ledger.blocks, Strict({}))
    assert given == [(A, 1)]


def test_facts_come_in_order_and_a_checkpoint_has_those_that_count() -> None:
    ledger = Ledger()
    for n in range(5):
        ledger.fact(A, b"%d" % n)
        ledger.fact(B, b"b")
    assert look(ledger)[2] == {A: [b"0", b"1", b"2", b"3", b"4"], B: [b"b"] * 5}
    ledger.facts[A] = [b"4"]
    ledger.facts[B] = []
    ledger.journal.close_block()
    ledger.journal.roll()
    ledger.fact(A, b"5")
    assert look(ledger)[2] == {A: [b"4", b"5"]}


def test_a_checkpoint_has_the_notes_that_count() -> None:
    ledger = Ledger()
    ledger.publish(message(b"0"), [A])
    ledger.publish(message(b"1"), [A])
    ledger.note((A, 0), b"old")
    ledger.note((A, 1), b"forgotten")
    del ledger.notes[(A, 1)]
    ledger.notes[(A, 0)] = b"as the checkpoint has it"
    ledger.journal.close_block()
    ledger.journal.roll()
    assert look(ledger)[1] == {(A, 0): b"as the checkpoint has it"}


def test_of_a_lane_that_nobody_has_nothing_is_given() -> None:
    ledger = Ledger()
    ledger.publish(message(b"0"), [A])
    ledger.publish(message(b"1"), [B])
    ledger.note((B, 0), b"x")
    ledger.fact(B, b"y")
    ledger.publish(message(b"2"), [A], (B, 0))
    ledger.write()
    reader = Reader({}, (A, C))
    assert recovered(ledger.blocks, reader) == ({(A, 0): (b"0", None), (A, 1): (b"2", None)}, {}, {})
    assert reader.ended == {A: 2}


def test_numbers_go_on_behind_what_was_moved_away() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.publish(message(b"x"), [A])
    ledger.publish(message(b"y"), [B], (A, 2))
    ledger.write()
    reader = Reader({})
    recovered(ledger.blocks, reader)
    assert reader.ended == {A: 3, B: 1}


def test_notes_and_facts_end_no_block() -> None:
    """A checkpoint between a note and what its owner remembers of it would lose it."""
    ledger = Ledger()
    before = ledger.journal.block
    for _ in range(20):
        ledger.fact(A, bytes(1_000))
        assert ledger.note((A, 0), bytes(1_000)) == before
    assert not [block for block in ledger.journal.closed if block.number]


# ---- anything


IN_TX = ("publish", "publish", "publish", "move", "move", "settle", "fact")
OPS = (*IN_TX, "note", "tx", "write", "page")


def play(ledger: Ledger, op: str, n: int) -> None:
    live = sorted(ledger.live)
    size = SIZES[n % len(SIZES)]
    lanes = [[A], [B], [C], [A, B], [A, B, C]][n // 7 % 5]
    m = message(bytes([n % 251]) * size, TERMS if n % 3 == 0 else None)
    place = live[n % len(live)] if live else None
    if op == "publish":
        ledger.publish(m, lanes)
    elif op == "fact":
        ledger.fact(lanes[0], b"%d" % n)
    elif op == "write":
        ledger.write()
    elif op == "page":
        waiting = [page for page in ledger.pages.values() if not page.left_log()]
        if waiting:
            waiting[n % len(waiting)].leave_log()
    elif op == "tx":
        ledger.begin_tx()
        for inner in (n // 2, n // 3, n // 5):
            play(ledger, IN_TX[inner % len(IN_TX)], inner)
        ledger.end_tx()
    elif place is None:
        return
    elif op == "move":
        ledger.publish(m, lanes, place)
    elif op == "settle":
        ledger.settle(place)
    elif op == "note":
        ledger.note(place, b"%d" % n)


def test_whatever_happens_a_log_that_is_cut_off_has_what_was_written() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        rng = random.Random(seed)
        ledger = Ledger()
        for _ in range(rng.randrange(10, 150)):
            play(ledger, rng.choice(OPS), rng.randrange(50_000))
        check_every_end(ledger, f"LEVERET_HISTORY_SEED={seed}: ")


# ---- what is damaged, and what people are shown


def test_a_publish_record_that_is_cut_short_is_damage() -> None:
    ledger = Ledger()
    ledger.publish(message(b"", TERMS), [A])
    ledger.publish(message(b"", TERMS), [B], (A, 0))
    ledger.write()
    checkpoint, block = ledger.blocks
    payload = b"".join(block.parts)
    first = 8 + 16 + 16 + 32 + 3
    record = payload[first:]
    for length in range(8, len(record)):
        short = record[:4] + (length - 8).to_bytes(4, "big") + record[8:length]
        block.parts = [payload[:first], short]
        with pytest.raises(Damaged, match="publish record"):
            recovered([checkpoint, block], Reader({}))


def test_what_the_records_are_told_as() -> None:
    ledger = Ledger()
    ledger.publish(message(b"", (1, -1, 2, 3)), [A])
    ledger.publish(message(b"", (1, -1, 2, 3)), [B, C], (A, 0))
    ledger.publish(message(b""), [A], (C, 0))
    ledger.note((B, 0), b"note")
    ledger.fact(C, b"fact")
    ledger.write()
    assert describe(b"".join(ledger.blocks[-1].parts)) == [
        "publish lane 7 seq 0 stamp 1 ttl -1 due 2 priority 3 (75 bytes)",
        "publish lane 8 seq 0 lane 7.256 seq 0 stamp 1 ttl -1 due 2 priority 3 from lane 7 seq 0 (107 bytes)",
        "publish lane 7 seq 1 from lane 7.256 seq 0 (59 bytes)",
        "note lane 8 seq 0 (28 bytes)",
        "fact lane 7.256 (20 bytes)",
    ]
