"""A `leveret serve` process that is killed and started again on one directory, and looked at from outside.

Knows the command line, the start-up log and /proc; knows nothing of AMQP. Only the process it started is ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.compat.waiting import eventually

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class BrokerFailed(Exception):
    """It did not start, or did not stop, as it should."""


class Broker:
    def __init__(
        self,
        folder: Path,
        *options: str,
        preexec: Callable[[], None] | None = None,
        module: str = "leveret",
    ) -> None:
        self.directory = folder / "store"
        self.log_file = folder / "broker.log"
        self.options = options
        self.preexec = preexec
        self.module = module  # that has the command line
        self.port = 0
        self.stomp_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def launch(self) -> None:
        """Start it without waiting for anything."""
        command = [sys.executable, "-m", *self.module.split(), "serve", "--data", str(self.directory)]
        command += ["--amqp-port", "0", "--stomp-port", "0", "--web-stomp-port", "off"]
        command += ["--log-format", "json", *self.options]
        self._log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=self.preexec
            )

    def wait_until_ready(self) -> None:
        eventually(self._ready, "the broker is ready", START_TIMEOUT_S)

    def _ready(self) -> bool:
        ended = self.ends_within(0)  # asked first: what it logged before is then there
        for entry in self.log_lines():
            if entry.get("event") == "ready":
                addresses = entry["addresses"]
                assert isinstance(addresses, dict)
                self.port = int(str(addresses["amqp"]).rpartition(":")[2])
                self.stomp_port = int(str(addresses["stomp"]).rpartition(":")[2])
                return True
        if ended:
            raise BrokerFailed(f"the broker ended while it started:\n{self.log_text()}")
        return False

    def start(self) -> int:
        self.launch()
        self.wait_until_ready()
        return self.port

    def kill(self) -> None:
        """SIGKILL, to this process alone."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """SIGTERM, which must end it with 0."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise BrokerFailed(f"SIGTERM did not end it within {STOP_TIMEOUT_S} s") from None
        if code != 0:
            raise BrokerFailed(f"SIGTERM ended it with {code}:\n{self.log_text()}")

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself in that time."""
        assert self.process is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    # what it says

    def log_text(self) -> str:
        """The log of this start."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def log_lines(self) -> list[dict[str, object]]:
        """The whole lines of this start's log; a line that is not JSON counts as an error."""
        found: list[dict[str, object]] = []
        for line in self.log_text().splitlines(keepends=True):
            if not line.endswith("\n") or not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"level": "error", "event": line.strip()}
            found.append(entry)
        return found

    def errors(self) -> list[str]:
        """Lines of this start's log that no broker in good order writes."""
        bad = ("error", "critical")
        return [str(entry) for entry in self.log_lines() if entry.get("level") in bad or "traceback" in entry]

    def check_store(self) -> str:
        """What `leveret store check` finds damaged; nothing if nothing is."""
        command = [sys.executable, "-m", "leveret", "store", "check", str(self.directory)]
        done = subprocess.run(command, capture_output=True, text=True)
        return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stdout}{done.stderr}"

    # what it costs

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
