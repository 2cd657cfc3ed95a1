"""Node's @stomp/stompjs over WebSocket: scenarios of its own, played by stompjs_driver.js in one process, with text and with
binary frames. The package comes from npm at test time into a temporary folder; without node or npm these are skipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .broker import Ports

DRIVER = Path(__file__).with_name("stompjs_driver.js")
SCENARIOS = re.findall(r"^  '([^']+)': async", DRIVER.read_text(), re.MULTILINE)
RUN_TIMEOUT_S = 150
NOT_RABBITMQ = {
    "binary body": "it writes text frames, which may hold UTF-8 only, unless configured otherwise"
}

pytestmark = pytest.mark.timeout(RUN_TIMEOUT_S + 150)  # the first has npm's time too


@pytest.fixture(scope="session")
def outcome(node_modules: Path, ports: Ports) -> Any:
    done = subprocess.run(
        ["node", str(DRIVER), f"ws://{ports.web.host}:{ports.web.port}/ws"],
        env=os.environ | {"NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("frames", ["text", "binary"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(outcome: Any, scenario: str, frames: str, is_rabbitmq: bool) -> None:
    if is_rabbitmq and scenario in NOT_RABBITMQ:
        pytest.skip(f"RabbitMQ: {NOT_RABBITMQ[scenario]}")
    assert outcome[frames][scenario] == "passed"


def test_no_scenario_is_overlooked(outcome: Any) -> None:
    assert sorted(outcome["text"]) == sorted(outcome["binary"]) == sorted(SCENARIOS)
