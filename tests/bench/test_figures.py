"""Verdicts against bounds, and rows put into a document."""

from __future__ import annotations

import pytest

from bench.figures import HEAD, Figure, merge, number, ratio


@pytest.mark.parametrize(
    ("value", "must", "aim", "at_most", "verdict"),
    [
        (25.0, 13.0, 25.0, False, "aim"),
        (24.9, 13.0, 25.0, False, "must"),
        (12.9, 13.0, 25.0, False, "MISSED"),
        (0.2, 0.3, 0.12, True, "must"),
        (0.31, 0.3, 0.12, True, "MISSED"),
        (0.12, 0.3, 0.12, True, "aim"),
        (0.5, None, 0.6, False, "short of the aim"),
        (0.5, None, None, False, "no bound"),
        (1.0, 0.95, None, False, "must"),
        (None, 13.0, 25.0, False, "-"),
    ],
)
def test_a_value_is_judged_by_its_bounds(
    value: float | None, must: float | None, aim: float | None, at_most: bool, verdict: str
) -> None:
    assert Figure("w", "", "", "x", value, must, aim, at_most).verdict == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123, "0.12"), (9.994, "9.99"), (12.34, "12.3"), (123.4, "123"), (1234567.0, "1,234,567")],
)
def test_numbers_have_three_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_nothing_measured_is_no_ratio() -> None:
    assert ratio(5.0, 0.0) is None
    assert ratio(5.0, 2.0) == 2.5


DOCUMENT = (
    "before\n<!-- begin compiled -->\n<!-- end compiled -->\n<!-- begin pure -->\n<!-- end pure -->\nafter\n"
)


def row(work: str, value: float, judged: str = "x RabbitMQ") -> str:
    return Figure(work, "m", "b", judged, value, 1.0).row()


def test_rows_are_put_where_they_belong() -> None:
    merged = merge(DOCUMENT, "compiled", [row("first", 2.0)])
    assert merged == DOCUMENT.replace(
        "<!-- begin compiled -->\n", f"<!-- begin compiled -->\n{HEAD}\n{row('first', 2.0)}\n"
    )


def test_a_row_replaces_its_own_kind_and_no_other() -> None:
    merged = merge(DOCUMENT, "compiled", [row("first", 2.0), row("first", 30.0, "CPU"), row("second", 3.0)])
    merged = merge(merged, "compiled", [row("first", 4.0)])
    assert [line for line in merged.splitlines() if line.startswith("| ")][2:] == [
        row("first", 4.0),
        row("first", 30.0, "CPU"),
        row("second", 3.0),
    ]


def test_a_section_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no section 'typo'"):
        merge(DOCUMENT, "typo", [])
