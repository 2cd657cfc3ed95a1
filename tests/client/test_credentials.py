"""Where user and password come from, in which order, and that errors show none of it."""

from __future__ import annotations

import asyncio

import pytest

from leveret.client.address import parse_url
from leveret.client.credentials import Credentials, checked, resolve
from leveret.errors import InvalidAddress

PLAIN = parse_url("amqp://host")[0]
NAMED = parse_url("amqp://url:of-the-url@host")[0]
BOTH = {"LEVERET_USER": "env", "LEVERET_PASSWORD": "of-env"}


def asked(credentials: Credentials, address: object = PLAIN, environ: dict[str, str] | None = None) -> object:
    assert address in (PLAIN, NAMED)
    return asyncio.run(resolve(credentials, PLAIN if address is PLAIN else NAMED, environ or {}))


def test_the_order() -> None:
    assert asked(("me", "mine"), NAMED, BOTH) == ("me", "mine")
    assert asked(None, NAMED, BOTH) == ("url", "of-the-url")
    assert asked(None, PLAIN, BOTH) == ("env", "of-env")
    assert asked(None) == ("guest", "guest")


def test_the_environment_gives_both_or_none() -> None:
    with pytest.raises(InvalidAddress, match=r"\$LEVERET_PASSWORD is not set"):
        asked(None, PLAIN, {"LEVERET_USER": "env"})
    with pytest.raises(InvalidAddress, match=r"\$LEVERET_USER is not set"):
        asked(None, PLAIN, {"LEVERET_PASSWORD": "env"})


def test_a_callable_is_asked_each_time() -> None:
    tokens = iter(["one", "two", "three"])

    def plain() -> tuple[str, str]:
        return "me", next(tokens)

    async def awaited() -> tuple[str, str]:
        await asyncio.sleep(0)
        return "me", next(tokens)

    assert asked(plain, NAMED) == ("me", "one")
    assert asked(awaited, NAMED) == ("me", "two")
    assert asked(plain) == ("me", "three")


def test_what_the_callable_raises_is_raised() -> None:
    def broken() -> tuple[str, str]:
        raise OSError("no token")

    with pytest.raises(OSError, match="no token"):
        asked(broken)


@pytest.mark.parametrize("wrong", ["user:hunter2", ("user",), ("user", b"hunter2"), ("hunter2", "b", "c"), 5])
def test_what_is_no_pair_is_refused_and_not_shown(wrong: object) -> None:
    with pytest.raises(InvalidAddress, match=r"\(user, password\)") as caught:
        checked(wrong)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidAddress, match="callable returned") as caught:
        asked(lambda: wrong)  # type: ignore[arg-type, return-value]
    assert "hunter2" not in str(caught.value)


def test_what_can_be_used_is_left_as_it_is() -> None:
    pair = ("me", "mine")
    assert checked(pair) is pair
    assert checked(None) is None
