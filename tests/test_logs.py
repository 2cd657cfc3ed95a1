"""Log lines for people and machines, and what is never in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from leveret import build, logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger(logs.ROOT)
    before, propagated = list(root.handlers), root.propagate
    yield stream
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.propagate = propagated
    root.setLevel(logging.NOTSET)


def test_json_lines(lines: io.StringIO) -> None:
    logs.set_up("json", "info", lines)
    logs.get("server").info(
        "connection accepted", extra=logs.fields(peer="127.0.0.1:1", user="app", event="x")
    )
    entry = json.loads(lines.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info", "part": "server", "event": "connection accepted",
        "peer": "127.0.0.1:1", "user": "app", "event_": "x",
    }  # fmt: skip


def test_text_is_one_line_without_colour_off_a_terminal(lines: io.StringIO) -> None:
    logs.set_up("text", "info", lines)
    logs.get("server").info("queue\n\x1b[2Jdeclared", extra=logs.fields(name="a b", other="x"))
    line = lines.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert line.endswith('name="a b" other=x\n')


def test_colour_on_a_terminal(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "isatty", lambda: True)
    logs.set_up("text", "info", lines)
    logs.get("server").error("broken")
    assert "\x1b[31mERROR" in lines.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ["password", "new_secret", "body", "sasl_response", "Token"])
def test_secrets_are_masked(lines: io.StringIO, form: str, name: str) -> None:
    logs.set_up(form, "info", lines)
    logs.get("server").info("x", extra=logs.fields(**{name: "hunter2", "body_bytes": 12}))
    assert "hunter2" not in lines.getvalue()
    assert "12" in lines.getvalue()


def test_the_level_is_kept_but_for_the_ready_line(lines: io.StringIO) -> None:
    logs.set_up("json", "error", lines)
    logs.get("server").info("not this")
    logs.ready({"amqp": "127.0.0.1:5672"})
    entry = json.loads(lines.getvalue())
    assert (entry["event"], entry["addresses"]) == ("ready", {"amqp": "127.0.0.1:5672"})


def test_ready_for_people(lines: io.StringIO) -> None:
    logs.set_up("text", "info", lines)
    logs.ready({"amqp": "127.0.0.1:5672", "admin": "/x/admin.sock"})
    assert " ready " in lines.getvalue()
    assert "amqp=127.0.0.1:5672 admin=/x/admin.sock" in lines.getvalue()


@pytest.mark.parametrize("compiled", [True, False])
def test_the_first_line_says_what_runs(
    lines: io.StringIO, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "COMPILED", compiled)
    logs.set_up("json", "info", lines)
    logs.banner(data="/x")
    first, *more = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert first["event"] == build.describe()
    assert first["data"] == "/x"
    assert [entry["event"] for entry in more] == ([] if compiled else [build.PURE_COST])


def test_a_traceback_stays_in_its_json_line(lines: io.StringIO) -> None:
    logs.set_up("json", "info", lines)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logs.get("server").exception("a bug")
    assert "RuntimeError: boom" in json.loads(lines.getvalue())["traceback"]


def test_setting_up_twice_writes_once(lines: io.StringIO) -> None:
    logs.set_up("json", "info", lines)
    logs.set_up("json", "info", lines)
    logs.get("server").info("x")
    assert lines.getvalue().count("\n") == 1
