"""What a process of a pool does with a job: finds the handler again by its name, decodes, calls, encodes.

Knows nothing of connections: bodies come in and results go out as octets.
"""

from __future__ import annotations

import importlib

from leveret.errors import ConfigError
from leveret.worker.interfaces import ChildRunner


def load(module: str, qualname: str) -> ChildRunner:
    """The runner of a declared handler, such as `load("shop.images", "resize")`. Raises ConfigError."""
    found: object = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    runner = getattr(found, "child_runner", None)
    if runner is None:
        raise ConfigError(
            f"{module}.{qualname} is not a declared handler: a process pool finds its handler again by importing"
            " its module, so it has to be declared at the top of a module, not inside a function"
        )
    made: ChildRunner = runner()
    return made
