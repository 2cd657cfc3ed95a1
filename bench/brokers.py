"""Brokers under measurement: started in a directory of their own on a free port, ended by their process id."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from bench import procfs

RABBITMQ_310 = Path(
    "/usr/lib/rabbitmq/bin/rabbitmq-server"
)  # Debian's, without the wrapper that changes users
START_S = 120.0


class Usage(ValueError):
    """An option that makes no sense; the text says which and what is allowed."""


class StartFailed(Exception):
    """The broker did not come up."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_and_pid(text: str) -> tuple[int, int]:
    """`PORT`, `PORT,PID` or an `amqp://` URL of this machine, with `,PID` behind it or not. Raises Usage."""
    found = re.fullmatch(r"(?:amqp://(?:[^@/]*@)?[^:/]+:)?(\d+)(?:/[^,]*)?(?:,(\d+))?", text)
    if found is None:
        raise Usage(f"--rabbitmq {text}: it takes PORT[,PID], amqp://HOST:PORT/[,PID], or none")
    return int(found.group(1)), int(found.group(2) or 0)


def python_beside(command: str) -> str:
    """The interpreter of the environment that a `leveret` command belongs to. Raises Usage where there is none."""
    found = shutil.which(command.split()[0]) if command else None
    python = Path(found).parent / "python" if found else None
    if python is None or not python.exists():
        raise Usage(
            f"there is no python beside '{command}': name a command of an environment, such as .venv/bin/leveret"
        )
    # programs run in directories of their own; not resolved: an environment is where its link is
    return str(python.absolute())


def answers(port: int) -> bool:
    """Whether connection.start comes from there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(b"AMQP\0\0\x09\x01")
            return s.recv(1) == b"\x01"
    except OSError:
        return False


class Broker:
    """One that somebody else runs: its port and, for CPU and memory, its pid (0: not known)."""

    name = "broker"

    def __init__(self, port: int, pid: int = 0) -> None:
        self.port = port
        self.stomp_port = 0  # 0: it does not speak STOMP
        self.pid = pid

    def start(self) -> float:
        """Returns the seconds from the start of the process until it answers."""
        if not answers(self.port):
            raise StartFailed(f"nothing answers on port {self.port}")
        return 0.0

    def stop(self) -> None:
        """End it in order and forget its data."""

    def kill(self) -> None:
        raise NotImplementedError(f"{self.name} is not ours to kill")

    def rss_kb(self) -> int:
        return procfs.rss_kb(self.pid) if self.pid else 0


class Started(Broker):
    """One that we start."""

    def __init__(self, directory: Path) -> None:
        super().__init__(0)
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self.runs = 0

    def spawn(self, command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.runs += 1
        with self.log_path().open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        self.pid = self.process.pid
        return self.process

    def log_path(self) -> Path:
        return self.directory / f"log.{self.runs}"

    def wait_until(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_S
        while not answers(self.port):
            self.check(process, end)
            time.sleep(0.005)

    def check(self, process: subprocess.Popen[bytes], end: float) -> None:
        if process.poll() is not None or time.monotonic() > end:
            tail = self.log_path().read_text(errors="replace")[-2000:]
            raise StartFailed(f"{self.name} did not start (exit code {process.returncode}):\n{tail}")

    def kill(self) -> None:
        """SIGKILL; its data stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)


class Leveret(Started):
    """`command` is what stands before `serve`, or a whole command with {port} and {data} in it."""

    name = "Leveret"

    def __init__(self, directory: Path, command: str, options: str = "", stomp: bool = False) -> None:
        super().__init__(directory)
        self.command = command
        self.options = options
        self.stomp = stomp

    def start(self) -> float:
        data = self.directory / "data"
        if "{port}" in self.command:
            self.port = free_port()
            data.mkdir(parents=True, exist_ok=True)
            words = shlex.split(self.command.replace("{port}", str(self.port)).replace("{data}", str(data)))
            began = time.perf_counter()
            self.wait_until(self.spawn(words))
        else:
            words = [*shlex.split(self.command), "serve", "--data", str(data)]
            words += ["--amqp-port", "0", "--log-format", "json"]
            words += ["--stomp-port", "0" if self.stomp else "off", "--web-stomp-port", "off"]
            began = time.perf_counter()
            self._wait_for_ready(self.spawn(words + shlex.split(self.options)))
            if not answers(self.port):
                raise StartFailed(f"Leveret said ready and does not answer on port {self.port}")
        return time.perf_counter() - began

    def _wait_for_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_S
        while (port := ready_port(log := self.log_path().read_text(errors="replace"))) == 0:
            self.check(process, end)
            time.sleep(0.002)
        self.port = port
        self.stomp_port = ready_port(log, "stomp")


def ready_port(log: str, listener: str = "amqp") -> int:
    """The listener's port in the `ready` line of a log in JSON lines; 0 when it is not there yet."""
    for line in log.splitlines():
        if '"ready"' not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # half a line
        if isinstance(entry, dict) and entry.get("event") == "ready":
            return _port(entry, listener)
    return 0


def _port(entry: dict[str, object], listener: str) -> int:
    listeners = entry.get("addresses", entry)
    address = listeners.get(listener) if isinstance(listeners, dict) else None
    return int(address.rsplit(":", 1)[1]) if isinstance(address, str) else 0


class RabbitMq310(Started):
    """A private node of Debian 12's RabbitMQ, with an epmd of its own: nothing is left behind, no other
    node is touched."""

    name = "RabbitMQ 3.10.8"

    def __init__(self, directory: Path, stomp: bool = False) -> None:
        super().__init__(directory)
        self.stomp = stomp
        self.epmd: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        return RABBITMQ_310.exists()

    def start(self) -> float:
        d = self.directory
        d.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        epmd_port = str(free_port())
        (d / "plugins").write_text("[rabbitmq_stomp]." if self.stomp else "[].")
        settings = "vm_memory_high_watermark.relative = 0.6\ndisk_free_limit.absolute = 1GB\n"
        if self.stomp:
            self.stomp_port = free_port()
            settings += f"stomp.listeners.tcp.1 = 127.0.0.1:{self.stomp_port}\n"
        (d / "rabbitmq.conf").write_text(settings)
        environment = {
            "HOME": str(d),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": epmd_port,
            "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(d / "mnesia"),
            "RABBITMQ_LOG_BASE": str(d / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(d / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(d / "rabbitmq.conf"),
        }
        self.epmd = subprocess.Popen(
            ["epmd"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        began = time.perf_counter()
        self.wait_until(self.spawn([str(RABBITMQ_310)], environment))
        return time.perf_counter() - began

    def kill(self) -> None:
        """The script's child is the node: both go."""
        for pid in procfs.children(self.pid):
            os.kill(pid, signal.SIGKILL)
        super().kill()
        self._end_epmd()

    def stop(self) -> None:
        for pid in procfs.children(self.pid):
            if pid != self.pid and _is_node(pid):
                os.kill(pid, signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        super().stop()
        self._end_epmd()

    def _end_epmd(self) -> None:
        if self.epmd is not None:
            self.epmd.terminate()
            self.epmd.wait()
            self.epmd = None


def _is_node(pid: int) -> bool:
    try:
        return "beam" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False
