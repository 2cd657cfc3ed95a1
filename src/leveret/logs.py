"""Structured logging: an event's text and its fields, as lines for people or as JSON lines for machines, to stderr.

Uses the standard library's logging, so that an embedding application keeps its own ways. It never writes
credentials or the bodies of messages: callers do not pass them, and fields with such names are masked here.

    log = logs.get("server")
    log.info("connection accepted", extra=logs.fields(peer="127.0.0.1:4711", user="app"))
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

from leveret import build

ROOT: Final = "leveret"
MASK: Final = "***"
SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "credential", "body", "response")
COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
EVENT_WIDTH: Final = 32


def get(name: str) -> logging.Logger:
    """The logger of a part of the broker."""
    return logging.getLogger(f"{ROOT}.{name}")


def fields(**values: object) -> dict[str, object]:
    """What goes into `extra=`: the fields of the event. Values are plain ones."""
    return {"fields": values}


def _of(record: logging.LogRecord) -> dict[str, object]:
    found: Mapping[str, object] = getattr(record, "fields", {})
    return {name: MASK if _is_secret(name) else value for name, value in found.items()}


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in SECRET_WORDS) and not lower.endswith(("_bytes", "_count"))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, part, event, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "part": record.name.removeprefix(ROOT + "."),
            "event": record.getMessage(),
        }
        for name, value in _of(record).items():
            entry[name if name not in entry else name + "_"] = value
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class Text(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO    server    connection accepted   peer=127.0.0.1:4711 user=app`."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        if self.colour:
            level = f"\x1b[{COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        part = record.name.removeprefix(ROOT + ".")
        pairs = " ".join(f"{name}={_plain(value)}" for name, value in _of(record).items())
        event = _one_line(record.getMessage())
        line = f"{_timestamp(record.created)} {level} {part:<9} {event:<{EVENT_WIDTH}} {pairs}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _timestamp(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f".{int(at_s % 1 * 1000):03d}Z"


def _plain(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str)
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(' ="') else json.dumps(text)


def _one_line(text: str) -> str:
    # Names come from clients: nothing of theirs may begin a line or move the cursor.
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def set_up(log_format: str = "text", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Send the broker's log lines to a stream (stderr). Replaces what an earlier call set up."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if log_format == "json" else Text(colour=stream.isatty()))
    root = logging.getLogger(ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(log_level.upper())
    root.propagate = False


def banner(**values: object) -> None:
    """The first lines: what runs, with `values` beside it (the data directory), and what uncompiled costs."""
    log = get("start")
    log.info(build.describe(), extra=fields(**values))
    if not build.COMPILED:
        log.warning(build.PURE_COST)


def ready(addresses: Mapping[str, str]) -> None:
    """The one line that says that everything accepts connections: `ready({"amqp": "127.0.0.1:5672"})`.

    Whoever started the broker waits for it, so it is written whatever the level of the log.
    """
    logger = get("start")
    values = dict(addresses)
    root = logging.getLogger(ROOT)
    as_json = any(isinstance(handler.formatter, JsonLines) for handler in root.handlers)
    extra = fields(addresses=values) if as_json else fields(**values)
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, "ready", (), None, extra=extra)
    for handler in root.handlers:
        handler.handle(record)
        handler.flush()
