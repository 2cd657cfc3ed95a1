"""Password hashes in RabbitMQ's form: a 4-byte salt and SHA-256 (or SHA-512) of salt and password.

The form is RabbitMQ's (there in base64), so that its definitions can be taken over (rabbit_password.erl).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

NOBODYS = b"\0" * 36


def make_hash(password: bytes) -> bytes:
    salt = secrets.token_bytes(4)
    return salt + hashlib.sha256(salt + password).digest()


def verify(password: bytes, password_hash: bytes | None) -> bool:
    """Constant time in the password; no hash, or an empty password, matches nothing but takes as long."""
    raw = NOBODYS if password_hash is None else password_hash
    salt, wanted = raw[:4], raw[4:]
    digest = hashlib.sha512 if len(wanted) == 64 else hashlib.sha256
    same = hmac.compare_digest(digest(salt + password).digest(), wanted)
    return same and password_hash is not None and len(password) > 0
