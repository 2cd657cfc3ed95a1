"""Every target takes what it begins with, and a little of what it makes of that."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import spoilt
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=sorted(TARGETS))
def test_seeds_and_some_spoilt_ones(target: Target) -> None:
    dice = random.Random(7)
    seeds = target.seeds()
    target.one_input(b"")
    for data in seeds:
        target.one_input(data)
    for _ in range(150):
        target.one_input(spoilt(dice, dice.choice(seeds), dice.choice(seeds)))
