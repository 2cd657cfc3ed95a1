"""One line of text for each record of a block, for people who look into a store."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i64_be

from leveret.store.records import (
    BEGIN,
    DELIVERED,
    FRAGMENT,
    HEADER_BYTES,
    LANE,
    NAMES,
    PUBLISH,
    SETTLE,
    STORED,
    TX,
)
from leveret.store.records import record_end as end_of_record

FIELDS: Final = {
    SETTLE: ("lane", "first", "last"),
    DELIVERED: ("lane", "below"),
    STORED: ("lane", "base"),
    FRAGMENT: ("chain",),
    BEGIN: ("oldest segment",),
    LANE: ("lane", "next", "delivered below"),
}


def describe(payload: bytes) -> list[str]:
    """Raises Damaged where a record does not fit into its block."""
    lines: list[str] = []
    _describe(payload, 0, len(payload), "", lines)
    return lines


def _describe(payload: bytes, at: int, end: int, indent: str, lines: list[str]) -> None:
    while at < end:
        after = int(end_of_record(payload, at))
        kind = payload[at]
        line = indent + NAMES.get(kind, f"unknown {kind}")
        body = at + HEADER_BYTES
        if kind == PUBLISH:
            targets = int(read_i16_be(payload, at + 2))
            for number in range(targets):
                lane = read_i64_be(payload, body + number * 16)
                line += f" lane {lane} seq {read_i64_be(payload, body + number * 16 + 8)}"
        for name in FIELDS.get(kind, ()):
            line += f" {name} {read_i64_be(payload, body)}"
            body += 8
        lines.append(f"{line} ({after - at} bytes)")
        if kind == TX:
            _describe(payload, at + HEADER_BYTES, after, indent + "  ", lines)
        at = after
