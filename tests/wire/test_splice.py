"""Headers changed where they stand must read as if decoded, changed and encoded, and all else must stay as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leveret.limits import TABLE_SIZE_BYTES
from leveret.wire.properties import Properties, decode_properties, encode_properties
from leveret.wire.splice import Names, splice_fields
from leveret.wire.table import encode_table

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAME = st.sampled_from(["x-a", "x-b", "x-bb", "xa", "x-", "a", ""])
VALUE = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), TEXT, st.lists(TEXT, max_size=2))
HEADERS = st.none() | st.dictionaries(NAME, VALUE, max_size=6)
OPTIONAL = st.none() | TEXT


@given(
    st.builds(
        Properties,
        content_type=OPTIONAL,
        content_encoding=OPTIONAL,
        headers=HEADERS,
        delivery_mode=st.none() | st.integers(0, 255),
        priority=st.none() | st.integers(0, 255),
        correlation_id=OPTIONAL,
        reply_to=OPTIONAL,
        expiration=OPTIONAL,
        message_id=OPTIONAL,
        timestamp=st.none() | st.integers(0, 1 << 62),
        cluster_id=OPTIONAL,
    ),
    st.dictionaries(st.sampled_from(["x-a", "x-b", "x-new"]), VALUE, max_size=3),
    st.sets(st.sampled_from(["x-a", "x-b", "x-bb", "x-none"])),
    st.booleans(),
)
def test_a_splice_is_decoding_changing_and_encoding(
    properties: Properties, extra: dict[str, object], cut: set[str], cut_expiration: bool
) -> None:
    encoded = encode_properties(properties)
    gone = {name.encode() for name in cut | set(extra)}
    names = Names(gone)
    around = b"#" * 19 + encoded + b"\xce#"
    out = splice_fields(
        around, 19, 19 + len(encoded), names, encode_table(extra)[4:], cut_expiration
    ).getvalue()
    assert (out[:19], out[-2:]) == (around[:19], around[-2:])
    spliced = out[19:-2]

    kept = {k: v for k, v in (properties.headers or {}).items() if k.encode() not in gone}
    properties.headers = None if properties.headers is None and not extra else kept | extra
    if cut_expiration:
        properties.expiration = None
    assert decode_properties(spliced) == properties
    assert spliced == encode_properties(properties)


def test_all_fields_of_a_name_go() -> None:
    twice = b"\x20\0\0\0\0\x11" + b"\x03x-aV" + b"\x01kV" + b"\x03x-at\x01" + b"\x01kV" + b"#"
    spliced = splice_fields(twice, 0, len(twice) - 1, Names({b"x-a"}), b"", False).getvalue()
    assert spliced == b"\x20\0\0\0\0\x06" + b"\x01kV" * 2 + b"#"


def test_headers_that_would_be_too_long_stay_as_they_are() -> None:
    large = encode_properties(Properties(headers={"x-a": "a" * (TABLE_SIZE_BYTES - 20)}, expiration="7"))
    fields = encode_table({"x-b": "b" * 20})[4:]
    properties = decode_properties(
        splice_fields(large, 0, len(large), Names({b"x-b"}), fields, True).getvalue()
    )
    assert properties.headers == {"x-a": "a" * (TABLE_SIZE_BYTES - 20)}
    assert properties.expiration is None
    fits = decode_properties(splice_fields(large, 0, len(large), Names({b"x-a"}), fields, False).getvalue())
    assert fits.headers == {"x-b": "b" * 20}
