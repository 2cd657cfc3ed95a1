"""A headless Chromium, driven by the DevTools protocol over one WebSocket: pages are opened and asked for values.

Without Chromium it says so. The browser has a profile of its own, and is ended by its own process id.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.sync.client import connect

from tests.compat.waiting import eventually

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
QUIET: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
START_S: Final = 30.0
ANSWER_S: Final = 20.0
ENDPOINT: Final = re.compile(r"DevTools listening on (ws://\S+)")


def find() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._log = Path(self._profile.name) / "log"
        command = [program, *QUIET, "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*command, "about:blank"], stdout=log, stderr=log)
        self._last = 0
        self._open = ExitStack()
        try:
            found = eventually(
                lambda: ENDPOINT.search(self._log.read_text(errors="replace")), "DevTools", START_S
            )
            self._socket = self._open.enter_context(connect(found[1], max_size=None))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.call("Browser.close")
        self._end()

    def _end(self) -> None:
        self._open.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        """What the browser answers. Raises AssertionError with its words."""
        self._last += 1
        said = {"id": self._last, "method": method, "params": parameters}
        self._socket.send(json.dumps(said | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(ANSWER_S))
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, url: str) -> Page:
        target = self.call("Target.createTarget", url=url)["targetId"]
        return Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as JSON has it."""
        found = self.browser.call(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def await_value(self, expression: str, wanted: object) -> None:
        seen: list[object] = []

        def holds() -> bool:
            seen[:] = [self.value(expression)]
            return seen[0] == wanted

        try:
            eventually(holds, f"{expression} is {wanted!r}", ANSWER_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[0]!r}") from None

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.browser.call("Input.insertText", self.session, text=text)

    def press_enter(self) -> None:
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for kind in ("keyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", self.session, type=kind, **key)
