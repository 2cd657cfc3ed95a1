"""Fixtures of every test that talks to a whole broker: its address, and which one it says it is.

A conftest imports what it wants of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import clients
from .broker import Address, running_broker


@pytest.fixture(scope="session")
def address() -> Iterator[Address]:
    with running_broker() as found:
        yield found


@pytest.fixture(scope="session")
def product(address: Address) -> str:
    """ "RabbitMQ" or "Leveret", as the broker says of itself."""
    with clients.connection(address) as conn:
        return str(clients.server_properties(conn)["product"])
