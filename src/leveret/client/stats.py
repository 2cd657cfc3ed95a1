"""What a client has done, as numbers: a snapshot that is made when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Counts since the client was made; `buffered`, `buffered_bytes`, `spooled` and `blocked` are of this moment.

    posted: by `post`. confirmed, refused, unroutable: how sent messages ended. resent: written again on another
    connection. dropped: posted into a full buffer. blocked: why the broker takes no messages, or ''.
    """

    posted: int = 0
    confirmed: int = 0
    refused: int = 0
    unroutable: int = 0
    resent: int = 0
    dropped: int = 0
    buffered: int = 0
    buffered_bytes: int = 0
    spooled: int = 0
    delivered: int = 0
    acked: int = 0
    released: int = 0
    rejected: int = 0
    retried: int = 0
    reconnects: int = 0
    blocked: str = ""
