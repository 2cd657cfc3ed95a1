"""The configuration: one table of keys, which documents, validates and fills it.

A value comes from the first of: an option of `leveret serve`, a `LEVERET_*` variable, the TOML file, the
default. An unknown key or a value that cannot be used is a `ConfigError` that names the key, the value and what is
allowed. How a value is read and checked is `config_values`' business; what it is for is the broker's.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from leveret import limits
from leveret.config_values import (
    BOOL,
    HOST,
    OFF,
    OPTIONAL_PATH,
    ORIGINS,
    PATH,
    PORT,
    USERS,
    VHOSTS,
    WATERMARK,
    Kind,
    User,
    Watermark,
    choice,
    seconds,
    size,
    whole,
)
from leveret.errors import ConfigError

__all__ = [
    "OFF",
    "OTHER_VARIABLES",
    "PREFIX",
    "Config",
    "Key",
    "User",
    "Watermark",
    "default_data_dir",
    "load",
    "table",
    "unknown_key",
]

PREFIX: Final = "LEVERET_"
# Read by the build, the tests, the client or `load` itself; not the broker's configuration.
OTHER_VARIABLES: Final = frozenset(
    {
        "LEVERET_CONFIG", "LEVERET_PURE", "LEVERET_OPT", "LEVERET_REQUIRE_COMPILED", "LEVERET_EXPECT",
        "LEVERET_URL", "LEVERET_USER", "LEVERET_PASSWORD",
    }
)  # fmt: skip
# What Kubernetes puts into the environment of every pod beside a service that is called leveret.
FOREIGN_VARIABLE: Final = re.compile(
    r"LEVERET_(.+_)?SERVICE_(HOST|PORT)(_.+)?|LEVERET_(.+_)?PORT_\d+_(TCP|UDP)(_.+)?"
)
FOREIGN_VALUE: Final = ("tcp://", "udp://")
GUEST: Final = "guest"
STYLES: Final = choice("rabbitmq", "activemq")
# Ports of protocols that have one unless it is off; those of TLS_PORTS are for when there is a certificate.
TLS_PORTS: Final = ("amqps_port", "stomps_port", "web_stomps_port")
MORE_PORTS: Final = ("stomp_port", "web_stomp_port", *TLS_PORTS)


def default_data_dir() -> Path:
    """`/var/lib/leveret` for root, else `leveret` in the user's data directory (XDG base directories)."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/leveret")
    base = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "leveret"


def key(default: Any, kind: Kind, help_: str, option: str = "") -> Any:
    """A row of the table: a field of `Config` with what is allowed in it, what it is for and its option."""
    metadata = {"kind": kind, "help": help_, "option": option}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Config:
    """The effective configuration. Fields are the keys of the TOML file; `sources` says where each came from."""

    data_dir: Path = key(default_data_dir, PATH, "directory of everything durable", "--data")
    memory: bool = key(False, BOOL, "keep everything in memory, nothing on disk", "--memory")
    host: str = key("127.0.0.1", HOST, "address to listen on", "--host")
    amqp_port: int = key(5672, whole(0, 65535), "port of AMQP 0-9-1; 0 picks a free one", "--amqp-port")
    stomp_port: int = key(61613, PORT, "port of STOMP", "--stomp-port")
    web_stomp_port: int = key(
        15674, PORT, "port of STOMP over WebSocket, at /ws (with leveret[web])", "--web-stomp-port"
    )
    amqps_port: int = key(5671, PORT, "port of AMQP 0-9-1 over TLS, with tls_certificate", "--amqps-port")
    stomps_port: int = key(61614, PORT, "port of STOMP over TLS, with tls_certificate", "--stomps-port")
    web_stomps_port: int = key(
        15673, PORT, "port of STOMP over WebSocket over TLS, with tls_certificate", "--web-stomps-port"
    )
    tls_certificate: Path | None = key(
        None, OPTIONAL_PATH, "certificate to show (PEM), with those of its chain", "--tls-certificate"
    )
    tls_key: Path | None = key(
        None, OPTIONAL_PATH, "private key of the certificate, unless it is in the same file", "--tls-key"
    )
    tls_client_ca: Path | None = key(
        None, OPTIONAL_PATH, "certificates of who signs for clients: without one of theirs nobody gets in",
        "--tls-client-ca",
    )  # fmt: skip
    log_format: str = key(
        "text", choice("text", "json"), "log lines for people or for machines", "--log-format"
    )
    log_level: str = key(
        "info", choice("debug", "info", "warning", "error"), "least severe lines to log", "--log-level"
    )
    users: dict[str, User] = key(
        lambda: {GUEST: User(GUEST, password=GUEST, tags=("administrator",))},
        USERS,
        "who may connect: [users.NAME] with `password` or `password_hash` (as RabbitMQ's), and `tags`",
    )
    vhosts: tuple[str, ...] = key(("/",), VHOSTS, "virtual hosts to have")
    allow_remote_guest: bool = key(
        False, BOOL, "let guest in from other machines; its password is known to all"
    )
    heartbeat_s: int = key(limits.HEARTBEAT_S, whole(0, 65535), "heartbeat to offer; 0 for none")
    frame_max_bytes: int = key(
        limits.FRAME_MAX_BYTES, size(limits.FRAME_MAX_BEFORE_TUNE_BYTES, 16 << 20), "largest frame to offer"
    )
    stomp_destinations: str = key("rabbitmq", STYLES, "what destinations mean on stomp_port and stomps_port")
    web_stomp_destinations: str = key("rabbitmq", STYLES, "what destinations mean over WebSocket")
    stomp_heartbeat_min_ms: int = key(
        limits.STOMP_HEARTBEAT_MIN_MS,
        whole(limits.STOMP_HEARTBEAT_MIN_MS, 3_600_000),
        "shortest time between STOMP heart-beats, whatever a client asks for",
    )
    web_stomp_origins: tuple[str, ...] = key(
        (), ORIGINS, "whose pages may connect over WebSocket, beside pages of this machine"
    )
    channel_max: int = key(limits.CHANNELS_PER_CONNECTION, whole(1, 65535), "channels of a connection")
    connections_max: int = key(limits.CONNECTIONS, whole(1, 1_000_000), "connections at a time")
    handshake_timeout_s: float = key(
        float(limits.HANDSHAKE_TIMEOUT_S), seconds(0.1, 3600), "how long a client may take to log in"
    )
    message_size_max_bytes: int = key(
        limits.MESSAGE_SIZE_BYTES, size(1, limits.MESSAGE_SIZE_CEILING_BYTES), "largest body of a message"
    )
    consumer_timeout_ms: int = key(
        0, whole(0, limits.CONSUMER_TIMEOUT_MAX_MS), "time to settle a delivery in; 0 for any time"
    )
    consumer_timeout_closes_channel: bool = key(
        False, BOOL, "close the channel of a consumer that took longer, as RabbitMQ 3 does"
    )
    busy_poll_us: int = key(
        limits.BUSY_POLL_US, whole(0, 1_000), "how long to stay awake for a peer that usually answers sooner"
    )
    memory_high_watermark: Watermark = key(
        Watermark(relative=0.6), WATERMARK, "memory in use from which publishers are blocked"
    )
    disk_free_low_watermark: Watermark = key(
        Watermark(absolute_bytes=50_000_000), WATERMARK, "free disk below which publishers are blocked"
    )
    pages_in_memory_bytes: int = key(
        limits.PAGES_IN_MEMORY_BYTES, size(1 << 20, 1 << 40), "waiting messages to keep in memory"
    )
    segment_bytes: int = key(limits.SEGMENT_BYTES, size(8 << 20, 1 << 30), "size of a log segment")
    log_segments: int = key(limits.LOG_SEGMENTS, whole(3, 1024), "segments of the log")
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def asks_for(self, port: str) -> bool:
        """Whether this port was asked for, not merely left as it is."""
        given = self.sources.get(port, "default") not in ("default", "amqp_port")
        return given and getattr(self, port) != OFF

    def public(self) -> dict[str, object]:
        """The configuration without secrets, as plain values fit for JSON."""
        return {each.name: each.kind.show(getattr(self, each.name)) for each in table()}


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the table, for whoever documents or offers it."""

    name: str
    kind: Kind
    help: str
    option: str
    default: object

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


def table() -> list[Key]:
    """The table."""
    rows: list[Key] = []
    for each in dataclasses.fields(Config):
        if "kind" in each.metadata:
            default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
            rows.append(Key(each.name, default=default, **each.metadata))
    return rows


def unknown_key(name: str) -> str:
    """What to say of a key that there is not."""
    return f"unknown key '{name}'{_meant(name, dict.fromkeys(row.name for row in table()))}"


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Config:
    """The effective configuration, checked. `options` has keys of the table; None in it means not given."""
    environ = os.environ if environ is None else environ
    rows = {each.name: each for each in table()}
    values: dict[str, object] = {}
    sources = dict.fromkeys(rows, "default")

    def take(name: str, shown: str, value: object, source: str) -> None:
        values[name] = _parse(rows[name].kind, shown, value)
        sources[name] = source

    named = environ.get(PREFIX + "CONFIG")
    if file is None and named:
        file = Path(named)
    if file is not None:
        for name, value in _read(file).items():
            if name not in rows:
                raise ConfigError(f"{file}: {unknown_key(name)}")
            take(name, f"{file}: {name}", value, str(file))
    variables = {each.variable: each.name for each in rows.values()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or _is_foreign(variable, text):
            continue
        if variable not in variables:
            raise ConfigError(f"unknown variable {variable}{_meant(variable, variables)}")
        take(variables[variable], variable, text, variable)
    for name, value in (options or {}).items():
        if name not in rows:
            raise ConfigError(unknown_key(name))
        if value is not None:
            take(name, rows[name].option or name, value, rows[name].option or "option")
    if values.get("amqp_port") == 0:  # so that brokers on free ports do not meet on others
        for name in MORE_PORTS:
            if name not in values:
                values[name] = 0
                sources[name] = "amqp_port"
    made: Callable[..., Config] = Config
    config = made(**values, sources=sources)
    check(config)
    return config


def _is_foreign(variable: str, text: str) -> bool:
    return FOREIGN_VARIABLE.fullmatch(variable) is not None or text.startswith(FOREIGN_VALUE)


def _read(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from error
    except ValueError as error:  # TOML that is none, or not UTF-8
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _parse(kind: Kind, shown: str, value: object) -> object:
    try:
        return kind.parse(value)
    except ValueError as error:
        # The value of a key with secrets is not repeated, since what is wrong may be beside a password.
        what = "the value" if kind.secret else f"{value!r}"
        detail = f" ({error})" if str(error) else ""
        raise ConfigError(f"{shown}: {what} is not allowed{detail}; allowed: {kind.allowed}") from error


def _meant(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else "; known are: " + ", ".join(known)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check(config: Config) -> None:
    """What no key can check alone. Raises ConfigError."""
    if not config.memory and config.message_size_max_bytes > config.segment_bytes * (config.log_segments - 1):
        raise ConfigError(
            f"message_size_max_bytes: {config.message_size_max_bytes} does not fit a log of {config.log_segments}"
            f" segments of {config.segment_bytes} bytes; allowed: a smaller size, or more log_segments or segment_bytes"
        )
    if config.tls_certificate is None:
        for name in ("tls_key", "tls_client_ca"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"{name}: it is of no use without tls_certificate; allowed: give both, or none"
                )
        for name in TLS_PORTS:
            if config.asks_for(name):
                raise ConfigError(
                    f"{name}: TLS needs a certificate; allowed: give tls_certificate and tls_key, or {name} = 'off'"
                )
    if is_loopback(config.host) or config.allow_remote_guest:
        return
    if all(user.is_guest for user in config.users.values()):
        raise ConfigError(
            f"host: '{config.host}' can be reached from other machines, and guest/guest is the only way in; allowed:"
            " give a user of your own ([users.NAME] with a password), listen on 127.0.0.1,"
            " or set allow_remote_guest = true"
        )
