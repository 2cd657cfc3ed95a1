"""Fixtures of the tests with whole applications.

    make apps                                                              against a Leveret started for them
    COMPAT_URL=amqp://guest:guest@host:port/%2F make apps                  against that broker

The applications have an environment of their own (pinned.txt); Leveret is started by the interpreter that
COMPAT_PYTHON names. What the tests expect is what RabbitMQ does: run them against one before changing an
expectation. Every application is as its package brings it; what is here are small programs written for it, as
its users write them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pika = pytest.importorskip("pika", reason="tests/apps/pinned.txt is not installed")

from tests.compat import clients
from tests.compat.broker import Address
from tests.compat.fixtures import address, product

__all__ = ["address", "product"]  # used by their names

TEST_TIMEOUT_S = 90
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
            # libraries warn of their own business
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture
def conn(address: Address) -> Iterator[Any]:
    """A plain client's connection, to look at what the applications leave in queues."""
    with clients.connection(address) as opened:
        yield opened


@pytest.fixture(scope="module")
def fresh(address: Address) -> Iterator[Callable[..., str]]:
    """Names that nobody else uses; queues and exchanges of these names are deleted when the module is over.

    `fresh("jobs", ".dead")` counts the name with `.dead` behind it among them.
    """
    names: list[str] = []

    def name(kind: str, *endings: str) -> str:
        made = f"apps.{kind}.{uuid.uuid4().hex[:8]}"
        names.extend([made, *(made + ending for ending in endings)])
        return made

    yield name
    if names:
        with clients.connection(address) as conn:
            clients.delete_all(conn, names)
