"""Every public name is described on a page of the reference, and has a docstring."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from tests.docs.pages import DOCS, blocks_of

pytest.importorskip("griffe")

# Public, and without a docstring; may only get shorter.
UNDOCUMENTED: Final = frozenset(
    {
        "leveret.embed.MovableClock.monotonic_ms",
        "leveret.embed.MovableClock.wall_ms",
        "leveret.testing.ANY",
        "leveret.worker.SystemClock.now_s",
        "leveret.worker.SystemClock.wait_s",
    }
)


@cache
def site() -> ModuleType:
    """docs/site/public.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("leveret_docs_public", DOCS / "site" / "public.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def public() -> Any:
    return site().Public()


def test_each_package_has_its_page_and_only_one() -> None:
    described = [
        block.words[0]
        for page in sorted((DOCS / "reference" / "api").glob("*.md"))
        for block in blocks_of(page)
        if block.language == "{api}"
    ]
    assert sorted(described) == sorted(site().PACKAGES)


def test_what_is_exported_is_there() -> None:
    assert public().unknown == []
    assert list(public().all())


def test_all_that_is_public_has_a_docstring() -> None:
    assert sorted(set(site().undocumented(public())) ^ UNDOCUMENTED) == []


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    """A Leveret with a client that lacks docstrings and a name."""
    package = tmp_path / "leveret" / "client"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text('"""Root."""\n')
    (package / "__init__.py").write_text(
        "from leveret.client.deep import Client, bare\n__all__ = ['Client', 'bare', 'gone']\n"
    )
    (package / "deep.py").write_text(
        "class Part:\n"
        "    def event(self) -> None:\n"
        '        """What others of ours call."""\n'
        "class Client(Part):\n"
        '    """A client."""\n'
        "    def open(self) -> None: ...\n"
        "    def _hidden(self) -> None: ...\n"
        "    # ---- for the parts\n"
        "    def event(self) -> None: ...\n"
        'def bare(client: Client, *, name: str = "x", **more: int) -> list[Client]: ...\n'
    )
    return site().Public(source=tmp_path)


def test_a_docstring_or_a_name_that_is_missing_is_found(fake: Any) -> None:
    assert site().undocumented(fake) == ["leveret.client.Client.open", "leveret.client.bare"]
    assert fake.unknown == ["leveret.client.gone"]


def test_what_is_for_the_parts_is_not_shown_by_its_base(fake: Any) -> None:
    client = next(each for each in fake.all() if each.name == "leveret.client.Client")
    assert [member.name for member in site().members(fake, client.target)] == ["open"]


def test_signatures_name_types_as_users_know_them(fake: Any) -> None:
    bare = next(each for each in fake.all() if each.name == "leveret.client.bare")
    told = site().signature(fake, bare.target, bound=False)
    client = "leveret.client.Client"
    assert told == f"(client: {client}, *, name: str = 'x', **more: int) -> list[{client}]"


def test_no_exception_is_kept_that_nothing_needs() -> None:
    found = public()
    assert sorted(site().HIDDEN & set(found.names)) == [], "these are public now"
    assert [path for path in site().HIDDEN if found.alias(path) is None and found.link(path) == path] == []
    classes = {entry.target.name: entry.target for entry in found.all() if entry.target.is_class}
    for part in site().PARTS:
        name, _, member = part.partition(".")
        assert member in classes[name].all_members, f"{part} is gone"
