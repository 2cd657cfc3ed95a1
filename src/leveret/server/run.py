"""`leveret serve`: from a configuration to a running broker, until a signal or a failing disk ends it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import sys

from leveret import logs
from leveret.config import Config
from leveret.errors import StoreError
from leveret.server import admin_commands, backup, notify
from leveret.server.listeners import Listeners
from leveret.server.server import Server

log = logs.get("server")

SWITCH_INTERVAL_S = 0.0005  # the writer thread has to get its turn


def new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform != "win32":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0, or raises what ended it (LeveretError, OSError)."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(serve(config))


def raise_descriptors() -> None:
    """Ask for as many file descriptors as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems have a lower limit that they do not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: Config) -> int:
    """What is set here is the process': a broker inside another program leaves it as it is."""
    loop = asyncio.get_running_loop()
    raise_descriptors()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    listeners = Listeners(config)  # what cannot be is found out before anything is touched
    server = Server(config, own_process=True)
    gc.disable()  # millions of new objects, none of them garbage
    server.open()
    await server.start()
    listeners.open_wanted(server)
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    gc.enable()
    admin = await admin_commands.start(server, functools.partial(backup.backup, server))
    wanted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wanted.set)
    notify.notify("READY=1")
    logs.ready(server.addresses())
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
