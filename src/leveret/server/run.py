"""`leveret serve`: from a configuration to a running broker, until a signal or a failing disk ends it."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys

from leveret import logs
from leveret.config import Config
from leveret.errors import StoreError
from leveret.server import admin_commands, backup, notify
from leveret.server.server import Server

log = logs.get("server")


def new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform != "win32":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or raises what ended it (LeveretError, OSError)."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(serve(config))


async def serve(config: Config) -> int:
    loop = asyncio.get_running_loop()
    server = Server(config)
    server.open()
    await server.start()
    admin = await admin_commands.start(server, functools.partial(backup.backup, server))
    wanted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wanted.set)
    notify.notify("READY=1")
    logs.ready({"amqp": f"{server.address[0]}:{server.address[1]}"})
    assert server.fatal is not None
    server.fatal.add_done_callback(lambda _: wanted.set())
    await wanted.wait()
    failed = server.fatal.done()
    notify.notify("STOPPING=1")
    await admin.close()
    await server.stop()
    log.info("stopped")
    if failed:
        raise StoreError(server.fatal.result())
    return 0
