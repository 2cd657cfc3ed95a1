"""Packed bodies: what is packed, what is undone, and that no body grows beyond its bound."""

from __future__ import annotations

import gzip
import zlib

import pytest

from leveret.client.compress import Compression, compression, unpack
from leveret.errors import InvalidMessage, Unsupported

BODY = b"a hare with a letter " * 200


def has_zstd() -> bool:
    try:
        Compression("zstd")
    except Unsupported:
        return False
    return True


AVAILABLE = ["gzip", "deflate", *(["zstd"] if has_zstd() else [])]


@pytest.mark.parametrize("encoding", AVAILABLE)
@pytest.mark.parametrize("level", [0, 1, 9])
def test_there_and_back(encoding: str, level: int) -> None:
    packed, name = Compression(encoding, level=level).pack(BODY)
    assert name == encoding
    assert len(packed) < len(BODY) / 10
    assert unpack(packed, name) == BODY
    assert unpack(packed, f" {name.upper()} ") == BODY


@pytest.mark.parametrize("encoding", AVAILABLE)
def test_short_bodies_and_those_that_would_grow_stay_as_they_are(encoding: str) -> None:
    short = b"a" * 1023
    assert Compression(encoding).pack(short) == (short, "")
    assert Compression(encoding, from_bytes=1023).pack(short)[1] == encoding
    noise = zlib.compress(bytes(range(256)))
    assert Compression(encoding, from_bytes=0).pack(noise[:40]) == (noise[:40], "")


def test_what_the_standard_library_packs_is_undone() -> None:
    assert unpack(gzip.compress(BODY), "gzip") == BODY
    assert unpack(gzip.compress(BODY) + gzip.compress(b"more"), "x-gzip") == BODY + b"more"
    assert unpack(zlib.compress(BODY), "deflate") == BODY
    packer = zlib.compressobj(wbits=-15)
    assert unpack(packer.compress(BODY) + packer.flush(), "deflate") == BODY
    assert gzip.decompress(Compression().pack(BODY)[0]) == BODY


def test_several_encodings_are_undone_from_the_last() -> None:
    packed = gzip.compress(zlib.compress(BODY))
    assert unpack(packed, "deflate, gzip") == BODY
    with pytest.raises(InvalidMessage, match="packed 5 times"):
        unpack(packed, "gzip,gzip,gzip,gzip,gzip")


@pytest.mark.parametrize("name", [None, "", "identity", "utf-8", "UTF-8", "binary"])
def test_names_that_pack_nothing(name: str | None) -> None:
    assert unpack(BODY, name) is BODY


@pytest.mark.parametrize("encoding", AVAILABLE)
def test_a_bomb_is_refused_at_its_bound(encoding: str) -> None:
    packed, _ = Compression(encoding).pack(bytes(1_000_000))
    assert len(unpack(packed, encoding, 1_000_000)) == 1_000_000
    with pytest.raises(InvalidMessage, match="more than 999999 bytes"):
        unpack(packed, encoding, 999_999)


def test_members_share_one_bound() -> None:
    packed = gzip.compress(bytes(600)) * 2
    assert len(unpack(packed, "gzip", 1200)) == 1200
    with pytest.raises(InvalidMessage, match="more than 1199 bytes"):
        unpack(packed, "gzip", 1199)


@pytest.mark.parametrize("encoding", AVAILABLE)
def test_damaged_bodies(encoding: str) -> None:
    packed, _ = Compression(encoding).pack(BODY)
    for damaged in (packed[:-1], packed[: len(packed) // 2], b"", b"no such thing"):
        with pytest.raises(InvalidMessage, match=encoding):
            unpack(damaged, encoding)


def test_deflate_ends_where_it_ends() -> None:
    with pytest.raises(InvalidMessage, match="4 bytes behind its end"):
        unpack(zlib.compress(BODY) + b"more", "deflate")


def test_an_encoding_that_is_not_known() -> None:
    with pytest.raises(InvalidMessage, match="'br' is not known; there are gzip"):
        unpack(BODY, "br")


def test_what_compress_means() -> None:
    assert compression(None) is None
    assert compression("deflate") == Compression("deflate")
    mine = Compression("gzip", 10, 9)
    assert compression(mine) is mine
    with pytest.raises(ValueError, match="not 'bzip2'"):
        compression("bzip2")
    with pytest.raises(ValueError, match="from 1 to 9, not 10"):
        Compression("gzip", level=10)


def test_zstd_without_a_library_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(Unsupported, match=r"backports\.zstd"):
        Compression("zstd")
    with pytest.raises(Unsupported, match=r"backports\.zstd"):
        unpack(BODY, "zstd")
