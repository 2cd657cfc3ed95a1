"""Leveret: a message broker in Python, with its producers and consumers."""

from leveret._version import VERSION as __version__

__all__ = ["__version__"]
