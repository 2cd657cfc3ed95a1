"""A short torture, and the proof that the ledger notices what a broker must not do."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

import leveret.core.queue

from .fates import Fates
from .ledger import Key, Ledger, Violation, make_body
from .run import Torture

pytestmark = pytest.mark.torture
CYCLES = int(os.environ.get("CYCLES", "4"))
Q = "q"


def test_kills_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 31))
    print(f"seed {seed}")
    folder = tmp_path / "torture"
    folder.mkdir()
    broken = Torture(CYCLES, seed, folder).run()
    assert not broken, f"seed {seed}: {broken[0]}"


class Story:
    """A ledger with some messages of publisher 1 in one queue, confirmed."""

    def __init__(self, messages: int = 3) -> None:
        self.ledger = Ledger()
        self.last: dict[Key, int] = {}
        for _ in range(messages):
            key = (1, self.ledger.number(1))
            self.ledger.sending((Q,), key)
            self.ledger.confirmed((Q,), key)

    def comes(self, number: int, redelivered: bool = False) -> None:
        self.ledger.delivered(Q, make_body(1, number, 100), redelivered, self.last)

    def crash(self) -> None:
        self.ledger.next_life()
        self.last.clear()


def test_it_finds_what_is_missing() -> None:
    story = Story()
    for number in (1, 3):
        story.comes(number)
        story.ledger.acking(Q, [(1, number)])
    with pytest.raises(Violation, match="1 confirmed messages of q were never delivered: 1/2"):
        story.ledger.audit()


def test_it_finds_what_was_held_and_is_gone() -> None:
    story = Story(1)
    story.comes(1)
    story.crash()
    with pytest.raises(Violation, match="not settled, and gone: 1/1"):
        story.ledger.audit()


def test_it_counts_after_a_start() -> None:
    story = Story(3)
    story.ledger.check_count(Q, 3)
    with pytest.raises(Violation, match="2 messages, 3 are confirmed"):
        story.ledger.check_count(Q, 2)
    with pytest.raises(Violation, match="at most 3"):
        story.ledger.check_count(Q, 4)


def test_a_repeat_without_the_flag() -> None:
    story = Story(1)
    story.comes(1)
    story.crash()
    with pytest.raises(Violation, match="1/1 in q was delivered again without the redelivered flag"):
        story.comes(1)
    story.comes(1, redelivered=True)


def test_an_ack_that_was_not_synced_may_be_lost_by_a_crash_only() -> None:
    story = Story(1)
    story.comes(1)
    story.ledger.acking(Q, [(1, 1)])
    with pytest.raises(Violation, match="without a crash between"):
        story.comes(1, redelivered=True)
    story.crash()
    story.comes(1, redelivered=True)


def test_an_ack_may_be_lost_with_its_connection() -> None:
    story = Story(1)
    story.comes(1)
    story.ledger.acking(Q, [(1, 1)])
    story.ledger.dropping(Q, [(1, 1)])
    story.comes(1, redelivered=True)


def test_a_committed_ack_is_for_ever() -> None:
    story = Story(1)
    story.comes(1)
    story.ledger.acking(Q, [(1, 1)])
    story.ledger.acks_committed(Q, [(1, 1)])
    story.crash()
    with pytest.raises(Violation, match="its ack was committed"):
        story.comes(1, redelivered=True)


@pytest.mark.parametrize("crash", [False, True])
def test_first_deliveries_out_of_order(crash: bool) -> None:
    story = Story()
    story.comes(3)
    if crash:
        story.crash()
    with pytest.raises(Violation, match=r"1/2 in q came as new after .* 1/3"):
        story.comes(2)


def test_a_spoilt_body() -> None:
    story = Story(1)
    body = bytearray(make_body(1, 1, 100))
    body[-1] ^= 1
    with pytest.raises(Violation, match="another body"):
        story.ledger.delivered(Q, bytes(body), False, story.last)


@pytest.mark.parametrize("crash", [False, True])
def test_a_torn_transaction(crash: bool) -> None:
    """Two of three after a crash is torn; two of three before it, and none after, is not."""
    ledger = Ledger()
    keys = [(Q, (1, ledger.number(1))) for _ in range(3)]
    ledger.begin(1, 7, keys)
    if crash:
        ledger.next_life()
    for _, (publisher, number) in keys[:2]:
        ledger.delivered(Q, make_body(publisher, number, 50, 7, 3, number - 1), crash, {})
        ledger.acking(Q, [(publisher, number)])
    if crash:
        with pytest.raises(Violation, match=r"transaction 1/7 of 3 publishes is torn: .* these never: 1/3"):
            ledger.audit()
    else:
        ledger.next_life()
        ledger.audit()


# Brokers that are broken on purpose (tests/torture/broken.py)


@pytest.mark.skipif(
    not str(leveret.core.queue.__file__).endswith(".py"), reason="compiled methods cannot be replaced"
)
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("loses", "in no queue, nor among the dead"),
        ("doubles", "it is there twice"),
        ("early", "too early"),
        ("forgets", "in no queue, nor among the dead"),
    ],
)
def test_a_broken_broker_is_found_out(how: str, found: str, tmp_path: Path) -> None:
    folder = tmp_path / "torture"
    folder.mkdir()
    module = f"tests.torture.broken {how}"
    broken = Torture(2, 5, folder, backlog=500, say=lambda text: None, module=module).run()
    assert broken
    assert found in broken[0]


D = "dead"


class Letter:
    """A message that was published to a queue, confirmed."""

    def __init__(self, due_s: float = 0.0) -> None:
        self.fates = Fates(D)
        self.fates.sending((1, 1), Q, due_s, 0)
        self.fates.confirmed((1, 1))

    def comes(self, queue: str = Q) -> None:
        self.fates.delivered(queue, make_body(1, 1, 100), False, "somebody")


def test_a_dead_letter_that_is_lost() -> None:
    story = Letter()
    story.comes()
    story.fates.giving_back([(1, 1)], [], rejected=True)
    with pytest.raises(Violation, match=r"1 confirmed messages .* nor among the dead: 1/1 of q"):
        story.fates.audit()


def test_a_dead_letter_that_is_still_where_it_was() -> None:
    story = Letter()
    story.comes(D)
    story.fates.next_life()
    with pytest.raises(Violation, match="after it was a dead letter: it is there twice"):
        story.comes()


def test_a_dead_letter_while_somebody_has_the_message() -> None:
    story = Letter()
    story.comes()
    with pytest.raises(Violation, match="while somebody has it"):
        story.comes(D)


def test_a_dead_letter_of_what_was_acked() -> None:
    story = Letter()
    story.comes()
    story.fates.acking((1, 1))
    with pytest.raises(Violation, match="after its ack"):
        story.comes(D)


def test_an_ack_that_a_crash_took_along() -> None:
    story = Letter()
    story.comes()
    story.fates.acking((1, 1))
    story.fates.next_life()
    story.comes(D)


def test_what_comes_before_its_time() -> None:
    story = Letter(time.time() + 100)
    with pytest.raises(Violation, match="too early"):
        story.comes()
