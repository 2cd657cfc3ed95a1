"""Where the broker is to be found changes: several addresses, a name that means another host, a port that refuses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final

import pytest

from leveret.errors import Closed, ConnectFailed, Disconnected

from ...compat.broker import Address
from ...compat.waiting import eventually_async
from . import faults
from .brokers import Side
from .harness import Case, deadline, make_client, nothing_left, run
from .proxy import Point, Proxy

HOST: Final = "broker.leveret.test"


@contextlib.asynccontextmanager
async def two(address: Address) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Two ways to the same broker, at two addresses of the loopback interface and one port."""
    async with Proxy(address) as first, Proxy(address, "127.0.0.2", first.address.port) as second:
        yield first, second


@contextlib.asynccontextmanager
async def case_at(proxy: Proxy, side: Side, *urls: str, **options: Any) -> AsyncIterator[Case]:
    case = Case(proxy, side, options, *urls)
    try:
        async with deadline(case), case.client:
            await case.standing.start()
            yield case
            await case.standing.stop()
    finally:
        case.clean()


def played(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with nothing_left():
            await test()

    run(main())


def test_the_second_address_is_taken_when_the_first_refuses(address: Address, side: Side) -> None:
    async def test() -> None:
        async with two(address) as (first, second):
            first.refuse()
            async with case_at(first, side, first.url, second.url):
                assert (first.accepted, second.accepted) == (0, 1)

    played(test)


def test_the_second_address_is_taken_when_the_first_goes(address: Address, side: Side) -> None:
    async def test() -> None:
        async with two(address) as (first, second), case_at(first, side, first.url, second.url) as case:
            queue = case.queue()
            strike = first.at(Point("client", "basic.publish", "middle"), first.cut_and_refuse())
            case.client.post(queue, b"one")
            await case.client.flush(timeout_s=10)
            await strike.happened()
            await case.standing.resumed()
            assert (first.accepted, second.accepted) == (1, 1)
            assert [body for _, body in side.take_all(queue)] == [b"one"]

    played(test)


def test_all_addresses_are_away_for_a_while(address: Address, side: Side) -> None:
    async def test() -> None:
        async with two(address) as (first, second), case_at(first, side, first.url, second.url) as case:
            queue = case.queue()
            second.refuse()
            strike = first.at(Point("client", "basic.publish", "after"), first.cut_and_refuse())
            for number in range(100):
                case.client.post(queue, b"%d" % number)
            await strike.happened()
            with pytest.raises(TimeoutError):
                await case.client.flush(timeout_s=0.05)
            assert case.client.stats.buffered == 100
            await second.admit()
            await case.client.flush(timeout_s=10)
            await case.standing.resumed()
            assert {body for _, body in side.take_all(queue)} == {b"%d" % number for number in range(100)}

    played(test)


def test_the_name_means_another_host(address: Address, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with two(address) as (first, second):
            meant = "127.0.0.1"
            asked: list[str] = []

            async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
                asked.append(host)
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (meant, port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            url = first.url.replace("127.0.0.1", HOST)
            async with case_at(first, side, url) as case:
                assert (first.accepted, second.accepted) == (1, 0)
                meant = "127.0.0.2"
                first.strike_all(faults.reset)
                first.refuse()
                await case.standing.resumed()
                assert (first.accepted, second.accepted) == (1, 1)
                assert set(asked) == {HOST}

    played(test)


def test_the_name_cannot_be_resolved_for_a_while(
    address: Address, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            failures = 0

            async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
                nonlocal failures
                if failures > 0:
                    failures -= 1
                    raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            async with case_at(proxy, side, proxy.url.replace("127.0.0.1", HOST)) as case:
                failures = 3
                proxy.strike_all(faults.reset)
                await case.standing.resumed()
                assert failures == 0

    played(test)


def test_nobody_is_there_says_why_for_each_address(address: Address) -> None:
    async def test() -> None:
        async with two(address) as (first, second):
            first.refuse()
            second.refuse()
            client = make_client(first.url, second.url)
            with pytest.raises(ConnectFailed) as caught:
                await client.open()
            assert f"127.0.0.1:{first.address.port}" in str(caught.value)
            assert f"127.0.0.2:{second.address.port}" in str(caught.value)
            await first.admit()
            async with client:
                assert client.server.product

    played(test)


def test_a_password_that_was_never_right_is_refused_at_once(address: Address) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            proxy.passwords = {"right"}
            client = make_client(proxy.url, credentials=("guest", "wrong"))
            with pytest.raises(ConnectFailed, match="refused") as caught:
                await client.open()
            assert caught.value.code == 403
            assert "wrong" not in str(caught.value)

    played(test)


def test_credentials_may_be_fetched_by_a_coroutine(address: Address, side: Side) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            proxy.passwords = {"1"}
            asked = 0

            async def token() -> tuple[str, str]:
                nonlocal asked
                asked += 1
                await asyncio.sleep(0)
                return "application", str(asked)

            async with case_at(proxy, side, credentials=token) as case:
                proxy.passwords = {"2", "3"}
                proxy.strike_all(faults.connection_close(403, "ACCESS_REFUSED - expired"))
                await case.standing.resumed()
                proxy.strike_all(faults.reset)
                await case.standing.resumed()
                assert asked == 3

    played(test)


def test_a_token_server_may_be_away_for_a_while(address: Address, side: Side) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            proxy.passwords = {"token"}
            answers: list[Callable[[], Awaitable[tuple[str, str]]]] = []

            async def given() -> tuple[str, str]:
                return "application", "token"

            async def failing() -> tuple[str, str]:
                raise RuntimeError("the token server is away")

            async def hanging() -> tuple[str, str]:
                await asyncio.Event().wait()
                raise AssertionError("unreachable")

            async def token() -> tuple[str, str]:
                return await (answers.pop(0) if answers else given)()

            async with case_at(proxy, side, credentials=token, connect_timeout_s=0.3) as case:
                answers[:] = [failing, hanging, failing]
                proxy.strike_all(faults.reset)
                await case.standing.resumed()
                assert answers == []

    played(test)


def test_a_client_that_is_not_to_reconnect_says_so(address: Address, side: Side) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            client = make_client(proxy.url, reconnect=False)
            await client.open()
            waiting = asyncio.ensure_future(anext(aiter(client.subscribe("nobody.knows"))))
            strike = proxy.at(Point("server", "basic.consume_ok", "after"), faults.reset)
            await strike.happened()
            with pytest.raises((Disconnected, Closed)):
                await waiting
            with pytest.raises((Disconnected, Closed)):
                await client.publish("anywhere", b"1")
            await client.close()
            assert proxy.accepted == 1

    played(test)


def test_a_client_can_be_closed_while_nobody_is_there(address: Address, side: Side) -> None:
    async def test() -> None:
        async with Proxy(address) as proxy:
            client = make_client(proxy.url)
            await client.open()
            proxy.refuse()
            proxy.strike_all(faults.reset)
            await eventually_async(lambda: not proxy.open_links(), "the line is cut")
            client.post("anywhere", b"1")
            await client.close(flush_s=0.05)
            with pytest.raises(Closed):
                client.post("anywhere", b"2")

    played(test)
