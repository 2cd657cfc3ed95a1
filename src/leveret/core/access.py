"""Who may connect, and where to. Passwords are compared in constant time and hashed off the loop.

It knows users, virtual hosts and nothing of SASL or sockets. A check answers through a callback, at once or later.
"""

from __future__ import annotations

import hmac

from leveret.core.passwords import verify

LOOPBACK_ONLY = "guest"


class User:
    """password: in clear, from the configuration; or password_hash (passwords.py); neither: may not log in."""

    def __init__(
        self, name: str, password: str | None, password_hash: bytes | None, tags: tuple[str, ...]
    ) -> None:
        self.name = name
        self.password = password
        self.password_hash = password_hash
        self.tags = tags


class Access:
    def __init__(self, remote_guest: bool = False) -> None:
        self.users: dict[str, User] = {}
        self.remote_guest = remote_guest
        self.refused = 0

    def add(self, user: User) -> None:
        self.users[user.name] = user

    def check(self, name: str, password: bytes) -> User | None:
        """The user, if the password is right. Unknown names take as long as known ones."""
        user = self.users.get(name)
        if user is None:
            verify(password, None)
            self.refused += 1
            return None
        if user.password is not None:
            wanted = user.password.encode("utf-8", "surrogateescape")
            if hmac.compare_digest(wanted, password) and password:
                return user
        elif user.password_hash is not None and verify(password, user.password_hash):
            return user
        self.refused += 1
        return None

    def may_come_from(self, user: User, loopback: bool) -> bool:
        return loopback or self.remote_guest or user.name != LOOPBACK_ONLY
