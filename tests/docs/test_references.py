"""References are not stale, links lead somewhere, and nothing is missing from what claims to be complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("pika")

from leveret import Backoff, Buffer
from leveret.core import retry
from leveret.wire import methods
from tests.docs.pages import DOCS, PAGES, ROOT, name_of
from tests.docs.reader import environment

LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, (
                target
            )


def test_generated_references_are_not_stale() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_argument_and_header_in_the_code_is_in_the_reference() -> None:
    page = "".join([(DOCS / "reference" / name).read_text() for name in ("queues.md", "stomp.md")])
    source = ROOT / "src" / "leveret"
    named: set[str] = set()
    for folder in ("core", "protocol"):
        for file in (source / folder).rglob("*.py"):
            named |= set(re.findall(r'b?"(x-[a-z-]+[a-z])"', file.read_text()))
    named |= {
        f"x-{when}-death-{what}" for when in ("first", "last") for what in ("queue", "reason", "exchange")
    }
    named.discard("x-del")  # how three of them begin
    assert len(named) > 40
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_every_key_of_a_retry_policy_is_explained() -> None:
    page = (DOCS / "how-to" / "retry-with-back-off.md").read_text()
    assert {key for key in retry.KEYS if f"| `{key}` |" not in page} == set()


def test_every_method_has_its_place_in_the_compatibility_table() -> None:
    table = (DOCS / "reference" / "compatibility.md").read_text()
    named: set[str] = set()
    for row in re.findall(r"^\| (`[^|]*) \|", table.partition("## Arguments")[0], re.MULTILINE):
        family = ""
        for name in re.findall(r"`([a-z.-]+)`", row):
            family = name.partition(".")[0] if "." in name else family
            named.add(name if "." in name else f"{family}.{name}")
    known = {name.replace("_", "-") for name in methods.NAMES.values()}
    assert known - named == set()
    assert named - known == set()


@pytest.mark.parametrize("section", sorted(DOCS.rglob("README.md")), ids=name_of)
def test_every_page_is_in_the_index_of_its_section(section: Path) -> None:
    links = {(section.parent / link).resolve() for link in LINK.findall(section.read_text())}
    pages = {page for page in section.parent.glob("*.md") if page != section}
    pages |= set(section.parent.glob("*/README.md"))
    assert sorted(name_of(page) for page in pages - links) == []


def test_explanations_name_the_defaults_there_are() -> None:
    backoff, buffer = Backoff(), Buffer()
    page = (DOCS / "explanation" / "reconnecting.md").read_text()
    assert f"{backoff.first_s:g} s, {backoff.first_s * backoff.multiplier:g} s" in page
    assert f"up to {backoff.max_s:g} s" in page
    page = (DOCS / "explanation" / "producers-never-wait.md").read_text()
    assert f"{buffer.messages:,} and {buffer.size_bytes >> 20} MiB" in page
    assert f'| `"{buffer.full}"` (default) |' in page
