"""The example of mail: the mail server and the sending are real, the judgement can fail; and a small run."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiosmtpd", reason="examples/mail/requirements.txt is not installed")
pytest.importorskip("starlette", reason="examples/mail/requirements.txt is not installed")
pytest.importorskip("uvicorn", reason="examples/mail/requirements.txt is not installed")
pytest.importorskip("httpx", reason="examples/mail/requirements.txt is not installed")

from examples.common.children import Child, python
from examples.mail.drive import Asked
from examples.mail.results import Results
from examples.mail.run import judge
from examples.mail.sending import Mail, Refused, send
from tests.examples.running import assert_held, run_example


def with_mail_server(folder: Path, story: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Run `story()` in a thread while a mail server runs, and return what that said."""
    heard: list[dict[str, Any]] = []

    async def run() -> None:
        ready = asyncio.Event()

        def hear(_: str, event: dict[str, Any]) -> None:
            heard.append(event)
            ready.set()

        command = python("examples.mail.smtp", "--folder", str(folder), "--takes-ms", "0")
        server = await Child.start("mail server", command, hear)
        try:
            await asyncio.wait_for(ready.wait(), 30)
            monkeypatch.setenv("SMTP", f"127.0.0.1:{heard[0]['port']}")
            await asyncio.to_thread(story)
        finally:
            assert await server.stop() == 0, server.words

    asyncio.run(run())
    return heard


def test_a_mail_that_is_sent_twice_is_in_the_mailbox_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = Mail("an-id", "friend@example.org", "Grüße", "Wie geht's?\n")

    def story() -> None:
        assert send(mail).id == "an-id"
        assert send(mail).id == "an-id"

    heard = with_mail_server(tmp_path, story, monkeypatch)
    assert [event["event"] for event in heard] == ["ready", "received", "received"]
    assert heard[1] == {"event": "received", "id": "an-id", "to": ["friend@example.org"]}
    (file,) = tmp_path.iterdir()
    assert file.name == "an-id.eml"
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert message["Subject"] == "Grüße"
    assert message["To"] == "friend@example.org"
    assert message.get_content().replace("\r\n", "\n") == "Wie geht's?\n"


def test_a_mailbox_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def story() -> None:
        with pytest.raises(Refused, match="no such mailbox"):
            send(Mail("an-id", "nobody@example.org", "Hello", ""))

    with_mail_server(tmp_path, story, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_mail_server_that_is_down_is_an_error_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP", "127.0.0.1:1")  # tcpmux: privileged, and free everywhere
    with pytest.raises(OSError):
        send(Mail("an-id", "friend@example.org", "Hello", ""))


def test_every_open_page_is_told_and_closed_ones_are_not_kept() -> None:
    async def story() -> list[dict[str, Any]]:
        results = Results()
        pages = [results.events(), results.events()]
        for page in pages:
            assert await anext(page) == ": hello\n\n"
        results.accepted("a")
        results.finished("a")
        results.finished("b", "no such mailbox")
        told = [[await anext(page) for _ in range(3)] for page in pages]
        assert told[0] == told[1]
        for page in pages:
            await page.aclose()  # type: ignore[attr-defined]
        assert not results._pages
        return [json.loads(line.removeprefix("data: ")) for line in told[0]]

    waiting, sent, failed = asyncio.run(story())
    assert waiting == {"id": "a", "state": "waiting"}
    assert (sent["id"], sent["state"], sent["error"]) == ("a", "sent", "")
    assert sent["after_ms"] >= 0
    assert failed == {"id": "b", "state": "failed", "error": "no such mailbox", "after_ms": None}


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"to": "a@b", "subject": "s", "text": "t"}, True),
        ({"to": "a@b", "subject": "s"}, False),
        ({"to": "nowhere", "subject": "s", "text": "t"}, False),
        ({"to": "a@b\nBcc: x@y", "subject": "s", "text": "t"}, False),
        ({"to": "a@b", "subject": "s\nBcc: x@y", "text": "t"}, False),
        ([], False),
        (None, False),
    ],
)
def test_what_is_no_mail_is_not_taken(body: object, good: bool) -> None:
    from examples.mail.web import read

    class Request:
        async def json(self) -> object:
            if body is None:
                raise ValueError("no JSON")
            return body

    mail = asyncio.run(read(Request()))  # type: ignore[arg-type]
    assert (mail is not None) is good
    if mail is not None:
        assert (mail.to, mail.subject, mail.text) == ("a@b", "s", "t")


def good() -> dict[str, Any]:
    lots = [
        Asked("", [200.0], ["a"]),
        Asked("", [5.0], ["b"]),
        Asked("", [1.0], [], failed=1),
        Asked("", [5.0], ["d"]),
        Asked("", [5.0], ["e"]),
    ]
    told = {id: {"state": "sent", "error": ""} for id in "bd"} | {
        "e": {"state": "failed", "error": "no such mailbox"}
    }
    return {"lots": lots, "mails": set("abd"), "told": told, "told_early": 0, "codes": {"web": 0}}


def failed(story: dict[str, Any]) -> list[str]:
    return [e.text for e in judge(**story) if not e.met]


def test_a_good_story_meets_all_expectations() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize(
    ("damage", "expectation"),
    [
        (lambda story: setattr(story["lots"][1], "failed", 1), "nobody was turned away"),
        (lambda story: story["lots"][1].waits_ms.__setitem__(0, 300.0), "with the queue callers wait less"),
        (lambda story: setattr(story["lots"][2], "failed", 0), "with the mail server down, who waits"),
        (lambda story: setattr(story["lots"][3], "failed", 1), "and who uses the queue does not"),
        (lambda story: story.update(told_early=1), "nothing was sent before"),
        (lambda story: story["mails"].discard("d"), "nothing is lost"),
        (lambda story: story["told"]["d"].update(state="failed"), "the page was told that each was sent"),
        (lambda story: story["told"]["e"].update(error=""), "and of the one that the mail server refuses"),
        (lambda story: story["codes"].update(web=1), "everybody left in good order"),
    ],
)
def test_what_does_not_hold_is_named(damage: Any, expectation: str) -> None:
    story = good()
    damage(story)
    assert [text[: len(expectation)] for text in failed(story)] == [expectation]


def test_a_small_run_shows_all_of_it(tmp_path: Path) -> None:
    options = [
        "--mails",
        "12",
        "--mails-down",
        "3",
        "--at-once",
        "4",
        "--think-ms",
        "10",
        "--takes-ms",
        "60",
        "--down-s",
        "0.5",
    ]
    ended = run_example("mail", tmp_path, "--headless", *options)
    assert_held(ended)
    assert "waiting for it" in ended.output
    assert "through the queue" in ended.output
