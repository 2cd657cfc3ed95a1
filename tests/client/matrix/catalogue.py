"""All operations of the matrix: those of the modules that are imported here."""

from __future__ import annotations

from . import sending, taking  # noqa: F401  they add themselves
from .operations import OPERATIONS, Operation, Steps

__all__ = ["OPERATIONS", "Operation", "Steps"]
