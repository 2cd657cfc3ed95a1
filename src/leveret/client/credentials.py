"""Who we are to the broker: user and password from a pair, a callable, the URL or the environment, asked for at every
connect, so that a token that expires is fetched anew.

Knows addresses; opens nothing, keeps nothing, and never puts a password into a text.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from leveret.client.address import Address
from leveret.errors import InvalidAddress

USER_VARIABLE: Final = "LEVERET_USER"
PASSWORD_VARIABLE: Final = "LEVERET_PASSWORD"

Pair = tuple[str, str]
Credentials = Pair | Callable[[], Pair | Awaitable[Pair]] | None


def checked(credentials: Credentials) -> Credentials:
    """The same, if it can be used: told when a client is made, not when it connects. Raises InvalidAddress."""
    if credentials is not None and not callable(credentials):
        _pair(credentials, "credentials")
    return credentials


async def resolve(
    credentials: Credentials, address: Address, environ: Mapping[str, str] | None = None
) -> Pair:
    """User and password for one connect to `address`.

    In this order: what was given to `connect` (a pair, or what the callable returns, awaited if need be); what the
    URL says; $LEVERET_USER with $LEVERET_PASSWORD; guest, guest. Raises InvalidAddress for what is no pair of texts,
    and whatever the callable raises.
    """
    if callable(credentials):
        found = credentials()
        if inspect.isawaitable(found):
            found = await found
        return _pair(found, "what the credentials callable returned")
    if credentials is not None:
        return _pair(credentials, "credentials")
    if address.has_credentials:
        return address.user, address.password
    variables = os.environ if environ is None else environ
    user, password = variables.get(USER_VARIABLE), variables.get(PASSWORD_VARIABLE)
    if user is None and password is None:
        return address.user, address.password
    if user is None or password is None:
        missing = USER_VARIABLE if user is None else PASSWORD_VARIABLE
        raise InvalidAddress(
            f"${USER_VARIABLE} and ${PASSWORD_VARIABLE} belong together, and ${missing} is not set"
        )
    return user, password


def _pair(value: object, what: str) -> Pair:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        user, password = value
        if isinstance(user, str) and isinstance(password, str):
            return user, password
    raise InvalidAddress(f"{what} must be a pair of texts, (user, password); it is {_kind(value)}")


def _kind(value: object) -> str:
    """What it is, by types alone: a value could be the password."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of ({', '.join(type(part).__name__ for part in value)})"
    return f"of type {type(value).__name__}"
