"""Fixtures of the STOMP suite. What the tests expect is what RabbitMQ 4.3's plugins do, unless they say why not: run the
suite against one (broker.py says how) before changing an expectation."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pika = pytest.importorskip("pika", reason="tests/stomp/requirements.txt is not installed")
pytest.importorskip("stomp", reason="tests/stomp/requirements.txt is not installed")

from tests.compat import clients
from tests.compat.broker import Address, Leveret
from tests.compat.proxy import Proxy

from .broker import OPTIONS, Ports, ports_of, running_broker
from .talker import Talker

TEST_TIMEOUT_S = 60
HERE = Path(__file__).parent
STOMPJS = ("@stomp/stompjs@7", "ws@8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
            # clients leave sockets and threads to the collector when a broker drops them
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def ports() -> Iterator[Ports]:
    with running_broker() as found:
        yield found


@pytest.fixture(scope="session")
def address(ports: Ports) -> Address:
    """Of STOMP."""
    return ports.stomp


@pytest.fixture(scope="session")
def activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """STOMP of a Leveret whose destinations are ActiveMQ's."""
    if os.environ.get("COMPAT_URL"):
        pytest.skip("RabbitMQ has one style of destinations")
    broker = Leveret(tmp_path_factory.mktemp("activemq"), *OPTIONS, "--set", "stomp_destinations=activemq")
    try:
        broker.start()
        yield ports_of(broker).stomp
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def is_rabbitmq(ports: Ports) -> bool:
    with clients.connection(ports.amqp) as conn:
        return str(clients.server_properties(conn)["product"]) == "RabbitMQ"


@pytest.fixture
def fresh(ports: Ports) -> Iterator[Callable[..., str]]:
    """Names that nobody else uses; queues and exchanges of these names are deleted when the test is over."""
    names: list[str] = []

    def name(kind: str = "q") -> str:
        names.append(f"stomp.{kind}.{uuid.uuid4().hex[:12]}")
        return names[-1]

    yield name
    if names:
        with clients.connection(ports.amqp) as conn:
            clients.delete_all(conn, names)


@pytest.fixture
def queue(fresh: Callable[..., str]) -> str:
    return fresh()


@pytest.fixture
def ch(ports: Ports) -> Iterator[Any]:
    """An AMQP 0-9-1 channel."""
    with clients.connection(ports.amqp) as opened:
        yield opened.channel()


@pytest.fixture
def talk(address: Address) -> Iterator[Callable[..., Talker]]:
    """STOMP connections that are gone when the test is over."""
    with contextlib.ExitStack() as opened:
        yield lambda *args, **options: opened.enter_context(Talker(address, *args, **options))


@pytest.fixture
def talker(talk: Callable[..., Talker]) -> Talker:
    return talk()


@pytest.fixture
def proxy(address: Address) -> Iterator[Proxy]:
    with Proxy(address) as running:
        yield running


@pytest.fixture
def web_proxy(ports: Ports) -> Iterator[Proxy]:
    with Proxy(ports.web) as running:
        yield running


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """@stomp/stompjs and ws, out of npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("stompjs")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *STOMPJS]
    subprocess.run(command, check=True, timeout=120, cwd=folder)
    return folder / "node_modules"
