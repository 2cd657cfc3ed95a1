"""Headers CC and BCC through a peer: where a message goes, and which of its bytes stay as they were."""

from __future__ import annotations

import pytest
from librt.strings import BytesWriter

from leveret.wire import methods, requests
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.table import encode_table

from ..wire.tables import EVERY_TYPE
from .talker import Talker, publish, request


def talker(*names: str, confirms: bool = False) -> Talker:
    made = Talker().opened(1)
    for name in names:
        made.declare(name, durable=True)
    if confirms:
        made.asks(requests.confirm_select, 1)
    return made


def with_headers(headers: dict[str, object], delivery_mode: int = 2) -> bytes:
    return encode_properties(Properties(headers=headers, delivery_mode=delivery_mode, message_id="m"))


def raw_properties(*fields: bytes) -> bytes:
    """Content-type, headers and app-id; the headers are these encoded fields."""
    table = b"".join(fields)
    return b"\xa0\x08" + b"\x04text" + len(table).to_bytes(4, "big") + table + b"\x02us"


def array(name: str, *keys: str) -> bytes:
    return encode_table({name: list(keys)})[4:]


def test_every_queue_gets_one_copy() -> None:
    said = talker("a", "b", "c", "d", confirms=True)
    headers: dict[str, object] = {"CC": ["b", "a", "nobody", 5], "BCC": ["c", "b", None]}
    said.says(publish(1, "a", b"x", with_headers(headers)))
    said.sync()
    assert said.names() == ["basic.ack"]
    for name in "abc":
        got = said.asks(requests.basic_get, 1, name, no_ack=True)
        assert (got["exchange"], got["routing_key"], got.body) == ("", "a", b"x")
        expected = Properties(headers={"CC": headers["CC"]}, delivery_mode=2, message_id="m")
        assert decode_properties(got.properties) == expected
        assert said.bodies(name) == []
    assert said.bodies("d") == []


def test_one_record_for_all_of_them() -> None:
    said = talker("a", "b", "c", confirms=True)
    said.says(publish(1, "a", b"x", with_headers({"CC": ["b"], "BCC": ["c"]})))
    said.sync()
    said.heard()
    said.rig = said.rig.crash()
    again = Talker(said.rig).opened(1)
    for name in "abc":
        got = again.asks(requests.basic_get, 1, name, no_ack=True)
        assert decode_properties(got.properties).headers == {"CC": ["b"]}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ()),
        ((EVERY_TYPE[4:],), ()),
        ((), (EVERY_TYPE[4:],)),
        ((EVERY_TYPE[4:], array("CC", "q")), (array("x", "y"),)),
        ((array("x"),), (array("BCC", "nobody"),)),  # only the first BCC counts, and goes
    ],
)
def test_bcc_is_cut_out_and_nothing_else(
    before: tuple[bytes, ...], after: tuple[bytes, ...], step: int
) -> None:
    said = talker("q", "to")
    body = bytes(range(256)) * 40
    sent = publish(1, "to", body, raw_properties(*before, array("BCC", "q"), *after), frame_max=4_096)
    said.says(sent, step=step)
    for name in ("q", "to"):
        got = said.asks(requests.basic_get, 1, name, no_ack=True)
        assert got.properties == raw_properties(*before, *after)
        assert got.body == body


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"CC": "a"}, '{unacceptable_type_in_header,"CC",longstr}'),
        ({"BCC": 5}, '{unacceptable_type_in_header,"BCC",signedint}'),
        ({"BCC": {}, "CC": True}, '{unacceptable_type_in_header,"CC",bool}'),
        ({"CC": ["a"], "BCC": b"a"}, '{unacceptable_type_in_header,"BCC",binary}'),
    ],
)
@pytest.mark.parametrize("tx", [False, True])
def test_what_is_no_array_is_refused(headers: dict[str, object], text: str, tx: bool) -> None:
    said = talker("a")
    if tx:
        said.asks(requests.tx_select, 1)
    said.says(publish(1, "a", b"x", with_headers(headers)))
    closed = said.one()
    assert (closed.name, closed["reply_code"]) == ("channel.close", 406)
    assert closed["reply_text"] == "PRECONDITION_FAILED - invalid message: " + text
    assert (closed["class_id"], closed["method_id"]) == (60, 40)
    said.says(request(methods.channel_close_ok, 1))
    again = Talker(said.rig).opened(1)
    assert again.bodies("a") == []


def test_the_type_is_named_as_it_was_sent() -> None:
    said = talker()
    said.says(publish(1, "a", b"x", raw_properties(b"\x02CCb\x05")))
    assert said.one()["reply_text"] == (
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",byte}'
    )


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (Properties(headers={"CC": 1}, expiration="x"), "invalid expiration 'x': no_integer"),
        (
            Properties(headers={"CC": 1}, user_id="x"),
            'invalid message: {unacceptable_type_in_header,"CC",signedint}',
        ),
    ],
)
def test_what_is_checked_first(properties: Properties, text: str) -> None:
    said = talker()
    said.says(publish(1, "a", b"x", encode_properties(properties)))
    assert said.one()["reply_text"] == "PRECONDITION_FAILED - " + text


def test_mandatory_looks_at_all_keys() -> None:
    said = talker("a")
    said.says(publish(1, "nobody", b"x", with_headers({"BCC": ["a"]}), mandatory=True))
    assert said.heard() == []
    assert said.bodies("a") == [b"x"]
    said.says(publish(1, "nobody", b"x", with_headers({"CC": ["z"], "BCC": ["y"], "n": 1}), mandatory=True))
    back = said.one()
    assert (back.name, back["routing_key"], back.body) == ("basic.return", "nobody", b"x")
    assert decode_properties(back.properties).headers == {"CC": ["z"], "n": 1}


def test_in_a_transaction() -> None:
    said = talker("a", "b")
    said.asks(requests.tx_select, 1)
    said.says(publish(1, "a", b"x", with_headers({"BCC": ["b"]})))
    assert said.asks(requests.tx_commit, 1).name == "tx.commit_ok"
    for name in "ab":
        got = said.asks(requests.basic_get, 1, name, no_ack=True)
        assert (got.body, decode_properties(got.properties).headers) == (b"x", {})


def test_through_exchanges() -> None:
    """Topic and direct exchanges go by all keys, headers exchanges see no BCC, one that hashes goes by the first."""
    said = talker("a", "b", "c")
    for name, kind in (("hash", "x-consistent-hash"), ("headers", "headers"), ("topic", "topic")):
        said.asks(requests.exchange_declare, 1, name, kind)
    out = BytesWriter()
    requests.queue_bind(out, 1, "a", "topic", "one.*", False, encode_table({}))
    requests.queue_bind(out, 1, "b", "topic", "*.two", False, encode_table({}))
    requests.queue_bind(out, 1, "c", "headers", "", False, encode_table({"BCC": None}))
    requests.queue_bind(out, 1, "c", "hash", "1", False, encode_table({}))
    said.says(out.getvalue())
    said.sync()
    assert said.names() == ["queue.bind_ok"] * 4
    said.says(publish(1, "zero", b"t", with_headers({"CC": ["one.x"], "BCC": ["x.two"]}), "topic"))
    said.says(publish(1, "zero", b"h", with_headers({"BCC": ["x"]}), "headers"))
    said.says(publish(1, "zero", b"c", with_headers({"CC": ["x", "y"]}), "hash"))
    assert [said.bodies(name) for name in "abc"] == [[b"t"], [b"t"], [b"c"]]
