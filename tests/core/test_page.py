"""Pages and their entries, to bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.page import COLD, GONE, Page, own_deadline_ms, page_of_entry
from leveret.errors import Damaged
from leveret.message import AMQP091, Message, Terms

Four = tuple[int, int, int, int]
STAMP = 1_700_000_000_000
NUMBER = st.integers(-(1 << 63), (1 << 63) - 1)


def message(
    data: bytes, terms: Four | None = None, persistent: bool = True, route: bytes = b"\0\1q"
) -> Message:
    m = Message(data, route, len(data), persistent, AMQP091)
    if terms is not None:
        m.terms = Terms(*terms)
    return m


def page_with(*messages: Message) -> Page:
    page = Page(100)
    for m in messages:
        assert page.messages is not None
        page.messages.append(m)
        page.count += 1
        page.ready += 1
    return page


def settle(page: Page, slot: int) -> None:
    page.touch(slot + 1)[slot] = 3
    page.ready -= 1
    assert page.messages is not None
    page.messages[slot] = None


def as_tuple(m: Message | None) -> object:
    if m is None:
        return None
    terms = m.terms
    four = None
    if terms is not None:
        four = (int(terms.stamp_ms), int(terms.ttl_ms), int(terms.due_ms), int(terms.priority))
    return m.data, m.route, int(m.size_bytes), m.persistent, int(m.protocol), four


ANY = st.builds(
    message,
    st.one_of(st.binary(max_size=50), st.just(bytes(16_384))),  # from that length on it is a part of its own
    st.one_of(st.none(), st.tuples(NUMBER, NUMBER, NUMBER, NUMBER)),
    st.booleans(),
    st.binary(max_size=20),
)


@given(st.lists(st.tuples(ANY, st.booleans()), max_size=20))
def test_a_page_comes_back_as_it_was(what: list[tuple[Message, bool]]) -> None:
    page = page_with(*[m for m, _ in what])
    for slot, (_, gone) in enumerate(what):
        if gone:
            settle(page, slot)
    before = [as_tuple(m) for m in page.messages or []]
    content = b"".join(page.encode())
    page.messages = None
    page.decode(content)
    found: list[Message | None] = page.messages or []
    assert [as_tuple(m) for m in found] == before


def test_a_message_without_terms_has_the_entry_it_always_had() -> None:
    page = page_with(message(b"body"))
    assert b"".join(page.encode()) == b"\0\0\1\1\0\3\0\0\0\4" + bytes(7) + b"\4" + b"\0\1q" + b"body"
    assert page.entry() == b"\0\1"


def test_terms_stand_behind_what_every_entry_has() -> None:
    page = page_with(message(b"body", (1, -1, 2, 3)))
    terms = b"".join(n.to_bytes(8, "big", signed=True) for n in (1, -1, 2, 3))
    assert b"".join(page.encode()) == b"\0\0\3\1\0\3\0\0\0\4" + bytes(7) + b"\4" + terms + b"\0\1qbody"
    assert page.entry() == b"\x80\1" + (2).to_bytes(8, "big") + (1).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("terms", "at"),
    [
        ((STAMP, -1, 0, 0), 0),
        ((STAMP, -1, 0, 9), 0),
        ((STAMP, 0, 0, 0), STAMP),
        ((STAMP, 500, 0, 0), STAMP + 500),
        ((STAMP, -1, STAMP + 900, 0), STAMP + 900),
        ((STAMP, 500, STAMP + 900, 0), STAMP + 500),
        ((STAMP, 1_000, STAMP + 900, 0), STAMP + 900),
        ((0, 0, 0, 0), 1),
    ],
)
def test_when_a_message_has_to_be_looked_at(terms: Four, at: int) -> None:
    assert own_deadline_ms(Terms(*terms)) == at


@pytest.mark.parametrize(
    ("messages", "gone", "times"),
    [
        ([message(b"")], [], (0, -1)),
        ([message(b""), message(b"", (STAMP, -1, 0, 3))], [], (0, STAMP)),
        ([message(b"", (STAMP + 5, 10, 0, 0)), message(b"", (STAMP, 100, 0, 0))], [], (STAMP + 15, STAMP)),
        ([message(b"", (STAMP + 5, 10, 0, 0)), message(b"", (STAMP, 100, 0, 0))], [0], (STAMP + 100, STAMP)),
        (
            [message(b"", (STAMP + 5, 10, 0, 0)), message(b"", (STAMP, 100, 0, 0))],
            [1],
            (STAMP + 15, STAMP + 5),
        ),
        ([message(b"", (STAMP, 10, 0, 0)), message(b"")], [0], (0, -1)),
        ([message(b"", (0, -1, 0, 0))], [], (0, 0)),
    ],
)
def test_an_entry_has_the_earliest_times_of_its_page(
    messages: list[Message], gone: list[int], times: tuple[int, int]
) -> None:
    page = page_with(*messages)
    for slot in gone:
        settle(page, slot)
    page.encode()
    assert (page.next_ms, page.first_stamp_ms) == times
    restored = page_of_entry(100, page.entry())
    assert (restored.next_ms, restored.first_stamp_ms) == times
    assert restored.place == COLD
    assert restored.count == len(messages)
    assert restored.ready == len(messages) - len(gone)
    assert restored.entry() == page.entry()


def test_transient_messages_are_gone_in_an_entry_with_times() -> None:
    page = page_with(message(b"", (STAMP, 10, 0, 0)), message(b"", None, False), message(b""), message(b""))
    page.encode()
    settle(page, 3)
    restored = page_of_entry(100, page.entry())
    assert [restored.state(slot) == GONE for slot in range(4)] == [False, True, False, True]
    assert restored.ready == 2


@pytest.mark.parametrize("entry", [b"", b"\0", b"\x80\1", b"\x80\1" + bytes(15)])
def test_an_entry_that_is_cut_short_is_damage(entry: bytes) -> None:
    with pytest.raises(Damaged, match="cut short"):
        page_of_entry(100, entry)


def test_content_that_is_cut_short_is_damage() -> None:
    page = page_with(message(b"body", (1, 2, 3, 4)), message(b"body", (1, 2, 3, 4)))
    content = b"".join(page.encode())
    for length in range(len(content)):
        page.messages = None
        with pytest.raises(Damaged):
            page.decode(content[:length])
