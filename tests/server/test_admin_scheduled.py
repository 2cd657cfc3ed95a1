"""`scheduled` and `cancel_scheduled` over the admin commands, and the command line's words for them."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from leveret.cli import main, options
from tests.server.test_admin_commands import Desk

START_MS = 1_790_000_000_000


def desk() -> Desk:
    made = Desk()
    made.broker.turn.now_ms = START_MS
    return made


def test_what_is_scheduled_is_listed_and_cancelled() -> None:
    d = desk()
    d.vhost.declare_exchange(
        "late", "x-delayed-message", True, False, False, {"x-delayed-type": "fanout"}, False
    )
    d.vhost.bind_queue("q", "late", "", {}, None)
    d.publish(b"hello", properties={"message_id": "m-1", "headers": {"x-deliver-after": "10s"}})
    d.publish(b"sooner", exchange="late", properties={"headers": {"x-delay": 5_000}})
    first, second = d.ask("scheduled", limit=10)
    assert (first["held_by"], first["name"], first["due_ms"]) == ("exchange", "late", START_MS + 5_000)
    assert second["due"] == "2026-09-21T14:13:30.000+00:00"
    wanted = {
        "held_by": "queue",
        "name": "q",
        "message_id": "m-1",
        "bytes": 5,
        "in_memory": True,
        "at_the_earliest": False,
    }
    assert {name: second[name] for name in wanted} == wanted
    assert d.ask("scheduled", limit=10, queue="q") == [second]
    assert d.ask("scheduled", limit=1) == [first]
    assert d.ask("cancel_scheduled", id=second["id"]) == {}
    assert d.ask("scheduled", limit=10) == [first]
    assert "no scheduled message" in d.ask("cancel_scheduled", id=second["id"])
    assert "no queue 'nowhere'" in d.ask("scheduled", limit=10, queue="nowhere")
    assert "limit is not" in d.ask("scheduled", limit=0)


class Told:
    """Stands in for the client that asks the broker."""

    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, where: object) -> None:
        pass

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, command: str, **args: Any) -> Any:
        self.asked.append((command, args))
        row = {
            "id": "3.256.0",
            "due": "2026-09-21T14:13:30.000+00:00",
            "held_by": "queue",
            "name": "q",
            "bytes": 5,
        }
        return [row] if command == "scheduled" else {}


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(options, "Client", Told)
    monkeypatch.setattr(options, "find", lambda *_: None)
    assert main.main(["scheduled", "--queue", "q", "--limit", "5"]) == 0
    assert "3.256.0" in capsys.readouterr().out
    assert main.main(["scheduled", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "3.256.0"
    assert main.main(["scheduled", "cancel", "3.256.0"]) == 0
    assert capsys.readouterr().out == "message cancelled\n"
    assert Told.asked == [
        ("scheduled", {"vhost": "/", "queue": "q", "limit": 5}),
        ("scheduled", {"vhost": "/", "queue": "", "limit": 100}),
        ("cancel_scheduled", {"id": "3.256.0"}),
    ]
