"""The brokers of a run: by URL, a Leveret of our own, or Debian's RabbitMQ as a private node.

A node is private by its name, ports and folder; it is ended by the process id that it wrote itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika

from ..compat.broker import Address, Leveret, parse_url
from ..compat.clients import parameters, server_properties
from ..compat.waiting import eventually

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_START_TIMEOUT_S = 60.0


@contextlib.contextmanager
def broker(named: str, folder: Path) -> Iterator[Address]:
    """`named` is "leveret", "rabbitmq" (Debian's, of this system) or an amqp URL."""
    if named == "leveret":
        own = Leveret(folder / "leveret")
        try:
            yield own.start()
        finally:
            own.stop()
    elif named == "rabbitmq":
        with _rabbitmq(folder / "rabbitmq") as address:
            yield address
    else:
        yield parse_url(named)


def version_of(address: Address) -> tuple[str, str]:
    """What the broker calls itself, and its version."""
    connection = pika.BlockingConnection(parameters(address))
    found = server_properties(connection)
    connection.close()
    return str(found["product"]), str(found["version"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _rabbitmq(folder: Path) -> Iterator[Address]:
    folder.mkdir(parents=True)
    (folder / "plugins").write_text("[].")
    (folder / "rabbitmq.conf").write_text("")
    port, distribution, mapper = _free_port(), _free_port(), _free_port()
    environment = {
        "HOME": str(folder),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "RABBITMQ_NODENAME": f"differential{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
    }
    # a name mapper of our own, so that none is left over when the node is gone
    epmd = subprocess.Popen(
        ["epmd", "-port", str(mapper)],
        env={**os.environ, "ERL_EPMD_ADDRESS": "127.0.0.1"},
        stderr=subprocess.DEVNULL,
    )
    log = (folder / "output").open("wb")
    node = subprocess.Popen([_SERVER], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(port, node), "RabbitMQ listens", _START_TIMEOUT_S)
        yield Address("127.0.0.1", port)
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(30)
        for process in (node, epmd):
            process.kill()
            process.wait()
        log.close()


def _listens(port: int, node: subprocess.Popen[bytes]) -> bool:
    if node.poll() is not None:
        raise RuntimeError(f"RabbitMQ ended with {node.returncode}")
    try:
        version_of(Address("127.0.0.1", port))
    except (OSError, pika.exceptions.AMQPError):
        return False
    return True


@contextlib.contextmanager
def two_brokers(left: str, right: str) -> Iterator[tuple[Address, Address]]:
    """Both sides; the same name twice is one broker that is asked twice."""
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="leveret-differential-", ignore_cleanup_errors=True)
            )
        )
        one = stack.enter_context(broker(left, folder))
        yield one, one if left == right else stack.enter_context(broker(right, folder))
