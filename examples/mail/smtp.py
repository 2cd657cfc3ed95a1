"""The mail server: takes mails by SMTP as a real one does, slowly, and keeps each as a file in a folder.

It refuses mail for `nobody@...`, as there is no such mailbox. Stop it, and connecting to it fails.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import json
import signal
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

SLOW_EVERY = 20  # each such mail takes long: its spam filter asks the network, say
SLOW_TIMES = 5


class Mailboxes:
    def __init__(self, folder: Path, takes_s: float) -> None:
        self.folder = folder
        self.takes_s = takes_s
        self.count = 0

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.count += 1
        await asyncio.sleep(self.takes_s * (SLOW_TIMES if self.count % SLOW_EVERY == 0 else 1))
        message = email.message_from_bytes(envelope.content)
        id = str(message["Message-ID"]).strip("<>").partition("@")[0]
        # Named by its id: a mail that comes twice, since its sender could not know, is in the mailbox once.
        (self.folder / f"{id}.eml").write_bytes(envelope.content)
        print(json.dumps({"event": "received", "id": id, "to": envelope.rcpt_tos}), flush=True)
        return "250 OK"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where mails go")
    parser.add_argument("--takes-ms", type=float, default=150)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    mailboxes = Mailboxes(options.folder, options.takes_ms / 1000)
    server = await loop.create_server(
        lambda: SMTP(mailboxes, hostname="mail.example", enable_SMTPUTF8=True), "127.0.0.1", options.port
    )
    print(json.dumps({"event": "ready", "port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
