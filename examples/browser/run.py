"""A web page that talks to the broker: publishes, subscribes, and comes back by itself.

    npm install --prefix examples/browser                 once: fetches @stomp/stompjs
    python examples/browser/run.py                        a broker and the page, until Ctrl-C
    python examples/browser/run.py --broker ws://HOST:15674/ws

Open the page twice. board.js is the part that talks; begin with it.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the source tree

import leveret

FOLDER = Path(__file__).resolve().parent
LIBRARY = "node_modules/@stomp/stompjs"


class Pages(SimpleHTTPRequestHandler):
    """The files of this folder; those of the library from where it was installed."""

    def __init__(self, *arguments: Any, library: Path, **options: Any) -> None:
        self.library = library
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        plain = path.partition("?")[0]
        if plain.startswith(f"/{LIBRARY}/"):
            inside = (self.library / plain.removeprefix(f"/{LIBRARY}/")).resolve()
            return str(inside) if inside.is_relative_to(self.library) else ""
        return super().translate_path(path)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Site:
    """Serves the page on a free port of this machine, until it is closed.

    library: the folder of @stomp/stompjs; folder: of the page.
    """

    def __init__(self, library: Path, port: int = 0, folder: Path = FOLDER) -> None:
        handler: Callable[..., Pages] = partial(Pages, library=library.resolve(), directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, **options: str) -> str:
        """options: of board.js, such as broker and topic."""
        return f"http://127.0.0.1:{self.server.server_port}/page.html?{urlencode(options)}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def main() -> int:
    parser = argparse.ArgumentParser(description="A web page that talks to the broker.")
    parser.add_argument("--broker", default="", metavar="URL", help="a broker that runs, ws://HOST:PORT/ws")
    parser.add_argument("--port", type=int, default=0, help="of the page (default: any that is free)")
    arguments = parser.parse_args()
    library = FOLDER / LIBRARY
    if not library.is_dir():
        print("the library is missing: npm install --prefix examples/browser", file=sys.stderr)
        return 1
    with ExitStack() as running:
        broker = arguments.broker
        if not broker:
            ours = running.enter_context(leveret.run_in_thread(listen_web_stomp="127.0.0.1:0"))
            broker = "ws://{}:{}/ws".format(*ours.web_stomp_address)
        site = Site(library, arguments.port)
        running.callback(site.close)
        print(f"open this, twice: {site.url(broker=broker)}\nCtrl-C ends it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
