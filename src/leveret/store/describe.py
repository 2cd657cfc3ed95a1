"""One line of text for each record of a block, for people who look into a store."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i64_be

from leveret.journal import LANE_INDEX_SHIFT, OWNER_MASK
from leveret.store.records import (
    BEGIN,
    CONTENT_BYTES,
    DELIVERED,
    FACT,
    FRAGMENT,
    HAS_TERMS,
    HEADER_BYTES,
    LANE,
    MOVED,
    NAMES,
    NOTE,
    PUBLISH,
    SETTLE,
    STORED,
    TARGET_BYTES,
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
    NOTE: ("lane", "seq"),
    FACT: ("lane",),
}
TARGET: Final = ("lane", "seq")
TERMS: Final = ("stamp", "ttl", "due", "priority")
SOURCE: Final = ("from lane", "seq")


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
        if kind == PUBLISH:
            line += _publish(payload, at, after)
        else:
            line += _fields(payload, at + HEADER_BYTES, FIELDS.get(kind, ()))
        lines.append(f"{line} ({after - at} bytes)")
        if kind == TX:
            _describe(payload, at + HEADER_BYTES, after, indent + "  ", lines)
        at = after


def _publish(payload: bytes, at: int, after: int) -> str:
    text = ""
    body = at + HEADER_BYTES
    for _ in range(int(read_i16_be(payload, at + 2))):
        text += _fields(payload, body, TARGET)
        body += int(TARGET_BYTES)
    if body + CONTENT_BYTES <= after:
        flags = payload[body]
        body += int(CONTENT_BYTES)
        if flags & HAS_TERMS:
            text += _fields(payload, body, TERMS)
            body += 8 * len(TERMS)
        if flags & MOVED:
            text += _fields(payload, body, SOURCE)
    return text


def _fields(payload: bytes, at: int, names: tuple[str, ...]) -> str:
    text = ""
    for name in names:
        value = int(read_i64_be(payload, at))
        text += f" {name} {lane_text(value) if name.endswith('lane') else value}"
        at += 8
    return text


def lane_text(lane: int) -> str:
    """The owner's number, and behind a dot which of its lanes, if that is not the ordinary one."""
    index = lane >> int(LANE_INDEX_SHIFT)
    return f"{lane & int(OWNER_MASK)}.{index}" if index else str(lane)
