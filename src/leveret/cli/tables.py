"""Rows as an aligned table for people. Knows text and columns, nothing of what is in them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def cell(value: object) -> str:
    """A value on one line. Names come from clients: what would move the cursor is shown, not sent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (Mapping, list)):
        return json.dumps(value) if value else ""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Heading and rows, numbers to the right, everything else to the left."""
    titles = [column.replace("_", " ") for column in columns]
    lines = [[cell(row.get(column)) for column in columns] for row in rows]
    numeric = [
        bool(rows)
        and all(isinstance(row.get(c), (int, float)) and not isinstance(row[c], bool) for row in rows)
        for c in columns
    ]
    widths = [max([width(title), *(width(line[i]) for line in lines)]) for i, title in enumerate(titles)]

    def draw(cells: Sequence[str]) -> str:
        padded = []
        for i, text in enumerate(cells):
            space = " " * (widths[i] - width(text))
            padded.append(space + text if numeric[i] else text + space)
        return "  ".join(padded).rstrip()

    return "\n".join(draw(line) for line in [titles, *lines])


def pairs(values: Mapping[str, Any]) -> str:
    """One thing's properties, a line each."""
    titles = {name: name.replace("_", " ") for name in values}
    longest = max((width(title) for title in titles.values()), default=0)
    return "\n".join(f"{titles[name]:<{longest}}  {cell(value)}".rstrip() for name, value in values.items())
