"""The tests run against what they say they run against."""

from __future__ import annotations

import os

import leveret.message
from leveret import build


def test_the_mode_under_test_is_the_one_asked_for() -> None:
    expected = os.environ.get("LEVERET_EXPECT", build.MODE)
    assert expected in ("compiled", "pure")
    assert expected == build.MODE


def test_compiled_says_what_was_loaded() -> None:
    assert leveret.message.__file__ is not None
    assert leveret.message.__file__.endswith(".py") is not build.COMPILED


def test_description_names_everything() -> None:
    text = build.describe()
    assert build.MODE in text
    assert "CPython" in text
