"""The documentation's pages and what is in them: blocks of code, and marks for the tests that readers do not see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
BLOCK: Final = re.compile(
    r"^```(?P<language>[\w{}]+)(?P<info>[^\n]*)\n(?P<text>.*?)^```$|^<!-- stop: (?P<stop>.+?) -->$",
    re.MULTILINE | re.DOTALL,
)
CONTINUES: Final = re.compile(r"^<!-- continues: (.+?) -->$", re.MULTILINE)
STOP: Final = "stop"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block; or, with the language `stop`, a mark that a command which stays is ended here by Ctrl-C."""

    language: str
    words: tuple[str, ...]
    text: str

    def option(self, name: str) -> str:
        """`file=a.py` has the option `file`; empty if there is none."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), "")


def blocks_of(page: Path) -> list[Block]:
    found = []
    for each in BLOCK.finditer(page.read_text()):
        if each["stop"]:
            found.append(Block(STOP, (), each["stop"]))
        else:
            found.append(Block(each["language"], tuple(each["info"].split()), each["text"]))
    return found


def files_of(page: Path) -> dict[str, str]:
    """What a reader has written when he is through with a page and with those that it continues."""
    before = CONTINUES.search(page.read_text())
    found = files_of(page.parent / before[1]) if before else {}
    return {
        **found,
        **{block.option("file"): block.text for block in blocks_of(page) if block.option("file")},
    }


def files_before(page: Path) -> dict[str, str]:
    """What a reader has when he begins with a page."""
    before = CONTINUES.search(page.read_text())
    return files_of(page.parent / before[1]) if before else {}
