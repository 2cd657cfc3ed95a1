"""What is asked of the workers, and what they answer. Files stay in the shared folder: messages carry paths."""

from __future__ import annotations

from dataclasses import dataclass

PICTURES = "resize.pictures"  # queues
SEGMENTS = "resize.segments"


@dataclass(frozen=True)
class Job:
    """Make `source` small and write it to `target`. Paths are relative to the shared folder."""

    source: str
    target: str
    size: int  # of the result in pixels: the longer edge of a picture, the height of a film


@dataclass(frozen=True)
class Done:
    target: str
    clone: int  # the worker that did it: its process id
    started_s: float  # since the epoch
    ended_s: float
