"""Finds an app or a handler by the name that a command line gives, as in `shop.tasks:app`, and says why it cannot."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any, TypeVar

from leveret.errors import ConfigError
from leveret.worker.app import App

T = TypeVar("T")


def load_app(name: str) -> App:
    """The app `MODULE:NAME`; of `MODULE` alone the only one in it. Raises ConfigError, or what importing it raises."""
    module, attribute = _import(name)
    if attribute:
        found = _attribute(module, attribute)
        if not isinstance(found, App):
            raise ConfigError(f"{name} is {_what(found)}, not a leveret.App{_hint(module)}")
        return found
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if len(set(map(id, apps.values()))) != 1:
        having = f"has {', '.join(apps)}" if apps else "has no leveret.App"
        raise ConfigError(f"{module.__name__} {having}: name the app as {module.__name__}:NAME")
    return next(iter(apps.values()))


def load_function(name: str) -> Any:
    """What `MODULE:NAME` names: a function, or what a decorator made of it. Raises ConfigError."""
    module, attribute = _import(name)
    if not attribute:
        raise ConfigError(f"{name}: name the handler as {name}:FUNCTION")
    found = _attribute(module, attribute)
    if not callable(found):
        raise ConfigError(f"{name} is {_what(found)}, not a function")
    return found


def _import(name: str) -> tuple[Any, str]:
    path, _, attribute = name.partition(":")
    if path.endswith(".py") or not all(part.isidentifier() for part in path.split(".")):
        hint = f"; write {path[:-3].replace('/', '.')}" if path.endswith(".py") else ""
        raise ConfigError(f"{name!r} is not a module's name, as in shop.tasks:app{hint}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it
    try:
        return importlib.import_module(path), attribute
    except ModuleNotFoundError as error:
        if error.name is None or not (path == error.name or path.startswith(error.name + ".")):
            raise  # a module that the app wants
        parent, _, name = path.rpartition(".")
        meant = hasattr(sys.modules.get(parent), name) if parent else False
        hint = f"; did you mean {parent}:{name}?" if meant else ""
        raise ConfigError(
            f"no module {path!r} is found in {os.getcwd()} nor among what is installed{hint}"
        ) from None


def _attribute(module: Any, attribute: str) -> Any:
    found = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else _hint(module)
            raise ConfigError(f"{module.__name__} has no {attribute!r}{hint}") from None
    return found


def _hint(module: Any) -> str:
    apps = [key for key, value in vars(module).items() if isinstance(value, App)]
    return f"; there is {', '.join(f'{module.__name__}:{key}' for key in apps)}" if apps else ""


def _what(found: Any) -> str:
    return f"a {type(found).__name__}"
