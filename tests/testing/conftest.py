"""The plugin's fixtures, whether the package is installed or run from its source."""

from leveret.testing.plugin import (
    leveret_app,
    leveret_broker,
    leveret_clock,
    leveret_settings,
    leveret_thread,
)

__all__ = ["leveret_app", "leveret_broker", "leveret_clock", "leveret_settings", "leveret_thread"]
