"""Password hashes in RabbitMQ's form: base64 of a 4-byte salt and SHA-256 (or SHA-512) of salt and password.

The form is RabbitMQ's, so that its definitions can be taken over (rabbit_password.erl).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets


def make_hash(password: bytes) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password).digest()).decode("ascii")


def verify(password: bytes, password_hash: str | None) -> bool:
    """Constant time in the password; a hash that cannot be read matches nothing."""
    try:
        raw = base64.b64decode(password_hash, validate=True) if password_hash is not None else b"\0" * 36
    except (binascii.Error, ValueError):
        raw = b""
    salt, wanted = raw[:4], raw[4:]
    digest = hashlib.sha512 if len(wanted) == 64 else hashlib.sha256
    same = hmac.compare_digest(digest(salt + password).digest(), wanted)
    return same and password_hash is not None and len(password) > 0
