"""A broker for tests: the pytest plugin's fixtures, and what they are made of. Importing it imports no broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leveret.testing.broker import LeveretBroker
    from leveret.testing.clock import BrokerClock
    from leveret.testing.expect import ANY
    from leveret.testing.tap import Published
    from leveret.testing.worker import LeveretApp, RunningApp, ThreadedApp

__all__ = ["ANY", "BrokerClock", "LeveretApp", "LeveretBroker", "Published", "RunningApp", "ThreadedApp"]

HOMES = {
    "ANY": "expect",
    "BrokerClock": "clock",
    "LeveretApp": "worker",
    "LeveretBroker": "broker",
    "Published": "tap",
    "RunningApp": "worker",
    "ThreadedApp": "worker",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'leveret.testing' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"leveret.testing.{HOMES[name]}"), name)
