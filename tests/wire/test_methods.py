"""What methods.py and requests.py write, against pamqp and against signatures.py."""

from __future__ import annotations

import inspect
from typing import Any

import pamqp.commands
import pamqp.frame
import pytest
from librt.strings import BytesWriter

from leveret.wire import methods, requests
from leveret.wire.frames import Frame, FrameSplitter
from leveret.wire.signatures import decode_method

from .frames_table import CASES, CHANNEL, Write, frame_of

COMMANDS: dict[int, Any] = {
    command.index: command
    for group in vars(pamqp.commands).values()
    if inspect.isclass(group)
    for command in vars(group).values()
    if inspect.isclass(command) and hasattr(command, "index")
}

NOT_AS_PAMQP = (methods.CHANNEL_OPEN, methods.CHANNEL_OPEN_OK)  # it insists on a "0" in the reserved field


def test_every_method_has_a_case_and_every_other_number_no_name() -> None:
    assert sorted(number for number, _, _, _ in CASES) == sorted(methods.NAMES)
    assert methods.method_name(methods.QUEUE_DECLARE_OK) == "queue.declare_ok"
    assert methods.method_name((60 << 16) | 41) == ""
    assert methods.method_name(-1) == ""


def test_the_numbers_are_those_of_pamqp() -> None:
    theirs = {number: command.name for number, command in COMMANDS.items() if number in methods.NAMES}
    for number, name in methods.NAMES.items():
        if not name.startswith("access."):  # the class pamqp does not have
            assert theirs[number].lower().replace(".", "") == name.replace("_", "").replace(".", "")


def test_the_four_methods_that_carry_content() -> None:
    assert {methods.NAMES[number] for number in methods.NAMES if methods.carries_content(number)} == {
        "basic.publish",
        "basic.deliver",
        "basic.return",
        "basic.get_ok",
    }


@pytest.mark.parametrize(("number", "channel", "fields", "write"), CASES)
def test_a_frame_is_what_pamqp_writes(
    number: int, channel: int, fields: dict[str, object], write: Write
) -> None:
    frame = frame_of(write)
    if number in COMMANDS and number not in NOT_AS_PAMQP:
        values = [value.decode() if isinstance(value, bytes) else value for value in fields.values()]
        command = COMMANDS[number].__new__(COMMANDS[number])
        for name, value in zip(
            command.__slots__, values, strict=True
        ):  # past pamqp's idea of reserved fields
            setattr(command, name, value)
        assert frame == pamqp.frame.marshal(command, channel)
    assert FrameSplitter().feed(frame) == [Frame(1, channel, frame[7:-1])]


@pytest.mark.parametrize(("number", "channel", "fields", "write"), CASES)
def test_a_frame_is_read_back(number: int, channel: int, fields: dict[str, object], write: Write) -> None:
    method = decode_method(frame_of(write)[7:-1])
    assert method.number == number
    assert list(method.fields.values()) == list(fields.values())


def test_a_frame_is_appended_to_what_is_there() -> None:
    out = BytesWriter()
    out.write(b"before")
    methods.queue_declare_ok(out, 1, "q", 2, 3)
    methods.tx_select_ok(out, 1)
    expected = frame_of(lambda o: methods.queue_declare_ok(o, 1, "q", 2, 3))
    assert out.getvalue() == b"before" + expected + frame_of(lambda o: methods.tx_select_ok(o, 1))


def test_channel_open_has_an_empty_reserved_field() -> None:
    assert (
        frame_of(lambda o: requests.channel_open(o, 1))
        == b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce"
    )
    assert frame_of(lambda o: methods.channel_open_ok(o, 1)) == (
        b"\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0b\x00\x00\x00\x00\xce"
    )


def test_access_request_which_pamqp_does_not_know() -> None:
    frame = frame_of(lambda o: requests.access_request(o, 1, "/data"))
    assert frame == b"\x01\x00\x01\x00\x00\x00\x0b\x00\x1e\x00\x0a\x05/data\x1e\xce"
    assert frame_of(lambda o: methods.access_request_ok(o, 1, 1)) == (
        b"\x01\x00\x01\x00\x00\x00\x06\x00\x1e\x00\x0b\x00\x01\xce"
    )


@pytest.mark.parametrize("tag", [0, 1 << 63, (1 << 64) - 1])
def test_delivery_tags_are_unsigned(tag: int) -> None:
    frame = frame_of(lambda o: methods.basic_ack(o, 1, tag, False))
    assert frame[11:19] == tag.to_bytes(8, "big")
    assert decode_method(frame[7:-1]).fields["delivery_tag"] == tag


def test_an_error_text_of_any_length_can_be_sent() -> None:
    for write in (
        lambda o: methods.channel_close(o, CHANNEL, 404, "é" * 300, 0, 0),
        lambda o: methods.connection_close(o, 501, "é" * 300, 0, 0),
    ):
        method = decode_method(frame_of(write)[7:-1])
        assert method.fields["reply_text"] == "é" * 127


@pytest.mark.parametrize(
    "write",
    [
        lambda o: methods.queue_declare_ok(o, 65536, "q", 0, 0),
        lambda o: methods.queue_declare_ok(o, 1, "q" * 256, 0, 0),
        lambda o: methods.queue_declare_ok(o, 1, "q", 1 << 32, 0),
        lambda o: methods.basic_ack(o, 1, 1 << 64, False),
        lambda o: requests.basic_qos(o, 1, 65536),
    ],
)
def test_what_does_not_fit_is_a_value_error(write: Write) -> None:
    with pytest.raises(ValueError):
        frame_of(write)
