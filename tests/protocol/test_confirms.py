"""Publisher confirms: what is told when, as one ack or many, and that nothing is told twice or never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.protocol.amqp091.confirms import Confirms
from leveret.wire import methods, requests

from .talker import PERSISTENT, Heard, Talker, publish, request


def confirming() -> Talker:
    """Channel 1 in confirm mode, a durable queue `d` and a transient one `t`, everything on disk."""
    talker = Talker().opened(1)
    talker.declare("d", durable=True)
    talker.declare("t")
    assert talker.asks(requests.confirm_select, 1).name == "confirm.select_ok"
    return talker


def told(heard: list[Heard]) -> list[tuple[str, object, object]]:
    return [(each.name.removeprefix("basic."), each["delivery_tag"], each["multiple"]) for each in heard]


def test_a_persistent_message_is_confirmed_when_it_is_on_disk() -> None:
    talker = confirming()
    talker.says(publish(1, "d", b"x", PERSISTENT))
    assert talker.heard() == []
    talker.sync()
    assert told(talker.heard()) == [("ack", 1, False)]


def test_the_acks_of_one_block_are_one() -> None:
    talker = confirming()
    talker.says(publish(1, "d", b"x", PERSISTENT) * 40)
    talker.sync()
    assert told(talker.heard()) == [("ack", 40, True)]


def test_what_waits_for_nothing_is_confirmed_in_its_turn() -> None:
    talker = confirming()
    talker.says(
        publish(1, "t", b"x", PERSISTENT)  # a transient queue
        + publish(1, "d", b"x")  # a transient message
        + publish(1, "nobody", b"x", PERSISTENT)
    )
    assert told(talker.heard()) == [("ack", 3, True)]


def test_transient_messages_overtake_those_that_wait() -> None:
    talker = confirming()
    durable, transient = publish(1, "d", b"x", PERSISTENT), publish(1, "d", b"x")
    talker.says(transient + durable + transient + transient + durable + transient)
    assert told(talker.heard()) == [
        ("ack", 1, False),
        ("ack", 3, False),
        ("ack", 4, False),
        ("ack", 6, False),
    ]
    talker.sync()
    assert told(talker.heard()) == [("ack", 5, True)]
    talker.says(durable)
    talker.sync()
    assert told(talker.heard()) == [("ack", 7, False)]


def test_a_returned_message_comes_back_before_its_confirm() -> None:
    talker = confirming()
    talker.says(publish(1, "nobody", b"x", PERSISTENT, mandatory=True))
    returned, ack = talker.heard()
    assert (returned.name, returned["reply_code"], returned["reply_text"]) == (
        "basic.return",
        312,
        "NO_ROUTE",
    )
    assert (returned.body, returned.properties) == (b"x", PERSISTENT)
    assert told([ack]) == [("ack", 1, False)]


def test_channels_count_for_themselves() -> None:
    talker = confirming()
    talker.says(request(requests.channel_open, 2) + request(requests.confirm_select, 2))
    talker.heard()
    talker.says(publish(1, "d", b"x", PERSISTENT) * 3 + publish(2, "d", b"x", PERSISTENT) * 2)
    talker.sync()
    assert sorted((each.channel, each["delivery_tag"]) for each in talker.heard()) == [(1, 3), (2, 2)]


def test_selecting_again_starts_no_new_count() -> None:
    talker = confirming()
    talker.says(publish(1, "t", b"x") + request(requests.confirm_select, 1) + publish(1, "t", b"x"))
    assert talker.names() == ["confirm.select_ok", "basic.ack"]
    talker.says(publish(1, "t", b"x"))
    assert told(talker.heard()) == [("ack", 3, False)]


@pytest.mark.parametrize("end", ["close", "lost", "error"])
def test_a_channel_that_has_ended_confirms_nothing(end: str) -> None:
    talker = confirming()
    talker.says(publish(1, "d", b"x", PERSISTENT))
    if end == "lost":
        talker.lost()
        assert talker.heard() == []
        return
    closing = (
        request(methods.channel_close, 1, 200, "", 0, 0)
        if end == "close"
        else request(methods.basic_ack, 1, 9, False)
    )
    talker.says(closing)
    talker.sync()
    assert talker.names() == ["channel.close_ok" if end == "close" else "channel.close"]


# Each publish is of block so-and-so (0: waits for nothing), or refused; the watermark moves in between.
PUBLISHES = st.lists(
    st.one_of(
        st.just(("transient", 0)), st.just(("durable", 0)), st.just(("refused", 0)), st.just(("landed", 0))
    ),
    max_size=60,
)


@given(PUBLISHES)
def test_each_publish_is_told_once_and_rightly(steps: list[tuple[str, int]]) -> None:
    talker = Talker().opened(1)
    confirms = Confirms(talker.peer, 1)
    block, durable, number = 1, 0, 0
    waits: dict[int, int] = {}  # what each number that is not told yet waits for; -1: it was refused
    for step, _ in [*steps, ("landed", 0)]:
        if step == "landed":
            durable, block = block, block + 1
        elif step == "refused":
            confirms.refuse()
        else:
            confirms.note(block if step == "durable" else 0)
        if step != "landed":
            number += 1
            waits[number] = {"transient": 0, "durable": block, "refused": -1}[step]
        last = confirms.advance(durable)
        talker.turn()
        for name, tag, multiple in told(talker.heard()):
            assert isinstance(tag, int)
            for each in [n for n in waits if n == tag or (multiple and n < tag)]:
                position = waits.pop(each)
                assert position <= durable
                assert (name == "nack") == (position == -1)
        assert all(position > durable for position in waits.values())
        assert last == (max(waits.values()) if waits else 0)
    assert not waits
