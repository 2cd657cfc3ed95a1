"""The command line as a whole: help, versions, exit codes, and words for what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from leveret import build, config
from leveret.cli import exits, main
from leveret.cli.client import find
from leveret.errors import ConfigError, Damaged, DirectoryLocked, LeveretError, NotFound, StoreError


def test_version_names_build_python_and_loop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == exits.OK
    assert capsys.readouterr().out == build.describe() + "\n"


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == exits.OK
    text = " ".join(capsys.readouterr().out.split())
    for name, (_, what) in main.COMMANDS.items():
        assert f"{name} {what}" in text
    for code, what in exits.MEANING.items():
        assert f"{code} {what}" in text


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help_and_every_option_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([name, "--help"]) == exits.OK
    assert f"leveret {name}" in capsys.readouterr().out
    context = click.Context(main.leveret)
    command = main.leveret.get_command(context, name)
    assert command is not None
    found = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for each in found:
        assert each.help
        for parameter in each.params:
            assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_every_code_has_a_meaning() -> None:
    codes = [value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)]
    assert sorted(codes) == sorted(exits.MEANING)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), exits.CONFIG), (DirectoryLocked("x"), exits.LOCKED), (Damaged("x"), exits.DAMAGED),
        (StoreError("x"), exits.STORE), (NotFound("x"), exits.NOT_FOUND), (LeveretError("x"), exits.FAILED),
        (PermissionError(13, "no"), exits.NOT_YOURS), (OSError(98, "in use"), exits.FAILED),
    ],
)  # fmt: skip
def test_errors_become_a_line_and_a_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.leveret, "main", fail)
    assert main.main([]) == code
    assert capsys.readouterr().err.startswith("leveret: ")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["quees"], exits.USAGE, "Did you mean 'queues'?"),
        (["serve", "--prot", "1"], exits.USAGE, "No such option"),
        (["serve", "--set", "x"], exits.USAGE, "it takes KEY=VALUE; keys: allow_remote_guest"),
        (
            ["serve", "--set", "amqp_prot=1"],
            exits.USAGE,
            "unknown key 'amqp_prot'; did you mean 'amqp_port'?",
        ),
        (["serve", "--memory", "--data", "/x"], exits.USAGE, "--memory keeps nothing on disk"),
        (["serve", "--amqp-port", "99999"], exits.CONFIG, "--amqp-port: '99999' is not allowed"),
        (["serve", "--stomp-port", "on"], exits.CONFIG, "--stomp-port: 'on' is not allowed"),
        (["serve", "--amqps-port", "0"], exits.CONFIG, "amqps_port: TLS needs a certificate"),
        (["serve", "--tls-key", "/k"], exits.CONFIG, "tls_key: it is of no use without tls_certificate"),
        (
            ["serve", "--tls-certificate", "/nowhere.pem"],
            exits.CONFIG,
            "tls_certificate: cannot read /nowhere.pem",
        ),
        (["serve", "--set", "heartbeat_s=x"], exits.CONFIG, "'x' is not allowed"),
        (["serve", "--host", "0.0.0.0"], exits.CONFIG, "guest/guest is the only way in"),
        (["serve", "--config", "/nowhere.toml"], exits.CONFIG, "cannot read the configuration file"),
        (["status", "--data", "/nowhere"], exits.NO_BROKER, "no broker is running here"),
        (["status", "--data", "/x", "--amqp-port", "1"], exits.USAGE, "give one of them"),
        (["publish", "k", "b", "--property", "x"], exits.NO_BROKER, "no broker"),
        (["store", "check", "/nowhere"], exits.USAGE, "does not exist"),
    ],
)
def test_what_goes_wrong_is_said_on_stderr(
    args: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/nowhere")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(args) == code
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.out == ""


def test_config_shows_values_sources_and_no_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVERET_USERS", '{"app": "hunter2"}')
    assert main.main(["config", "--amqp-port", "7", "--set", "heartbeat_s=9"]) == exits.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["amqp_port", "7", "--amqp-port"] in lines
    assert ["heartbeat_s", "9", "option"] in lines
    assert main.main(["config", "--json"]) == exits.OK
    text = capsys.readouterr().out
    assert json.loads(text)["users"] == {"app": {"tags": []}}
    assert "hunter2" not in text


def test_the_reference_has_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["config", "--reference"]) == exits.OK
    text = capsys.readouterr().out
    assert [row.name for row in config.table() if f"| `{row.name}` |" not in text] == []


def test_python_m_leveret_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leveret", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == build.describe() + "\n"


def test_serving_imports_neither_the_other_commands_nor_heavy_libraries() -> None:
    script = (
        "import sys; from leveret.cli import main; main.main(['serve', '--help'])\n"
        "print(sorted({'rich', 'typer', 'pydantic', 'asyncio', 'leveret.cli.look'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m leveret config --reference | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broker_is_found_where_serve_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_DATA_DIR", str(tmp_path / "mine"))
    assert find(None, None, None).is_relative_to(tmp_path / "mine")
    assert find(tmp_path / "other", None, None).is_relative_to(tmp_path / "other")
    monkeypatch.delenv("LEVERET_DATA_DIR")
    assert not find(None, None, None).is_relative_to(tmp_path)
