"""How long: numbers and texts, and what is neither."""

from __future__ import annotations

import pytest

from leveret.core.spans import span_ms


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0), (1_500, 1_500), ("0", 0), ("90", 90), ("250ms", 250), ("10s", 10_000), ("5m", 300_000),
        ("1.5h", 5_400_000), ("1h30m", 5_400_000), ("2d1s", 172_801_000), ("0.25s", 250), ("0.000001d", 86),
        ("1.0005s", 1_000),
    ],
)  # fmt: skip
def test_spans(value: object, ms: int) -> None:
    assert span_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        -1,
        True,
        None,
        1.5,
        b"1s",
        [],
        "",
        "s",
        "1.5",
        ".5s",
        "1.s",
        "-5s",
        "10 s",
        "1S",
        "1w",
        "1h30",
        "\u0661s",
        "9" * 19,
    ],
)
def test_what_is_none(value: object) -> None:
    assert span_ms(value) == -1
