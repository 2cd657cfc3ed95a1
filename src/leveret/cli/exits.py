"""Exit codes: all of them, in one table, with what raises them. The reference and `leveret --help` are made of it."""

from __future__ import annotations

from typing import Final

from leveret.errors import ConfigError, Damaged, DirectoryLocked, LeveretError, StoreError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CONFIG: Final = 3
NO_BROKER: Final = 4
NOT_YOURS: Final = 5
NOT_FOUND: Final = 6
REFUSED: Final = 7
LOCKED: Final = 8
STORE: Final = 9
DAMAGED: Final = 10
EMPTY: Final = 11
HANDLER_FAILED: Final = 12
TIMED_OUT: Final = 13

MEANING: Final[dict[int, str]] = {
    OK: "all is well",
    FAILED: "something else went wrong; the message says what",
    USAGE: "the command line is not understood",
    CONFIG: "the configuration cannot be used",
    NO_BROKER: "no broker is running there",
    NOT_YOURS: "the broker, its socket or its directory belongs to another user",
    NOT_FOUND: "the queue, exchange or virtual host does not exist",
    REFUSED: "the broker refused the request",
    LOCKED: "the data directory is in use by another process",
    STORE: "the store failed: a write or sync was refused by the system",
    DAMAGED: "the store is damaged; file and offset are named",
    EMPTY: "`leveret get`: no message is waiting",
    HANDLER_FAILED: "`leveret drain`: messages could not be handled",
    TIMED_OUT: "`leveret drain`: the time was over before the queue was empty",
}


def of(error: BaseException) -> int:
    """The code for an error that ends a command."""
    if isinstance(error, ConfigError):
        return CONFIG
    if isinstance(error, DirectoryLocked):
        return LOCKED
    if isinstance(error, Damaged):
        return DAMAGED
    if isinstance(error, StoreError):
        return STORE
    if isinstance(error, PermissionError):
        return NOT_YOURS
    if isinstance(error, LeveretError):
        return of_code(error.code)
    return FAILED


def of_code(code: int) -> int:
    """The code for an AMQP reply code that the broker answered with."""
    if code == 404:
        return NOT_FOUND
    if code in (311, 403, 405, 406, 506, 530):
        return REFUSED
    return FAILED
