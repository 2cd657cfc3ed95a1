"""The suites of CI, a test for each: what RabbitMQ passes of them, Leveret passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .run import SUITES, run_suite

pytestmark = pytest.mark.suites


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder and environment for all suites."""
    return tmp_path_factory.mktemp("suites")


@pytest.mark.parametrize("name", [name for name, suite in SUITES.items() if suite.always])
def test_suite(folder: Path, name: str) -> None:
    outcome = run_suite(name, folder)
    assert not outcome.failed, "\n".join(outcome.failures)
    print(f"{name}: {outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped")
