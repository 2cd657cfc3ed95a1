"""Mail: a web form that waits for the mail server, and one that does not since it has a queue.

    python examples/mail/run.py               opens a page's address for you to try it, until Ctrl-C
    python examples/mail/run.py --headless    tries it itself, and prints what callers waited

It starts a broker, a mail server (which takes its time, as they do), a web server with the form, and a worker. The
mail server is then killed for a while: callers that wait for it get an error; mails in the queue are sent when it is
back, and the page is told of each.

web.py is the form, worker.py sends what is in the queue, sending.py is what both use; begin with these.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the source tree, which `examples` is a package of

import leveret
from examples.common.children import Child
from examples.common.queues import until_consumed
from examples.common.report import Expectation, table
from examples.common.stage import Stage, parser, play
from examples.mail.drive import Asked, Caller
from examples.mail.sending import QUEUE

READY_S = 30.0


class MailServer:
    """The process, which may be killed and started again: on the same port, with the same mailboxes."""

    def __init__(self, stage: Stage, takes_ms: float) -> None:
        self.stage = stage
        self.takes_ms = takes_ms
        self.folder = stage.folder / "mailboxes"
        self.port = 0
        self.received = 0
        self.running: Child | None = None
        self._ready: asyncio.Future[int] | None = None

    async def start(self) -> None:
        self._ready = asyncio.get_running_loop().create_future()
        options = ["--port", str(self.port), "--folder", str(self.folder), "--takes-ms", str(self.takes_ms)]
        self.running = await self.stage.start("mail server", "examples.mail.smtp", *options, hear=self._hear)
        self.port = await asyncio.wait_for(self._ready, READY_S)

    async def kill(self) -> None:
        child, self.running = self.stage.children.pop("mail server"), None
        await child.kill()

    def _hear(self, _: str, event: dict[str, Any]) -> None:
        if event["event"] == "ready" and self._ready is not None:
            self._ready.set_result(event["port"])
        elif event["event"] == "received":
            self.received += 1

    def mails(self) -> set[str]:
        """Ids of all that are in the mailboxes."""
        return {path.stem for path in self.folder.glob("*.eml")}


async def start_all(stage: Stage, takes_ms: float) -> tuple[MailServer, str]:
    """The mail server, the web server and the worker. Returns the first, and the address of the page."""
    server = MailServer(stage, takes_ms)
    await server.start()
    stage.progress.say(f"mail server: port {server.port}, takes {takes_ms:g} ms for a mail")
    variables = {"LEVERET_URL": stage.broker.url, "SMTP": f"127.0.0.1:{server.port}"}
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(_: str, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            port.set_result(event["port"])

    await stage.start("worker", "leveret", "worker", "examples.mail.worker:app", variables=variables)
    async with leveret.connect(stage.broker.url) as broker:
        await until_consumed(broker, QUEUE, 1, stage.children.values())
    await stage.start("web", "examples.mail.web", hear=hear, variables=variables)
    return server, f"http://127.0.0.1:{await asyncio.wait_for(port, READY_S)}"


# ---- by itself


async def headless(options: argparse.Namespace, folder: Path) -> bool:
    async with Stage(folder) as stage:
        server, url = await start_all(stage, options.takes_ms)
        stage.progress.say(f"web form: {url}, asked by {options.at_once} callers at once")
        async with Caller(url) as caller:
            callers = (options.at_once, options.think_ms / 1000)
            waiting, queued = Asked("waiting for it"), Asked("through the queue")
            await caller.send_many("/now", waiting, options.mails, *callers)
            stage.progress.say(f"{options.mails} mails sent while the caller waits")
            await caller.send_many("/later", queued, options.mails, *callers)
            stage.progress.say(f"{options.mails} mails put into the queue")
            await caller.all_told(queued)
            stage.progress.say("all of them sent, and the page was told of each")

            await server.kill()
            stage.progress.say("killed the mail server")
            waiting_down, queued_down = Asked("waiting, server down"), Asked("queue, server down")
            await caller.send_many("/now", waiting_down, options.mails_down, *callers)
            await caller.send_many("/later", queued_down, options.mails_down, *callers)
            stage.progress.say(
                f"{options.mails_down} mails sent, each way; {waiting_down.failed} callers got an error"
            )
            await asyncio.sleep(options.down_s)
            told_early = len(set(queued_down.accepted) & set(caller.told))
            await server.start()
            stage.progress.say(f"the mail server is back, after {options.down_s:g} s")
            await caller.all_told(queued_down)
            stage.progress.say("what was in the queue has been sent, and the page was told of each")

            refused = Asked("queue, no such mailbox")
            await caller.send("/later", refused, 0, to="nobody@example.org")
            await caller.all_told(refused)
        codes = await stage.stop_children()
        lots = [waiting, queued, waiting_down, queued_down, refused]
        print("\n" + summary(lots, server.mails()))
        print(
            f"\nThe mail server saw {server.received} mails; {server.received - len(server.mails())} came twice."
        )
        return stage.conclude(judge(lots, server.mails(), caller.told, told_early, codes))


def summary(lots: list[Asked], mails: set[str]) -> str:
    header = ("", "asked", "errors", "caller p50 ms", "p99 ms", "in a mailbox")
    rows = [
        [
            asked.name, str(len(asked.waits_ms)), str(asked.failed),
            f"{asked.p(50):.1f}", f"{asked.p(99):.1f}", str(len(mails & set(asked.accepted))),
        ]
        for asked in lots
    ]  # fmt: skip
    return table(header, rows)


def judge(
    lots: list[Asked],
    mails: set[str],
    told: dict[str, dict[str, Any]],
    told_early: int,
    codes: dict[str, int],
) -> list[Expectation]:
    waiting, queued, waiting_down, queued_down, refused = lots
    promised = {id for asked in lots[:4] for id in asked.accepted}
    lost = promised - mails
    untold = [id for asked in (queued, queued_down) for id in asked.accepted if told[id]["state"] != "sent"]
    bad = {name: code for name, code in codes.items() if code != 0}
    return [
        Expectation(
            "nobody was turned away while the mail server was up",
            waiting.failed == queued.failed == 0,
            f"{waiting.failed} and {queued.failed} were",
        ),
        Expectation(
            "with the queue callers wait less than for the mail server (p50)",
            queued.p(50) < waiting.p(50),
            f"{queued.p(50):.1f} ms against {waiting.p(50):.1f} ms",
        ),
        Expectation(
            "with the mail server down, who waits for it gets an error",
            waiting_down.failed == len(waiting_down.waits_ms),
            f"{waiting_down.failed} of {len(waiting_down.waits_ms)}",
        ),
        Expectation("and who uses the queue does not", queued_down.failed == 0, f"{queued_down.failed} did"),
        Expectation("nothing was sent before it was back", told_early == 0, f"{told_early} were told"),
        Expectation("nothing is lost: every accepted mail is in a mailbox", not lost, f"{len(lost)} are not"),
        Expectation("the page was told that each was sent", not untold, f"{len(untold)} were not"),
        Expectation(
            "and of the one that the mail server refuses",
            all("mailbox" in told[id]["error"] for id in refused.accepted) and bool(refused.accepted),
            str([told[id] for id in refused.accepted]),
        ),
        Expectation(
            "everybody left in good order when asked to (exit code 0)", bool(codes) and not bad, str(bad)
        ),
    ]


# ---- for people


async def with_page(options: argparse.Namespace, folder: Path) -> bool:
    async with Stage(folder) as stage:
        server, url = await start_all(stage, options.takes_ms)
        print(f"\nOpen {url} and send some mails. Ctrl-C ends it.", flush=True)
        if sys.stdin.isatty():
            print("Press Enter to kill the mail server, and again to start it.", flush=True)
            pressed = asyncio.Event()

            def read_line() -> None:
                sys.stdin.readline()
                pressed.set()

            asyncio.get_running_loop().add_reader(sys.stdin, read_line)
            while True:
                await pressed.wait()
                pressed.clear()
                await (server.kill() if server.running else server.start())
                stage.progress.say("the mail server is " + ("back" if server.running else "down"))
        await asyncio.Event().wait()
        return True


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__, "mail")
    made.add_argument(
        "--headless", action="store_true", help="use the form by itself, and print what was seen"
    )
    made.add_argument("--mails", type=int, default=100, help="how many, each way (100)")
    made.add_argument(
        "--mails-down", type=int, default=20, help="how many while the mail server is down (20)"
    )
    made.add_argument("--at-once", type=int, default=10, help="how many callers ask side by side (10)")
    made.add_argument("--think-ms", type=float, default=100, help="between two mails of a caller (100)")
    made.add_argument(
        "--takes-ms", type=float, default=150, help="what the mail server takes for a mail (150)"
    )
    made.add_argument("--down-s", type=float, default=2, help="how long it is down (2)")
    made.add_argument("--keep", action="store_true", help="keep the mailboxes")
    options = made.parse_args(arguments)
    if min(options.mails, options.mails_down, options.at_once) < 1:
        made.error("--mails, --mails-down and --at-once: 1 or more")
    return options


def main() -> int:
    options = parse()
    story = headless if options.headless else with_page
    return play("mail", lambda folder: story(options, folder), options.keep)


if __name__ == "__main__":
    sys.exit(main())
