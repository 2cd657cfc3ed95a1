"""Rows as aligned text."""

from __future__ import annotations

from leveret.cli import tables


def test_columns_are_aligned_and_numbers_are_to_the_right() -> None:
    rows = [{"name": "a", "n": 1, "on": True}, {"name": "long", "n": 1000, "on": False}]
    assert tables.table(("name", "n", "on"), rows) == "name     n  on\na        1  yes\nlong  1000  no"


def test_no_rows_leave_the_heading() -> None:
    assert tables.table(("name", "auto_delete"), []) == "name  auto delete"


def test_wide_and_combining_characters_keep_the_columns() -> None:
    rows = [{"name": "兎", "x": "1"}, {"name": "e\u0301", "x": "1"}, {"name": "ab", "x": "1"}]
    lines = tables.table(("name", "x"), rows).splitlines()
    assert [tables.width(line) for line in lines] == [7, 7, 7, 7]


def test_names_from_clients_cannot_move_the_cursor() -> None:
    assert tables.cell("a\n\x1b[2J") == "a\\n\\x1b[2J"


def test_cells() -> None:
    values: list[object] = [None, {}, [], {"a": 1}, 0, False]
    assert [tables.cell(value) for value in values] == [
        "",
        "",
        "",
        '{"a": 1}',
        "0",
        "no",
    ]


def test_pairs() -> None:
    assert tables.pairs({"a": 1, "long_name": "x"}) == "a          1\nlong name  x"
