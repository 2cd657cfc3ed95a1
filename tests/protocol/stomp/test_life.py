"""A STOMP connection from CONNECT to its end: login, versions, heart-beats, DISCONNECT, and what the server asks of it."""

from __future__ import annotations

import pytest

from leveret.core.access import User
from leveret.errors import ConnectionForced

from .talker import Talker, frame

LOGIN = {"login": "guest", "passcode": "guest"}


def connecting(talker: Talker, headers: dict[str, str], command: str = "CONNECT") -> None:
    talker.says(frame(command, headers))


# ---- CONNECT


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize(
    ("accepted", "version"),
    [
        (None, "1.0"),
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.0", "1.2"),
        ("1.1, 1.0", "1.1"),
        ("1.1,2.0,nonsense", "1.1"),
    ],
)
def test_the_highest_version_that_both_speak(accepted: str | None, version: str, command: str) -> None:
    talker = Talker(version=version)
    assert talker.conversation.is_opening()
    connecting(talker, LOGIN | ({} if accepted is None else {"accept-version": accepted}), command)
    connected = talker.one()
    assert (connected.command, connected["version"], connected["heart-beat"]) == ("CONNECTED", version, "0,0")
    assert connected["session"].startswith("session-") and connected["server"] == "Leveret/0"
    assert talker.conversation.protocol_name() == f"STOMP {version}"
    assert talker.conversation.state_name() == "running" and not talker.conversation.is_opening()


@pytest.mark.parametrize(
    ("headers", "summary", "text"),
    [
        (LOGIN | {"accept-version": "2.0"}, "Version mismatch", "Supported versions are 1.0,1.1,1.2"),
        (LOGIN | {"passcode": "wrong"}, "Bad CONNECT", "Access refused for user 'guest'"),
        ({"passcode": "wrong"}, "Bad CONNECT", "Access refused for user 'guest'"),
        ({"login": "nobody"}, "Bad CONNECT", "Access refused for user 'nobody'"),
        ({"login": "nobody", "passcode": "guest"}, "Bad CONNECT", "Access refused for user 'nobody'"),
        (LOGIN | {"host": "none"}, "Bad CONNECT", "Virtual host 'none' access denied"),
        (LOGIN | {"heart-beat": "1"}, "Invalid header", "'heart-beat'"),
        (LOGIN | {"heart-beat": "1,x"}, "Invalid header", "'heart-beat'"),
        (LOGIN | {"heart-beat": "-1,1"}, "Invalid header", "'heart-beat'"),
    ],
)
def test_a_connect_that_is_refused(headers: dict[str, str], summary: str, text: str) -> None:
    talker = Talker()
    connecting(talker, headers | {"receipt": "r"})
    error = talker.fails()
    assert (error["message"], error["version"], error["receipt-id"]) == (summary, "1.0,1.1,1.2", "r")
    assert text in error.body.decode() and b"passcode" not in error.body
    assert talker.conversation.close_reason
    talker.says(frame("CONNECT", LOGIN))
    assert talker.heard() == []


def test_a_guest_comes_from_the_same_machine_only() -> None:
    talker = Talker()
    talker.conversation.loopback = False
    connecting(talker, LOGIN)
    assert "non-loopback access denied" in talker.fails().body.decode()


@pytest.mark.parametrize("told", [{}, {"login": "guest"}, {"passcode": "guest"}])
def test_who_names_no_login_is_the_default_one_as_in_rabbitmq(told: dict[str, str]) -> None:
    talker = Talker()
    connecting(talker, {"accept-version": "1.2"} | told)
    assert talker.one().command == "CONNECTED"
    assert talker.conversation.user.name == "guest"
    talker = Talker(talker.rig)
    talker.settings.default_passcode = b""
    connecting(talker, {"accept-version": "1.2"})
    assert talker.fails()["message"] == "Bad CONNECT"


def test_a_virtual_host_of_its_own() -> None:
    talker = Talker()
    talker.rig.broker.add_vhost("other")
    talker.opened(host="other")
    talker.subscribe("/queue/q")
    assert set(talker.rig.broker.vhosts["other"].topology.queues) == {"q"}
    assert not talker.rig.vhost.topology.queues


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE", "DISCONNECT", "FOO", ""])
def test_nothing_comes_before_connect(command: str) -> None:
    talker = Talker()
    talker.says(b"" if not command else frame(command, {"destination": "/queue/q"}))
    if not command:
        assert talker.heard() == []
        return
    assert talker.fails()["message"] == "Illegal command"


def test_one_connect_is_enough() -> None:
    talker = Talker().opened()
    connecting(talker, LOGIN)
    error = talker.fails()
    assert error["message"] == "Bad command" and b"guest" not in error.body


def test_escapes_mean_nothing_in_connect() -> None:
    talker = Talker()
    talker.rig.broker.access.add(User("us\\er", "pass:wo\\rd", None, ()))
    talker.says(b"CONNECT\naccept-version:1.2\nlogin:us\\er\npasscode:pass:wo\\rd\n\n\0")
    assert talker.one().command == "CONNECTED"


# ---- heart-beats


@pytest.mark.parametrize(
    ("told", "answer"),
    [("0,0", "0,0"), ("5000,10000", "10000,5000"), ("10,10", "1000,1000"), ("0,4000", "4000,0")],
)
def test_heart_beats_are_agreed(told: str, answer: str) -> None:
    talker = Talker()
    connecting(talker, LOGIN | {"accept-version": "1.2", "heart-beat": told})
    assert talker.one()["heart-beat"] == answer


def tick(talker: Talker, now_ms: int) -> None:
    talker.conversation.tick(now_ms)
    talker.turn()


def test_a_line_end_breaks_our_silence_in_time() -> None:
    talker = Talker().opened(beat="0,4000")
    for now_ms in range(1_000, 13_001, 500):
        tick(talker, now_ms)
    assert [each.command for each in talker.heard()] == ["beat"] * 6
    talker.subscribe("/queue/q", receipt="r")
    talker.sync()
    assert talker.one().command == "RECEIPT"
    tick(talker, 15_000)
    assert talker.heard() == []  # the receipt was one


def test_a_silent_client_is_dead_after_two_intervals() -> None:
    talker = Talker().opened(beat="4000,0")
    talker.subscribe("/queue/q", ack="client")
    talker.send("/queue/q", b"x")
    assert len(talker.receives()) == 1
    for now_ms in range(1_000, 9_001, 500):
        tick(talker, now_ms)
    talker.says(b"\n")
    for now_ms in range(9_500, 17_501, 500):
        tick(talker, now_ms)
        assert not talker.conversation.is_over(), now_ms
    tick(talker, 18_000)
    assert talker.conversation.is_over()
    assert "missed heart-beats" in talker.conversation.close_reason
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q")
    assert other.bodies() == [b"x"]


def test_a_client_that_is_not_read_from_is_not_silent() -> None:
    talker = Talker().opened(beat="1000,0")
    talker.link.paused = True
    for now_ms in range(1_000, 60_000, 500):
        tick(talker, now_ms)
    assert not talker.conversation.is_over()


def test_without_heart_beats_there_are_none() -> None:
    talker = Talker().opened()
    for now_ms in range(1_000, 1_000_000, 10_000):
        tick(talker, now_ms)
    assert talker.heard() == [] and not talker.conversation.is_over()


# ---- the end


def test_disconnect_gives_back_what_is_unsettled_and_says_so_last() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", ack="client")
    talker.send("/queue/q", b"x", persistent="true")
    assert len(talker.receives()) == 1
    talker.does("DISCONNECT", {"receipt": "bye"})
    assert talker.one()["receipt-id"] == "bye"
    assert talker.conversation.is_over() and talker.conversation.close_reason == ""
    talker.send("/queue/q", b"after")
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q")
    assert other.bodies() == [b"x"]


def test_disconnect_without_a_receipt() -> None:
    talker = Talker().opened()
    talker.does("DISCONNECT")
    assert talker.heard() == [] and talker.conversation.is_over()


def test_disconnect_waits_for_what_is_not_on_disk() -> None:
    talker = Talker().opened()
    talker.send("/queue/q", b"x", persistent="true")
    talker.does("DISCONNECT", {"receipt": "bye"})
    assert talker.heard() == []
    assert talker.conversation.is_closing() and not talker.conversation.is_over()
    talker.sync()
    assert talker.one()["receipt-id"] == "bye"
    assert talker.conversation.is_over()


def test_a_lost_connection_says_nothing_more() -> None:
    talker = Talker().opened()
    talker.send("/queue/q", b"x", persistent="true", receipt="r")
    talker.lost()
    assert talker.heard() == [] and talker.conversation.is_over()


def test_shutdown_is_told() -> None:
    talker = Talker().opened()
    talker.conversation.close(ConnectionForced("shutdown"))
    talker.turn()
    error = talker.fails()
    assert (error["message"], error.body) == ("connection_forced", b"shutdown\n")
    talker = Talker(talker.rig)
    talker.conversation.close(ConnectionForced("shutdown"))
    talker.turn()
    assert talker.conversation.is_over() and talker.heard() == []


def test_only_who_publishes_can_be_kept_waiting() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", ack="client")
    assert not talker.conversation.publishes and talker.conversation.consumes()
    talker.conversation.block("low on memory")
    assert talker.heard() == []  # there is no way to tell it
    talker.send("/queue/q", b"x")
    assert talker.conversation.publishes


def test_rows_for_people() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", "s", ack="client", prefetch_count="7")
    (session,) = talker.peer.sessions()
    row = talker.conversation.session_row(session)
    assert (row["number"], row["prefetch"], row["transactional"]) == (1, 7, False)
    assert [c.tag for c in session.consumers.values()] == ["s"]


def test_a_delivery_that_takes_too_long_may_end_the_connection() -> None:
    for closes in (False, True):
        talker = Talker(overdue_closes=closes).opened()
        talker.rig.broker.overdue.default_ms = 60_000
        talker.rig.at(1_000_000)
        talker.subscribe("/queue/q", ack="client")
        talker.send("/queue/q", b"x")
        assert len(talker.receives()) == 1
        talker.rig.pass_time(1_000_000 + 100_000)
        talker.turn()
        heard = [each.command for each in talker.heard()]
        assert heard == (["ERROR"] if closes else ["MESSAGE"])
        assert talker.conversation.is_over() is closes
