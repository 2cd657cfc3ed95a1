"""Bodies made smaller, by content-encoding: gzip, deflate, and zstd where a library for it is installed.

What is unpacked is bounded, whatever it claims to be: a body that would grow beyond the bound is an InvalidMessage.
Content encodings that are names of charsets, as Celery writes them, mean that nothing was packed.
"""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from typing import Any, Final

from leveret import limits
from leveret.errors import InvalidMessage, Unsupported

GZIP_WINDOW: Final = 31  # zlib's wbits: a gzip header and trailer around it
ZLIB_WINDOW: Final = 15
RAW_WINDOW: Final = -15
ENCODINGS: Final = ("gzip", "deflate", "zstd")
OTHER_NAMES: Final = {"x-gzip": "gzip", "zlib": "deflate"}
PLAIN: Final = frozenset(
    {"", "identity", "binary", "utf-8", "utf8", "us-ascii", "ascii", "latin-1", "iso-8859-1"}
)
LEVELS: Final = {"gzip": (1, 9), "deflate": (1, 9), "zstd": (1, 22)}


@dataclass(frozen=True, slots=True)
class Compression:
    """How bodies of at least `from_bytes` bytes are packed. `level`: 0 for the usual one.

    Raises ValueError for an encoding or level that there is not, Unsupported for zstd without a library.
    """

    encoding: str = "gzip"
    from_bytes: int = limits.COMPRESS_FROM_BYTES
    level: int = 0

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"compress is one of {', '.join(ENCODINGS)}, not {self.encoding!r}")
        least, most = LEVELS[self.encoding]
        if self.level and not least <= self.level <= most:
            raise ValueError(f"the level of {self.encoding} is from {least} to {most}, not {self.level}")
        if self.encoding == "zstd":
            _zstd()

    def pack(self, body: bytes) -> tuple[bytes, str]:
        """The body and its content-encoding: "" where it is short or would not get smaller."""
        if len(body) < self.from_bytes:
            return body, ""
        if self.encoding == "zstd":
            packed = _zstd().compress(body, self.level or 3)
        else:
            window = GZIP_WINDOW if self.encoding == "gzip" else ZLIB_WINDOW
            packer = zlib.compressobj(self.level or 6, zlib.DEFLATED, window)
            packed = packer.compress(body) + packer.flush()
        return (packed, self.encoding) if len(packed) < len(body) else (body, "")


def compression(wanted: str | Compression | None) -> Compression | None:
    """What `compress=` means: an encoding's name, a Compression, or nothing. Raises ValueError, Unsupported."""
    return Compression(wanted) if isinstance(wanted, str) else wanted


def unpack(body: bytes, content_encoding: str | None, limit_bytes: int = limits.DECOMPRESSED_BYTES) -> bytes:
    """The body before it was packed, at most `limit_bytes` long. Several encodings are undone, the last one first.

    Raises InvalidMessage for what is damaged, cut off, too large, or packed in a way that is not known here; Unsupported
    for zstd without a library.
    """
    encoding = (content_encoding or "").strip().lower()
    if encoding in PLAIN:
        return body
    layers = [OTHER_NAMES.get(layer.strip(), layer.strip()) for layer in encoding.split(",")]
    if len(layers) > limits.CONTENT_CODINGS:
        raise InvalidMessage(f"the body is packed {len(layers)} times, {limits.CONTENT_CODINGS} are undone")
    for layer in reversed(layers):
        if layer == "gzip" or layer == "deflate":
            body = _inflate(body, layer, limit_bytes)
        elif layer == "zstd":
            body = _unpack_zstd(body, limit_bytes)
        elif layer not in PLAIN:
            raise InvalidMessage(
                f"the content-encoding {layer[:40]!r} is not known; there are {', '.join(ENCODINGS)}"
            )
    return body


def _inflate(body: bytes, layer: str, limit_bytes: int) -> bytes:
    """gzip of one or more members; deflate with zlib's header, or without, as some senders write it."""
    window = GZIP_WINDOW if layer == "gzip" else ZLIB_WINDOW
    if layer == "deflate" and (len(body) < 2 or body[0] & 15 != 8 or (body[0] << 8 | body[1]) % 31):
        window = RAW_WINDOW
    parts: list[bytes] = []
    room = limit_bytes
    while True:
        unpacker = zlib.decompressobj(window)
        try:
            part = unpacker.decompress(body, room + 1)
        except zlib.error as error:
            raise InvalidMessage(f"the body is not {layer}, or damaged: {error}") from None
        room -= len(part)
        if room < 0:
            raise _too_large(layer, limit_bytes)
        if not unpacker.eof:
            raise InvalidMessage(f"the body is {layer} that is cut off")
        parts.append(part)
        body = unpacker.unused_data
        if not body:
            return b"".join(parts)
        if layer == "deflate":
            raise InvalidMessage(f"the body is deflate with {len(body)} bytes behind its end")


def _too_large(layer: str, limit_bytes: int) -> InvalidMessage:
    return InvalidMessage(
        f"the body is {layer} of more than {limit_bytes} bytes, which is the most that is unpacked"
    )


def _zstd() -> Any:
    """A part of Python since 3.14, else a package that has the same."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Unsupported("zstd needs Python 3.14, or the package backports.zstd")


def _unpack_zstd(body: bytes, limit_bytes: int) -> bytes:
    zstd = _zstd()
    parts: list[bytes] = []
    room = limit_bytes
    while True:
        unpacker = zstd.ZstdDecompressor()
        try:
            part: bytes = unpacker.decompress(body, room + 1)
        except zstd.ZstdError as error:
            raise InvalidMessage(f"the body is not zstd, or damaged: {error}") from None
        room -= len(part)
        if room < 0:
            raise _too_large("zstd", limit_bytes)
        if not unpacker.eof:
            raise InvalidMessage("the body is zstd that is cut off")
        parts.append(part)
        body = unpacker.unused_data
        if not body:
            return b"".join(parts)
