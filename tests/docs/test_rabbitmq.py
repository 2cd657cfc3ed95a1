"""What the tutorial says of RabbitMQ: the same programs run there. Needs Debian's package; `make matrix` runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("pika")
pytest.importorskip("starlette")

from tests.differential.brokers import broker as started
from tests.docs.pages import DOCS, blocks_of, name_of
from tests.docs.reader import Broker, Reader, looks_at_the_broker
from tests.docs.test_pages import follow

SERVER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
PAGES: Final = sorted((DOCS / "tutorial" / "mail").glob("[3-5]*.md"))

pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="RabbitMQ is not installed")


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Broker]:
    with (
        tempfile.TemporaryDirectory(prefix="leveret-docs-", ignore_cleanup_errors=True) as folder,
        started("rabbitmq", Path(folder)) as address,
    ):
        yield Broker(address.port, Path(folder))


def test_the_pages_are_there() -> None:
    assert len(PAGES) == 3
    assert not any(looks_at_the_broker(block) for page in PAGES for block in blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_true_of_rabbitmq_too(page: Path, rabbitmq: Broker, tmp_path: Path) -> None:
    reader = Reader(rabbitmq, tmp_path)
    try:
        follow(page, reader)
    finally:
        reader.end()
