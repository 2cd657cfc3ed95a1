"""Without a queue: callers connect, ask, and wait for the answer. Beyond its slots, requests wait in memory.

A caller that gives up is not noticed: its request is worked at all the same, and nobody wants the answer.
"""

from __future__ import annotations

import asyncio
import json
import signal

from examples.spike.work import SLOTS, work


class Service:
    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(SLOTS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readline()
            async with self._slots:
                await work()
            writer.write(b"done\n")
            await writer.drain()
        except ConnectionError:
            pass  # the caller has gone
        finally:
            writer.close()


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(Service().serve, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "port": port}), flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
