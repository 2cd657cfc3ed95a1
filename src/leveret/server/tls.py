"""TLS for any listener: the context that the configuration asks for, and the layer that speaks it.

The layer is OpenSSL over two buffers in memory; sockets are the link's business, and what is carried is nobody's here.
How long a handshake may take is the server's limit for logging in, of which it is a part.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leveret.errors import ConfigError
from leveret.server.layers import Layer

if TYPE_CHECKING:
    from leveret.config import Config

RECORD_BYTES: Final = 16_384  # the most that one record of TLS holds
TOGETHER_BYTES: Final = 262_144  # smaller parts are encrypted in one go


# ---- the context


def context(config: Config) -> ssl.SSLContext:
    """What the TLS listeners of this configuration offer: TLS 1.2 and later. Raises ConfigError for files that are
    missing, are not what they should be, or do not belong together."""
    certificate = config.tls_certificate
    assert certificate is not None
    key = certificate if config.tls_key is None else config.tls_key
    _readable("tls_certificate", certificate)
    _readable("tls_key", key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        made.load_cert_chain(certificate, key, password=_no_password)
    except ConfigError:
        raise ConfigError(f"tls_key: {key} is locked by a password; allowed: a key without one") from None
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(_what_is_wrong(certificate, key, error)) from None
    if config.tls_client_ca is not None:
        _readable("tls_client_ca", config.tls_client_ca)
        try:
            made.load_verify_locations(config.tls_client_ca)
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                f"tls_client_ca: {config.tls_client_ca} has no certificate in PEM that can be read;"
                " allowed: the certificates of those who sign for clients"
            ) from None
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _no_password() -> str:
    raise ConfigError("a password is asked for")


def _readable(key: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None


def _what_is_wrong(certificate: Path, key: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"tls_key: {key} is not the key of {certificate}; allowed: the key that the certificate was made for"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except (ssl.SSLError, ValueError):
        return (
            f"tls_certificate: {certificate} has no certificate in PEM that can be read ({reason or error})"
        )
    if "PRIVATE KEY" not in key.read_text("latin-1"):
        return f"tls_key: there is no private key in {key}; allowed: a key in PEM"
    return f"tls_key: {certificate} and {key} cannot be used: {reason or error}"


# ---- the layer


class TlsLayer(Layer):
    """The server's side of one connection."""

    name = "tls"

    def __init__(self, offered: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = offered.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False  # the handshake is done
        self._left = False  # we said goodbye
        self._early: list[bytes] = []  # what was said before the handshake was done

    @property
    def version(self) -> str:
        """`TLSv1.3`; empty before the handshake."""
        return (self._tls.version() or "") if self._shaken else ""

    def received(self, data: bytes) -> bytes:
        if self.ended:
            return b""
        self._incoming.write(data)
        found = b""
        try:
            if self._shaken or self._shake():
                found = self._read()
        except ssl.SSLError as error:
            self.ended = True
            self.reason = f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
        self._take()
        return found

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._shaken = True
        early, self._early = self._early, []
        self.wrap(early)
        return True

    def _read(self) -> bytes:
        parts = []
        while True:
            try:
                part = self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:  # the client has closed its side
                self.ended = True
                break
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def wrap(self, parts: list[bytes]) -> None:
        if self._left or self.reason:
            return
        if not self._shaken:
            self._early += parts
            return
        gathered: list[bytes] = []
        size = 0
        for part in parts:
            gathered.append(part)
            size += len(part)
            if size >= TOGETHER_BYTES:
                self._encrypt(gathered)
                gathered = []
                size = 0
        self._encrypt(gathered)
        self._take()

    def _encrypt(self, parts: list[bytes]) -> None:
        data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        while data:
            data = data[self._tls.write(data) :]

    def farewell(self, leaving: bool) -> None:
        if self._left:
            return
        self._left = True
        if self._shaken:
            # It wants the other side's goodbye, for which nobody waits.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self._take()

    def _take(self) -> None:
        if self._outgoing.pending:
            self.out.append(self._outgoing.read())
