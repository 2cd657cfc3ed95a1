"""Runs the functional suites that come with third-party clients against a broker.

    python tests/suites/run.py                   the suites of CI, each against a Leveret of its own
    python tests/suites/run.py celery            the named ones
    COMPAT_URL=amqp://guest:guest@127.0.0.1:5672/%2F python tests/suites/run.py kombu
    python tests/suites/run.py --checkout DIR faststream

Each suite's source distribution comes from the package index into a temporary folder, and runs in a virtual
environment there. Of packages that publish no tests, the tests are those of a checkout of their repository, which
has to be at hand; they run on the package as published. Nothing fetched is kept (`--folder` keeps it for the next
run) or committed. What RabbitMQ passes, Leveret passes: a test left out stands in the table with its reason.
The last line says `N passed, N failed, N skipped`; the exit code is 1 when a test failed or too few ran.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.compat.broker import Address, running_broker
from tests.compat.raw import RawConnection
from tests.suites.standins import cleaning_api, on_the_usual_port

INSTALL_TIMEOUT_S = 300
TESTED_BY_ALL = ("pytest>=8,<10", "pytest-timeout>=2.3", "pytest-rerunfailures>=14")


@dataclass(frozen=True)
class Suite:
    """A package with tests in its source distribution. In `environment`, {host}, {port}, {url}, {user}, {password}
    and {http} are filled in."""

    package: str
    version: str
    tests: tuple[str, ...]
    environment: Mapping[str, str]
    passes: int  # how many of the tests RabbitMQ passes
    timeout_s: int = 240
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)  # test id: why Leveret cannot pass it yet
    fails_anywhere: dict[str, str] = field(default_factory=dict)  # test id: why no broker passes it here
    always: bool = True  # False: only when asked for by name
    usual_port: bool = False  # its tests connect to port 5672, and may clean up by HTTP (standins.py)
    checkout: tuple[str, ...] = ()  # what is needed of a checkout: its source distribution has no tests


SUITES = {
    suite.package: suite
    for suite in (
        Suite(
            "amqp",
            "5.4.2",
            tests=("t/integration/test_rmq.py",),
            environment={"RABBITMQ_HOST": "{host}", "RABBITMQ_5672_TCP": "{port}"},
            options=("-k", "not tls"),
            passes=12,
        ),
        Suite(
            "kombu",
            "5.7.0",
            tests=("t/integration/test_py_amqp.py",),
            environment={"RABBITMQ_HOST": "{host}", "RABBITMQ_5672_TCP": "{port}"},
            passes=51,
        ),
        Suite(
            "rabbitpy",
            "3.0.2",
            tests=("tests/test_integration.py", "tests/integration"),
            environment={"RABBITMQ_URL": "{url}"},
            needs=("python-dotenv",),
            passes=40,
        ),
        Suite(
            "celery",
            "5.7.0",
            # in this order: after the others, a test of the worker finds the process it is in marked as a worker's
            tests=tuple(f"t/integration/test_{name}.py" for name in ("worker", "tasks", "inspect", "canvas")),
            environment={
                "TEST_BROKER": "pyamqp://{user}:{password}@{host}:{port}//",
                "TEST_BACKEND": "rpc://",
            },
            needs=("pytest-celery>=1.3", "pytest-subtests", "pytest-order", "redis", "pydantic", "django"),
            options=("--reruns", "1", "--timeout", "90"),
            passes=115,
            timeout_s=1_500,
            fails_anywhere={
                "t/integration/test_tasks.py::test_tasks::test_retry": "asks for the state of a result without reading rpc://",
                **{
                    f"t/integration/test_tasks.py::test_trace_log_arguments::{test}": "gives the worker 10 ms to log"
                    for test in ("test_task_success", "test_task_failed")
                },
            },
            always=False,
        ),
        Suite(
            "amqpstorm",
            "3.1.4",
            tests=("amqpstorm/tests/functional",),
            environment={
                "AMQP_HOST": "{host}",
                "AMQP_USERNAME": "{user}",
                "AMQP_PASSWORD": "{password}",
                "AMQP_URI": "{url}",
                "AMQP_HTTP_URL": "{http}",
            },
            needs=("requests",),
            options=tuple(
                f"--ignore=amqpstorm/tests/functional/{part}"
                for part in ("ssl", "management", "test_web_based.py")
            ),
            passes=95,
            usual_port=True,
        ),
        Suite(
            "faststream",
            "0.7.8",
            checkout=("tests", "pyproject.toml"),
            tests=("tests/brokers/rabbit",),
            environment={},
            needs=(
                "faststream[rabbit,cli]==0.7.8",
                "pytest-asyncio",
                *("dirty-equals", "fastapi", "freezegun", "httpx", "msgspec", "opentelemetry-sdk"),
                *("prometheus-client", "pydantic-settings"),
            ),
            # one file imports all the brokers that FastStream has
            options=("-m", "connected", "--ignore", "tests/brokers/rabbit/test_misconfigure.py"),
            passes=186,
            usual_port=True,
            always=False,
        ),
        Suite(
            "dramatiq",
            "2.2.1",
            checkout=("tests",),
            tests=("tests/test_rabbitmq.py",),
            environment={"RABBITMQ_USERNAME": "{user}", "RABBITMQ_PASSWORD": "{password}"},
            needs=("dramatiq[rabbitmq]==2.2.1", "pylibmc", "redis"),
            passes=28,
            usual_port=True,
            always=False,
        ),
        Suite(
            "taskiq-aio-pika",
            "0.6.1",
            checkout=("tests", "pyproject.toml"),
            tests=("tests",),
            environment={"TEST_AMQP_URL": "{url}"},
            needs=("taskiq==0.13.0", "anyio"),
            passes=13,  # and two more with x-delayed-message, which is a plugin there
            always=False,
        ),
    )
}


class Outcome(NamedTuple):
    passed: int
    failed: int
    skipped: int
    failures: tuple[str, ...]  # test ids with the first line of what they say


def python_of(folder: Path) -> str:
    return str(folder / "venv" / "bin" / "python")


def prepare(suite: Suite, folder: Path, checkout: Path | None) -> Path:
    """The unpacked source of `suite`, with an environment beside it that has what its tests need."""
    if not (folder / "venv").exists():
        venv.create(folder / "venv", with_pip=True)
    pip = [python_of(folder), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    requirement = f"{suite.package}=={suite.version}"
    install = [*pip, "install", *TESTED_BY_ALL, *suite.needs, requirement]
    subprocess.run(install, check=True, timeout=INSTALL_TIMEOUT_S)
    source = folder / f"{suite.package}-{suite.version}"
    if suite.checkout:
        if checkout is None:
            raise SystemExit(
                f"{suite.package} publishes no tests: name a checkout of its repository by --checkout"
            )
        copy(suite, checkout, source)
        return source
    archives = folder / "archives"
    download = [*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(archives), requirement]
    subprocess.run(download, check=True, timeout=INSTALL_TIMEOUT_S)
    (archive,) = archives.glob(f"{suite.package}-{suite.version}.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return source


def copy(suite: Suite, checkout: Path, to: Path) -> None:
    """Copy the tests out of a checkout, without the package: the published one is tested."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name in suite.checkout:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, to / name)
        else:
            shutil.copy(source, to / name)


def run(suite: Suite, source: Path, address: Address, left_out: Iterable[str], http: str = "") -> Outcome:
    values = {
        "http": http,
        "host": address.host,
        "port": str(address.port),
        "url": address.url,
        "user": address.user,
        "password": address.password,
    }
    environment = os.environ | {name: text.format(**values) for name, text in suite.environment.items()}
    environment.pop("PYTHONPATH", None)
    environment["PATH"] = f"{source.parent / 'venv' / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    report = source / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        python_of(source.parent),
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "60",
    ]
    command += [f"--junitxml={report}", *suite.options, *suite.tests]
    for test in (*suite.fails_anywhere, *left_out):
        command += ["--deselect", test]
    with (source / "output.txt").open("w") as output:
        try:
            subprocess.run(
                command,
                cwd=source,
                env=environment,
                stdout=output,
                stderr=output,
                timeout=suite.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(0, 1, 0, (f"{suite.package} did not end within {suite.timeout_s} s",))
    if not report.exists():
        return Outcome(0, 1, 0, ("no report: " + (source / "output.txt").read_text()[-2000:],))
    return read(report)


def read(report: Path) -> Outcome:
    """Count a JUnit report. Of a test that was run again the last run counts."""
    last = {
        f"{case.get('classname')}.{case.get('name')}": case
        for case in ElementTree.parse(report).getroot().iter("testcase")
    }
    passed, skipped, failures = 0, 0, []
    for name, case in last.items():
        wrong = [*case.iter("failure"), *case.iter("error")]
        if wrong:
            message = (wrong[0].get("message") or "").strip()
            failures.append(f"{name}: {message.splitlines()[0] if message else wrong[0].tag}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Outcome(passed, len(failures), skipped, tuple(failures))


def product(address: Address) -> str:
    """What the broker calls itself."""
    with RawConnection(address) as raw:
        return str(raw.handshake().server_properties["product"])


def run_suite(name: str, folder: Path, checkout: Path | None = None) -> Outcome:
    """Fetch and run one suite against COMPAT_URL's broker or a Leveret of its own."""
    suite = SUITES[name]
    source = prepare(suite, folder, checkout)
    with running_broker() as address:
        left_out = suite.left_out if product(address) == "Leveret" else {}
        if suite.usual_port:
            with (
                on_the_usual_port(address, anywhere="{host}" in str(suite.environment)) as usual,
                cleaning_api(address) as http,
            ):
                outcome = run(suite, source, usual, left_out, http)
        else:
            outcome = run(suite, source, address, left_out)
    missing = suite.passes - len(left_out) - outcome.passed
    if missing > 0 and not outcome.failed:
        problem = f"{name}: {outcome.passed} passed, where RabbitMQ passes {suite.passes}"
        return outcome._replace(failed=1, failures=(*outcome.failures, problem))
    return outcome


def print_table(outcomes: Mapping[str, Outcome]) -> None:
    print(f"\n{'suite':<20} {'passed':>7} {'failed':>7} {'skipped':>8} {'RabbitMQ':>9}  left out")
    for name, outcome in outcomes.items():
        suite = SUITES[name]
        counts = f"{outcome.passed:>7} {outcome.failed:>7} {outcome.skipped:>8} {suite.passes:>9}"
        print(f"{name + ' ' + suite.version:<20} {counts}  {len(suite.left_out) + len(suite.fails_anywhere)}")
        for test, reason in (suite.left_out | suite.fails_anywhere).items():
            print(f"    left out: {test}: {reason}")
    for outcome in outcomes.values():
        for failure in outcome.failures:
            print(f"FAILED {failure}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the functional suites of third-party clients.")
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: those of CI)"
    )
    parser.add_argument("--folder", type=Path, help="where to fetch and run, kept for the next run")
    parser.add_argument(
        "--checkout", type=Path, help="a checkout of the suite's repository, if that has its tests"
    )
    options = parser.parse_args()
    names: list[str] = options.suites or [name for name, suite in SUITES.items() if suite.always]
    unknown = set(names) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="leveret-suites-") as temporary:
        folder: Path = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            print(f"{name} {SUITES[name].version} ...", flush=True)
            outcomes[name] = run_suite(name, folder, options.checkout)
    print_table(outcomes)
    passed, failed, skipped = (sum(counts) for counts in list(zip(*outcomes.values(), strict=True))[:3])
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
