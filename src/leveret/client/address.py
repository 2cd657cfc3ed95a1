"""Where a broker is: AMQP URLs, as RabbitMQ's URI specification, pika and aio-pika have them, made into addresses.

Knows URLs, their options and how a TLS context is made of them; connects nothing. An error names the option and what
is allowed, and never shows user or password: whatever could be a part of a password is left out of its text.

Options: `heartbeat` (seconds), `connection_timeout` (milliseconds, as RabbitMQ has it; `timeout`, `socket_timeout` and
`stack_timeout`, aio-pika's and pika's, are seconds), `frame_max` (bytes), `channel_max`, `name`, `auth_mechanism`
(plain); with amqps `cacertfile` or `cafile`, `certfile`, `keyfile`, `password` (of the key), `verify` (verify_peer,
verify_none) or `no_verify_ssl`, `server_name_indication` (a name, or `disable`).
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import quote, unquote_to_bytes

from leveret import limits
from leveret.errors import InvalidAddress

if TYPE_CHECKING:
    import ssl
    from typing import Any

T = TypeVar("T")

URL_VARIABLE: Final = "LEVERET_URL"
DEFAULT_URL: Final = "amqp://localhost"
PORTS: Final = {"amqp": 5672, "amqps": 5671}
HEARTBEAT_MAX_S: Final = 65_535
CHANNEL_MAX: Final = 65_535
TIMEOUT_MAX_S: Final = 86_400.0

_NEXT_URL: Final = re.compile(r"\s*,\s*(?=amqps?://)", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/?#\s]+")
_ESCAPE_THEM: Final = (
    "write '@', '/', '?', '#', ':' and '%' in a user or password as %40, %2F, %3F, %23, %3A and %25"
)


class Dialer(Protocol):
    """What connects without a socket: a broker in this process, as `leveret.Broker` is one."""

    def dial(self, protocol_factory: Callable[[], Any], /) -> Any:
        """Connect what the factory makes, and give its transport (or an awaitable of it)."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Address:
    """One place to connect to. `repr` and `url` show no password.

    `has_credentials`: the URL named a user. `server_hostname`: the name that TLS asks for and checks ("" for none).
    `heartbeat_s`, `connect_timeout_s`, `frame_max_bytes` and `channel_max` are None where the URL says nothing.
    `dialer`: the broker in this process instead of a host.
    """

    host: str = "localhost"
    port: int = 5672
    vhost: str = "/"
    user: str = "guest"
    password: str = "guest"
    has_credentials: bool = False
    tls: ssl.SSLContext | None = None
    server_hostname: str = ""
    heartbeat_s: int | None = None
    connect_timeout_s: float | None = None
    frame_max_bytes: int | None = None
    channel_max: int | None = None
    name: str = ""
    dialer: Dialer | None = None

    @property
    def place(self) -> str:
        """Host and port for texts: `localhost:5672`, `[::1]:5672`, or `memory`."""
        if self.dialer is not None:
            return "memory"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a URL without password and options, fit for logs."""
        scheme = "memory" if self.dialer is not None else "amqp" if self.tls is None else "amqps"
        return f"{scheme}://{quote(self.user, safe='')}@{self.place}/{quote(self.vhost, safe='')}"

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def parse_addresses(
    places: Sequence[str | Dialer] = (),
    *,
    tls: ssl.SSLContext | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Address, ...]:
    """The addresses of all `places`, in their order, each host of a URL one; at least one.

    `places` are URLs (several may be in one text, separated by commas) and brokers of this process. None given: those of
    $LEVERET_URL, and if that is not set, amqp://localhost. `tls` is the context for amqps URLs. Raises InvalidAddress.
    """
    if not places:
        found = (os.environ if environ is None else environ).get(URL_VARIABLE, "").strip()
        places = (found or DEFAULT_URL,)
    addresses: list[Address] = []
    for place in places:
        if isinstance(place, str):
            for url in _NEXT_URL.split(place.strip()):
                addresses += parse_url(url, tls)
        elif callable(getattr(place, "dial", None)):
            addresses.append(Address(host="", port=0, dialer=place))
        else:
            kind = type(place).__name__
            raise InvalidAddress(f"an address is a URL or a leveret.Broker of this process, not {kind}")
    return tuple(addresses)


def parse_url(url: str, tls: ssl.SSLContext | None = None) -> list[Address]:
    """The addresses of one URL, one for each of its hosts. Raises InvalidAddress."""
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator:
        raise InvalidAddress("an address begins with amqp:// or amqps://")
    if scheme not in PORTS:
        raise InvalidAddress(f"the scheme of an address is amqp or amqps, not {_shown(scheme)}")
    if tls is not None and scheme == "amqp":
        raise InvalidAddress("tls is given, but the address begins with amqp://: write amqps://")
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if "@" in path or "@" in query or "#" in rest:
        raise InvalidAddress(f"an '@' or '#' stands where an address has none: {_ESCAPE_THEM}")
    userinfo, _, hosts = authority.rpartition("@")
    if "@" in userinfo:
        raise InvalidAddress(f"an address has one '@', before its hosts: {_ESCAPE_THEM}")
    options = _Options(_pairs(query) if question else [], scheme, tls)
    base = options.address(_vhost(slash + path), *_user(userinfo))
    found: list[Address] = []
    for text in hosts.split(","):
        host, port = _host(text.strip(), PORTS[scheme])
        name = base.server_hostname if options.names_server else host
        found.append(
            dataclasses.replace(base, host=host, port=port, server_hostname=name if base.tls else "")
        )
    return found


def _shown(text: str) -> str:
    """A part of a URL for an error's text, cut short."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _unquote(text: str, what: str) -> str:
    """Percent-decoded. `what` names the part in an error, which does not show it."""
    if _BAD_ESCAPE.search(text):
        raise InvalidAddress(f"{what} has a '%' that begins no escape: write it as %25")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidAddress(f"{what} is not UTF-8 when its escapes are undone") from None


def _user(userinfo: str) -> tuple[str, str, bool]:
    """User, password, and whether the URL named them. A user alone has an empty password, as in RabbitMQ's clients."""
    if not userinfo:
        return "guest", "guest", False
    user, _, password = userinfo.partition(":")
    return _unquote(user, "the user"), _unquote(password, "the password"), True


def _vhost(path: str) -> str:
    """The virtual host: "/" for no path, for `/`, and for `//`, which people write for `/%2F`."""
    if path in ("", "/", "//"):
        return "/"
    if "/" in path[1:]:
        raise InvalidAddress("a virtual host is one part of the path: write a '/' in its name as %2F")
    vhost = _unquote(path[1:], "the virtual host")
    if len(vhost.encode()) > limits.SHORT_STRING_BYTES:
        raise InvalidAddress(f"the virtual host's name has more than {limits.SHORT_STRING_BYTES} bytes")
    return vhost


def _host(text: str, default_port: int) -> tuple[str, int]:
    """Host and port. What is wrong is not shown: it may be a part of a password that was not escaped."""
    if not text:
        return "localhost", default_port
    found = _HOST.match(text)
    if found is None:
        raise InvalidAddress(f"a host is a name, an IPv4 address, or an IPv6 address in []; {_ESCAPE_THEM}")
    host, rest = found.group(), text[found.end() :]
    if host.startswith("["):
        host = host[1:-1]
    if not rest or rest == ":":
        return _unquote(host, "the host"), default_port
    port = rest[1:]
    if rest[0] != ":" or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65_535):
        raise InvalidAddress(f"a port is a number from 1 to 65535 behind the host and a ':'; {_ESCAPE_THEM}")
    return _unquote(host, "the host"), int(port)


def _pairs(query: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.append((name, _unquote(value.replace("+", " "), f"the value of {_shown(name)}")))
    return found


class _Options:
    """The query of one URL, checked. `names_server`: it says which name TLS asks for."""

    KNOWN: Final = (
        "heartbeat",
        "connection_timeout",
        "timeout",
        "socket_timeout",
        "stack_timeout",
        "frame_max",
        "channel_max",
        "name",
        "auth_mechanism",
    )
    TLS: Final = (
        "cacertfile",
        "cafile",
        "certfile",
        "keyfile",
        "password",
        "verify",
        "no_verify_ssl",
        "server_name_indication",
    )

    def __init__(self, pairs: list[tuple[str, str]], scheme: str, tls: ssl.SSLContext | None) -> None:
        self.given: dict[str, str] = {}
        self.names_server = False
        self.scheme = scheme
        self.context = tls
        for name, value in pairs:
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        if name not in self.KNOWN and name not in self.TLS:
            near = difflib.get_close_matches(name, [*self.KNOWN, *self.TLS], 1)
            hint = (
                f": do you mean {near[0]!r}?"
                if near
                else "; there are " + ", ".join([*self.KNOWN, *self.TLS])
            )
            raise InvalidAddress(f"the address has an unknown option {_shown(name)}{hint}")
        if name in self.given:
            raise InvalidAddress(f"the address has the option {name!r} twice")
        if name in self.TLS and self.scheme != "amqps":
            raise InvalidAddress(
                f"the option {name!r} is for TLS: the address begins with amqp://, write amqps://"
            )
        if name in self.TLS and self.context is not None and name != "server_name_indication":
            raise InvalidAddress(
                f"the option {name!r} and tls= cannot both be given: put it into your context"
            )
        self.given[name] = value

    def address(self, vhost: str, user: str, password: str, has_credentials: bool) -> Address:
        """The address without its host."""
        frame_max = self._number("frame_max", 0, 2**31 - 1, "bytes")
        if frame_max is not None and 0 < frame_max < limits.FRAME_MIN_BYTES:
            raise InvalidAddress(
                f"frame_max is 0 or at least {limits.FRAME_MIN_BYTES} bytes, not {frame_max}"
            )
        if self.given.get("auth_mechanism", "plain").lower() != "plain":
            raise InvalidAddress("auth_mechanism can only be plain")
        name = self.given.get("server_name_indication", "")
        self.names_server = bool(name)
        return Address(
            vhost=vhost,
            user=user,
            password=password,
            has_credentials=has_credentials,
            tls=self._tls() if self.scheme == "amqps" else None,
            server_hostname="" if name == "disable" else name,
            heartbeat_s=self._number("heartbeat", 0, HEARTBEAT_MAX_S, "seconds"),
            connect_timeout_s=self._timeout(),
            frame_max_bytes=frame_max,
            channel_max=self._number("channel_max", 0, CHANNEL_MAX, "channels"),
            name=self.given.get("name", ""),
        )

    def _number(self, name: str, least: int, most: int, unit: str) -> int | None:
        text = self.given.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
            raise InvalidAddress(f"{name} is a number of {unit} from {least} to {most}, not {_shown(text)}")
        return int(text)

    def _timeout(self) -> float | None:
        names = ("connection_timeout", "timeout", "socket_timeout", "stack_timeout")
        given = [name for name in names if name in self.given]
        if len(given) > 1:
            raise InvalidAddress(f"{' and '.join(given)} say the same: give one")
        if not given:
            return None
        if given[0] == "connection_timeout":
            milliseconds = self._number("connection_timeout", 1, int(TIMEOUT_MAX_S * 1000), "milliseconds")
            return None if milliseconds is None else milliseconds / 1000
        text = self.given[given[0]]
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= TIMEOUT_MAX_S:
            raise InvalidAddress(
                f"{given[0]} is a number of seconds above 0, up to {TIMEOUT_MAX_S:.0f}, not {_shown(text)}"
            )
        return seconds

    def _verifies(self) -> bool:
        if "no_verify_ssl" in self.given:
            if "verify" in self.given:
                raise InvalidAddress("verify and no_verify_ssl say the same: give one")
            text = self.given["no_verify_ssl"]
            if text not in ("0", "1"):
                raise InvalidAddress(f"no_verify_ssl is 0 or 1, not {_shown(text)}")
            return text == "0"
        text = self.given.get("verify", "verify_peer")
        if text not in ("verify_peer", "verify_none"):
            raise InvalidAddress(f"verify is verify_peer or verify_none, not {_shown(text)}")
        return text == "verify_peer"

    def _tls(self) -> ssl.SSLContext:
        """The caller's context, or one of the options: it verifies the broker unless it is told not to."""
        disabled = self.given.get("server_name_indication") == "disable"
        if self.context is not None:
            if disabled and self.context.check_hostname:
                raise InvalidAddress(
                    "server_name_indication=disable needs a tls context that checks no host name"
                )
            return self.context
        import ssl

        if "cacertfile" in self.given and "cafile" in self.given:
            raise InvalidAddress("cacertfile and cafile say the same: give one")
        if "keyfile" in self.given and "certfile" not in self.given:
            raise InvalidAddress("keyfile is given without certfile")
        authorities = self.given.get("cacertfile", self.given.get("cafile"))
        context = self._load(
            "cacertfile", authorities, lambda: ssl.create_default_context(cafile=authorities)
        )
        if not self._verifies():
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif disabled:
            context.check_hostname = False
        certificate = self.given.get("certfile")
        if certificate is not None:
            key = self.given.get("keyfile")
            secret = self.given.get("password", "")
            what = "certfile" if key is None else f"certfile with keyfile {_shown(key)}"
            # a password that is always given, so that OpenSSL does not ask for it at the terminal
            self._load(what, certificate, lambda: context.load_cert_chain(certificate, key, secret))
        return context

    @staticmethod
    def _load(what: str, path: str | None, load: Callable[[], T]) -> T:
        try:
            return load()
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise InvalidAddress(f"{what} {_shown(path or '')} cannot be used: {reason}") from None
