"""The fields of every method, by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.errors import CommandInvalid, FrameError, MalformedFrame, PeerError
from leveret.wire import methods, requests
from leveret.wire.signatures import SIGNATURES, check_method, decode_method

from .frames_table import CASES, Write, frame_of
from .tables import table


def check(payload: bytes) -> None:
    check_method(payload, 4, len(payload), int.from_bytes(payload[:4], "big"))


def test_every_method_has_a_signature() -> None:
    assert sorted(SIGNATURES) == sorted(methods.NAMES)


def test_fields_have_their_names() -> None:
    method = decode_method(frame_of(lambda o: requests.queue_declare(o, 1, "q", exclusive=True))[7:-1])
    assert (method.name, method.number) == ("queue.declare", methods.QUEUE_DECLARE)
    assert method.fields == {
        "ticket": 0,
        "queue": "q",
        "passive": False,
        "durable": False,
        "exclusive": True,
        "auto_delete": False,
        "no_wait": False,
        "arguments": {},
    }
    assert repr(decode_method(b"\x00\x5a\x00\x0a")) == "Method(tx.select, {})"


@pytest.mark.parametrize(("number", "channel", "fields", "write"), CASES)
def test_a_method_that_is_cut_anywhere_or_too_long(
    number: int, channel: int, fields: dict[str, object], write: Write
) -> None:
    payload = frame_of(write)[7:-1]
    check(payload)
    for size in range(len(payload)):
        with pytest.raises(MalformedFrame):
            decode_method(payload[:size])
        if size >= 4:
            with pytest.raises(FrameError, match="cannot decode <<"):
                check_method(payload, 4, size, number)
    with pytest.raises(MalformedFrame):
        decode_method(payload + b"\0")
    with pytest.raises(FrameError, match="cannot decode <<"):
        check(payload + b"\0")


def test_fields_that_do_not_fit_are_refused_in_rabbitmqs_words() -> None:
    with pytest.raises(FrameError) as caught:
        check_method(b"\x00\x01ab", 0, 4, methods.BASIC_CANCEL)
    assert caught.value.reply_text == "FRAME_ERROR - cannot decode <<0,1,97,98>>"


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(CommandInvalid, match=r"unknown method \{60,999\}"):
        decode_method(b"\x00\x3c\x03\xe7")
    with pytest.raises(CommandInvalid):
        check_method(b"", 0, 0, 0)


def test_names_have_to_be_utf8_but_not_where_content_follows() -> None:
    cancel = b"\x00\x3c\x00\x1e\x01\xff\x00"
    publish = b"\x00\x3c\x00\x28\x00\x00\x01\xff\x01\xfe\x00"
    for read in (check, decode_method):
        with pytest.raises(FrameError, match="Malformed UTF-8 in shortstr"):
            read(cancel)
    check(publish)
    fields = decode_method(publish).fields
    assert (fields["exchange"], fields["routing_key"]) == ("\udcff", "\udcfe")


def test_a_fault_inside_a_table_is_told_apart() -> None:
    payload = b"\x00\x32\x00\x0a\x00\x00\x01q\x00" + table(b"\x01k?")
    for read in (check, decode_method):
        with pytest.raises(MalformedFrame, match="unknown type 63"):
            read(payload)


def test_bits_nobody_defined_are_not_looked_at() -> None:
    assert decode_method(b"\x00\x14\x00\x14\xfe").fields == {"active": False}
    check(b"\x00\x14\x00\x14\xfe")


@given(st.sampled_from(sorted(methods.NAMES)), st.binary(max_size=40))
def test_checking_and_decoding_agree_on_any_bytes(number: int, fields: bytes) -> None:
    payload = number.to_bytes(4, "big") + fields
    try:
        decode_method(payload)
    except PeerError:
        with pytest.raises(PeerError):
            check(payload)
    else:
        check(payload)
