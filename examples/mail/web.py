"""The web form. `/now` sends the mail itself and lets the caller wait; `/later` puts it into the queue.

What becomes of a mail in the queue comes back by a callback (`on_reply`), and from here to every open page (`/events`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import smtplib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import leveret
from examples.mail.results import Results
from examples.mail.sending import QUEUE, RESULTS, Mail, Refused, send

PAGE = Path(__file__).with_name("page.html")
LEAVE_WITHIN_S = 1  # pages listen for ever: at the end they are cut off


class Form:
    def __init__(self) -> None:
        self.results = Results()
        self.broker = leveret.connect(name="web form")  # the broker is the one that $LEVERET_URL names

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with self.broker:
            # The queue for results is durable: what is finished while we restart is told afterwards.
            await self.broker.on_reply(RESULTS, self.told)
            yield

    def told(self, reply: leveret.Message) -> None:
        """The callback: a worker has sent a mail, or given up."""
        self.results.finished(reply.correlation_id or "", str(reply.headers.get("x-error", "")))

    # ---- pages

    async def page(self, _request: Request) -> Response:
        return FileResponse(PAGE)

    async def now(self, request: Request) -> Response:
        mail = await read(request)
        if mail is None:
            return wrong()
        try:
            await run_in_threadpool(send, mail)
        except (Refused, OSError, smtplib.SMTPException) as error:
            return JSONResponse({"id": mail.id, "state": "failed", "error": str(error)}, 502)
        return JSONResponse({"id": mail.id, "state": "sent"})

    async def later(self, request: Request) -> Response:
        mail = await read(request)
        if mail is None:
            return wrong()
        self.results.accepted(mail.id)
        # It returns when the broker has the mail on disk: from then on nobody can lose it.
        await self.broker.request(
            QUEUE, mail, reply_queue=RESULTS, on_reply=self.told, correlation_id=mail.id
        )
        return JSONResponse({"id": mail.id, "state": "waiting"}, 202)

    async def events(self, _request: Request) -> Response:
        return StreamingResponse(self.results.events(), media_type="text/event-stream")

    def app(self) -> Starlette:
        routes = [
            Route("/", self.page),
            Route("/now", self.now, methods=["POST"]),
            Route("/later", self.later, methods=["POST"]),
            Route("/events", self.events),
        ]
        return Starlette(routes=routes, lifespan=self.lifespan)


async def read(request: Request) -> Mail | None:
    """The mail of a form; None if it is none."""
    try:
        form = await request.json()
        to, subject, text = (str(form[name]) for name in ("to", "subject", "text"))
    except (ValueError, KeyError, TypeError):
        return None
    if "@" not in to or "\n" in to + subject:
        return None
    return Mail(uuid.uuid4().hex, to, subject, text)


def wrong() -> Response:
    return JSONResponse(
        {"state": "failed", "error": "a mail has `to` (an address), `subject` and `text`"}, 400
    )


class Server(uvicorn.Server):
    """One that ends with exit code 0 when it is asked to end: SIGTERM is no accident."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are ours

    def leave(self) -> None:
        self.should_exit = True


async def main() -> None:
    config = uvicorn.Config(
        Form().app(), "127.0.0.1", 0, log_level="warning", timeout_graceful_shutdown=LEAVE_WITHIN_S
    )
    server = Server(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.leave)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        port = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"event": "ready", "port": port}), flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
