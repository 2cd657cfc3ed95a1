"""Node's amqplib: the table of errors and scenarios of its own, run by amqplib_driver.js in one process.

The package comes from npm at test time into a temporary folder. Without node or npm these tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from . import later
from .broker import Address
from .clients import connection, delete_all
from .error_cases import CASES, Case, any_integer_type, cut, fill

DRIVER = Path(__file__).with_name("amqplib_driver.js")
AMQPLIB = "amqplib@2"
SCENARIOS = re.findall(r"^  '([^']+)': ", DRIVER.read_text(), re.MULTILINE)
RUN_TIMEOUT_S = 150


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("amqplib")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), AMQPLIB]
    subprocess.run(command, check=True, timeout=120, cwd=folder)
    return folder / "node_modules"


def case_names(number: int, run: str) -> dict[str, str]:
    return {key: f"compat.js.{run}.{number}.{key}" for key in ("q", "x", "x2")}


@pytest.fixture(scope="session")
def outcome(node_modules: Path, address: Address, product: str) -> Any:
    """What the driver reports, and under "names" the names that each error case was given."""
    run = uuid.uuid4().hex[:8]
    names = {case.id: case_names(number, run) for number, case in enumerate(CASES)}
    played = [case for case in CASES if product != "Leveret" or later.reason_for(case.id) is None]
    steps = [
        {
            "id": case.id,
            "steps": [
                {"method": step.method, "args": fill(step.args, names[case.id]), "on_other": step.on_other}
                for step in case.steps
            ],
        }
        for case in played
    ]
    try:
        done = subprocess.run(
            ["node", str(DRIVER), address.url],
            input=json.dumps(steps),
            env=os.environ | {"NODE_PATH": str(node_modules)},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) | {"names": names}
    finally:
        with connection(address) as conn:
            delete_all(conn, [name for each in names.values() for name in each.values()])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_error(outcome: Any, case: Case) -> None:
    found = outcome["errors"][case.id]
    assert (found["scope"], found.get("code")) == (case.scope, case.code), found
    assert cut(fill(case.text, outcome["names"][case.id])) in any_integer_type(found["message"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(outcome: Any, scenario: str) -> None:
    assert outcome["scenarios"][scenario] == "passed"


def test_no_scenario_is_overlooked(outcome: Any) -> None:
    assert sorted(outcome["scenarios"]) == sorted(SCENARIOS)
