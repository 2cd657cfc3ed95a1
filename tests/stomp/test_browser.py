"""The example page in a real browser: it publishes, subscribes, and comes back when its connection is cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.browser.run import Site
from tests.compat.clients import must_get
from tests.compat.proxy import Proxy
from tests.compat.waiting import eventually
from tests.docs.pages import DOCS, blocks_of

from . import browser
from .broker import Ports

pytestmark = pytest.mark.timeout(180)  # the first has npm's and the browser's time too
HOW_TO = DOCS / "how-to" / "talk-to-the-broker-from-a-web-page.md"
STATE = "document.querySelector('#state')?.className"
BOARD = "[...document.querySelectorAll('#board li')].map((item) => item.textContent)"
OUTBOX = "[...document.querySelectorAll('#outbox li')].map((item) => item.textContent)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    program = browser.find()
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with browser.Browser(program) as running:
        yield running


@pytest.fixture(scope="module")
def site(node_modules: Path) -> Iterator[Site]:
    running = Site(node_modules / "@stomp" / "stompjs")
    yield running
    running.close()


@pytest.fixture
def key(fresh: Callable[..., str]) -> str:
    return fresh("board")


@pytest.fixture
def open_page(chromium: browser.Browser, site: Site, ports: Ports, key: str) -> Callable[..., browser.Page]:
    def open_one(port: int = ports.web.port, **options: str) -> browser.Page:
        url = site.url(broker=f"ws://127.0.0.1:{port}/ws", topic=f"/topic/{key}", **options)
        return chromium.open(url)

    return open_one


@pytest.fixture
def others(ch: Any, key: str) -> str:
    """An AMQP queue that gets what is written on the board."""
    name = str(ch.queue_declare("", exclusive=True).method.queue)
    ch.queue_bind(name, "amq.topic", key)
    return name


def write(page: browser.Page, text: str) -> None:
    page.value("document.querySelector('input').focus()")
    page.type(text)
    page.press_enter()


def post(ch: Any, key: str, text: str) -> None:
    ch.basic_publish("amq.topic", key, json.dumps({"text": text}).encode())


def test_what_one_page_writes_all_see(open_page: Callable[..., browser.Page], ch: Any, others: str) -> None:
    pages = [open_page(), open_page()]
    for page in pages:
        page.await_value(STATE, "connected")
    write(pages[0], "žluťoučký <b>kůň</b>")
    for page in pages:
        page.await_value(BOARD, ["žluťoučký <b>kůň</b>"])
    pages[0].await_value(OUTBOX, [])
    found = must_get(ch, others, auto_ack=True)
    assert json.loads(found.body) == {"text": "žluťoučký <b>kůň</b>"}
    assert (found.properties.content_type, found.properties.delivery_mode) == ("application/json", 2)


def test_what_amqp_publishes_is_on_the_page(
    open_page: Callable[..., browser.Page], ch: Any, key: str
) -> None:
    page = open_page()
    page.await_value(STATE, "connected")
    for n in range(50):
        post(ch, key, f"number {n}")
    page.await_value(BOARD, [f"number {n}" for n in range(50)])


def test_it_comes_back_and_sends_what_waits(
    open_page: Callable[..., browser.Page], web_proxy: Proxy, ch: Any, key: str, others: str
) -> None:
    page = open_page(web_proxy.address.port)
    page.await_value(STATE, "connected")
    write(page, "before")
    page.await_value(BOARD, ["before"])
    page.await_value(OUTBOX, [])
    with web_proxy.refusing():
        web_proxy.cut()
        page.await_value(STATE, "waiting")
        write(page, "meanwhile")
        page.await_value(OUTBOX, ["meanwhile"])
    page.await_value(STATE, "connected")
    page.await_value(OUTBOX, [])
    post(ch, key, "after")
    page.await_value(BOARD, ["before", "meanwhile", "after"])
    assert [json.loads(must_get(ch, others, auto_ack=True).body)["text"] for _ in range(3)] == [
        "before", "meanwhile", "after",
    ]  # fmt: skip


def test_the_page_of_the_how_to(
    chromium: browser.Browser,
    node_modules: Path,
    tmp_path: Path,
    ports: Ports,
    ch: Any,
    fresh: Callable[..., str],
) -> None:
    """As it stands there, but for the port and the names."""
    orders, prices = fresh(), fresh("prices")
    (page,) = [block.text for block in blocks_of(HOW_TO) if block.option("file") == "page.html"]
    for old, new in (
        (":15674", f":{ports.web.port}"),
        ("/page-orders", f"/{orders}"),
        ("/prices.gold", f"/{prices}"),
    ):
        assert page.count(old) == 1
        page = page.replace(old, new)
    (tmp_path / "page.html").write_text(page)
    site = Site(node_modules / "@stomp" / "stompjs", folder=tmp_path)
    try:
        opened = chromium.open(site.url())

        def priced() -> bool:  # once it has subscribed
            ch.basic_publish("amq.topic", prices, b'{"price": 5}')
            return bool(opened.value("document.querySelector('#price')?.textContent") == "5")

        eventually(priced, "the price")
        opened.value("document.querySelector('button').click()")
        opened.await_value("document.querySelector('#order').textContent", "ordered")
        assert json.loads(must_get(ch, orders, auto_ack=True).body) == {"item": "gold"}
    finally:
        site.close()


def test_a_wrong_password_is_told(open_page: Callable[..., browser.Page]) -> None:
    page = open_page(passcode="wrong")
    page.await_value("document.querySelector('#state')?.textContent", "refused: Bad CONNECT")
