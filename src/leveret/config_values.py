"""How a value of the configuration is read, checked and shown: a `Kind` for each sort of value.

A kind takes what TOML gives (typed) as well as what a variable or an option gives (text) and raises `ValueError`
for what it does not allow. It does not know the keys.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# RabbitMQ's information units (rabbit_resource_monitor_misc); upper and lower case mean the same.
UNITS: Final[dict[str, int]] = {"": 1, "b": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("i", 1024), ("ib", 1024), ("b", 1000))
}
TAGS: Final = ("administrator", "monitoring", "policymaker", "management", "impersonator")


@dataclass(frozen=True, slots=True)
class Kind:
    """parse: any value to the typed one, ValueError if not allowed; show: back to a plain value without secrets."""

    allowed: str
    parse: Callable[[object], object]
    show: Callable[[Any], object] = lambda value: value
    secret: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """Who may connect. Just one of `password` and `password_hash` is set; neither is ever shown."""

    name: str
    password: str | None = field(default=None, repr=False)
    # as RabbitMQ has it: the base64 of 4 bytes of salt and the SHA-256 of salt and password
    password_hash: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()

    @property
    def is_guest(self) -> bool:
        return self.name == "guest" and self.password == "guest"


@dataclass(frozen=True, slots=True)
class Watermark:
    """A level of memory or disk: a share of the machine's memory, or bytes."""

    relative: float = 0.0
    absolute_bytes: int = 0

    def bytes_of(self, total_bytes: int) -> int:
        return int(total_bytes * self.relative) if self.relative else self.absolute_bytes


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError


def _int(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def whole(low: int, high: int) -> Kind:
    def parse(value: object) -> int:
        number = _int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return Kind(f"a whole number from {low} to {high}", parse)


OFF: Final = -1  # instead of a port: do not listen


def _port(value: object) -> int:
    if value == "off":
        return OFF
    number = _int(value)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def _optional_path(value: object) -> Path | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, Path) else Path(_text(value)).expanduser()


def _origins(value: object) -> tuple[str, ...]:
    """Origins as browsers send them, in lower case."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)):
        raise ValueError
    found = tuple(_text(name).strip().lower() for name in names if name)
    for name in found:
        if name not in ("*", "null") and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", name) is None:
            raise ValueError(f"'{name}' is no origin")
    return found


def seconds(low: float, high: float) -> Kind:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
        if not low <= number <= high:  # not a number fails here too
            raise ValueError
        return number

    return Kind(f"seconds from {low:g} to {high:g}", parse)


def choice(*choices: str) -> Kind:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return Kind(" or ".join(f"'{each}'" for each in choices), parse, choices=choices)


def parse_size(value: object) -> int:
    """Bytes of a number or of a text such as '64MiB'."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,15})\s*([a-zA-Z]*)", value.strip())
        if match is None or match[2].lower() not in UNITS:
            raise ValueError
        worth: int = UNITS[match[2].lower()]
        return int(match[1]) * worth
    return _int(value)


def show_size(size_bytes: int) -> str:
    """The shortest way to write a size exactly, as `size` reads it: 64MiB, 50MB, 12345."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        worth = UNITS[unit.lower()]
        if size_bytes >= worth and size_bytes % worth == 0:
            return f"{size_bytes // worth}{unit}"
    return str(size_bytes)


def size(low: int, high: int) -> Kind:
    def parse(value: object) -> int:
        number = parse_size(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return Kind(
        f"a size from {show_size(low)} to {show_size(high)}, in bytes or as '64MiB', '2GB'", parse, show_size
    )


def _watermark(value: object) -> Watermark:
    if isinstance(value, str) and re.fullmatch(r"[0-9]*\.[0-9]+|1\.0*", value):
        value = float(value)
    if isinstance(value, float):
        if not 0.0 < value <= 1.0:
            raise ValueError
        return Watermark(relative=value)
    return Watermark(absolute_bytes=parse_size(value))


def _show_watermark(value: Watermark) -> object:
    return value.relative if value.relative else show_size(value.absolute_bytes)


def _vhosts(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError
    found = tuple(_text(name.strip() if isinstance(name, str) else name) for name in names)
    if len(set(found)) != len(found) or any(len(name.encode()) > 255 for name in found):
        raise ValueError("a name is there twice or is longer than 255 bytes")
    return found


def _users(value: object) -> dict[str, User]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("not JSON") from None
    if not isinstance(value, dict) or not value:
        raise ValueError
    return {str(name): _user(str(name), entry) for name, entry in value.items()}


def _user(name: str, entry: object) -> User:
    if isinstance(entry, str):
        entry = {"password": entry}
    if not name or not isinstance(entry, dict):
        raise ValueError(f"user '{name}'")
    unknown = sorted(set(entry) - {"password", "password_hash", "tags"})
    if unknown:
        raise ValueError(f"user '{name}': unknown key '{unknown[0]}'")
    if ("password" in entry) == ("password_hash" in entry):
        raise ValueError(f"user '{name}': one of password and password_hash is needed")
    tags = entry.get("tags", [])
    if not isinstance(tags, list) or not all(tag in TAGS for tag in tags):
        raise ValueError(f"user '{name}': tags are of {', '.join(TAGS)}")
    if "password" in entry:
        if not isinstance(entry["password"], str) or not entry["password"]:
            raise ValueError(f"user '{name}': the password is not a text or is empty")
        return User(name, password=entry["password"], tags=tuple(tags))
    try:
        hashed = base64.b64decode(entry["password_hash"], validate=True)
    except (ValueError, TypeError):
        hashed = b""
    if len(hashed) != 36:  # rabbit_password: the salt has 32 bits, SHA-256 has 32 bytes
        raise ValueError(f"user '{name}': password_hash is not the base64 of 4 bytes of salt and a SHA-256")
    return User(name, password_hash=entry["password_hash"], tags=tuple(tags))


def _show_users(users: dict[str, User]) -> object:
    return {name: {"tags": list(user.tags)} for name, user in users.items()}


BOOL: Final = Kind("true or false", _bool)
HOST: Final = Kind("a host name or address", _text)
PATH: Final = Kind(
    "a path", lambda value: value if isinstance(value, Path) else Path(_text(value)).expanduser(), str
)
PORT: Final = Kind("a port from 0 to 65535, or 'off'", _port, lambda value: "off" if value == OFF else value)
OPTIONAL_PATH: Final = Kind(
    "a path, or '' for none", _optional_path, lambda value: "" if value is None else str(value)
)
ORIGINS: Final = Kind("a list of origins such as 'https://example.com', '*' for all, 'null'", _origins, list)
WATERMARK: Final = Kind(
    "a share of the machine's memory as 0.4, or a size in bytes or as '2GB'", _watermark, _show_watermark
)
VHOSTS: Final = Kind("a list of different names, at most 255 bytes each", _vhosts, list)
USERS: Final = Kind(
    'a table of users: [users.NAME] with password or password_hash, and tags; in a variable JSON: {"NAME": "PASSWORD"}',
    _users,
    _show_users,
    secret=True,
)
