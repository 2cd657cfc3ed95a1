"""Fixtures of the compatibility suite.

    COMPAT_URL=amqp://guest:guest@host:port/%2F pytest tests/compat      against that broker
    pytest tests/compat                                                  against a Leveret started for it

What the tests expect is what RabbitMQ 4.3 does: run the suite against one before changing an expectation.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pika = pytest.importorskip("pika", reason="tests/compat/requirements.txt is not installed")

from . import clients, later
from .broker import Address
from .fixtures import address, product
from .proxy import Proxy

__all__ = ["address", "product"]  # used by their names

TEST_TIMEOUT_S = 60
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "later(reason): RabbitMQ does this, Leveret not yet; not run against Leveret"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.compat)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
            # clients warn of their own business, and leave sockets to the collector when a broker drops them
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def _leave_out_what_is_not_built_yet(request: pytest.FixtureRequest) -> None:
    reason = later.reason(request.node)
    if reason and request.getfixturevalue("product") == "Leveret":
        pytest.skip(reason)


@pytest.fixture
def fresh(address: Address) -> Iterator[Callable[..., str]]:
    """Names that nobody else uses; queues and exchanges of these names are deleted when the test is over."""
    names: list[str] = []

    def name(kind: str = "q") -> str:
        names.append(f"compat.{kind}.{uuid.uuid4().hex[:12]}")
        return names[-1]

    yield name
    if names:
        with clients.connection(address) as conn:
            clients.delete_all(conn, names)


@pytest.fixture
def conn(address: Address) -> Iterator[Any]:
    with clients.connection(address) as opened:
        yield opened


@pytest.fixture
def other(address: Address) -> Iterator[Any]:
    """A second connection."""
    with clients.connection(address) as opened:
        yield opened


@pytest.fixture
def ch(conn: Any) -> Any:
    return conn.channel()


@pytest.fixture
def proxy(address: Address) -> Iterator[Proxy]:
    """A TCP proxy before the broker, to drop connections with."""
    with Proxy(address) as running:
        yield running
