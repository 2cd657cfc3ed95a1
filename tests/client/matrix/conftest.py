"""The brokers of the matrix, started once for all its cases."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...compat.broker import Address
from ...differential.brokers import broker as started
from .brokers import Side, names, side_of


@pytest.fixture(autouse=True, scope="session")
def old_objects() -> Iterator[None]:
    """Every case collects what it leaves behind; what was there before is not looked at again each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "address" in metafunc.fixturenames:
        metafunc.parametrize("address", names(), indirect=True, scope="session")


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    with (
        tempfile.TemporaryDirectory(prefix="leveret-matrix-", ignore_cleanup_errors=True) as folder,
        started(request.param, Path(folder)) as where,
    ):
        yield where


@pytest.fixture(scope="session")
def side(address: Address) -> Iterator[Side]:
    with side_of(address) as side:
        yield side
