"""Says how this Leveret was built: compiled to C by mypyc, or plain Python.

It knows where a module was loaded from and nothing else; it imports none of the hot modules, so that asking
costs nothing.
"""

from __future__ import annotations

import importlib.util
import platform
from typing import Final

from leveret._version import VERSION


def _compiled() -> bool:
    # All hot modules are one mypyc group (setup.py): one of them speaks for all.
    spec = importlib.util.find_spec("leveret.message")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


COMPILED: Final[bool] = _compiled()
MODE: Final[str] = "compiled" if COMPILED else "pure"
PURE_COST: Final = (
    "running uncompiled: every message costs several times the CPU; install where there is a C compiler"
    " (LEVERET_PURE unset) for the compiled broker"
)


def event_loop() -> str:
    """The name and version of the event loop that the server will use."""
    if importlib.util.find_spec("uvloop") is None:
        return "asyncio"
    from uvloop._version import __version__

    return f"uvloop {__version__}"


def python() -> str:
    """The interpreter's name and version."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def describe() -> str:
    """One line: version, build, Python, event loop."""
    return f"leveret {VERSION} ({MODE}), {python()}, {event_loop()}"
