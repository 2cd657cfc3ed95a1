"""Certificates for tests, made when they are wanted: none is kept anywhere."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    """Of a server at 127.0.0.1 and localhost, of a client, and of who has signed for both."""

    certificate: Path
    key: Path
    ca: Path
    client: Path  # certificate and key in one file
    stranger: Path  # the same, signed by somebody else

    def offered(self) -> ssl.SSLContext:
        """What this server has."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(self.certificate, self.key)
        return made

    def context(self, client: Path | None = None) -> ssl.SSLContext:
        """What a client has that trusts this server. client: the certificate that it shows."""
        made = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            made.load_cert_chain(client)
        return made


def files(folder: Path) -> Files:
    ca = trustme.CA()
    server = ca.issue_cert("127.0.0.1", "localhost")
    found = Files(*(folder / f"{name}.pem" for name in ("certificate", "key", "ca", "client", "stranger")))
    server.cert_chain_pems[0].write_to_path(found.certificate)
    server.private_key_pem.write_to_path(found.key)
    ca.cert_pem.write_to_path(found.ca)
    ca.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(found.client)
    trustme.CA().issue_cert("x@example.com").private_key_and_cert_chain_pem.write_to_path(found.stranger)
    return found
