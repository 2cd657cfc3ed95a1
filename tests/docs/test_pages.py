"""Code in the documentation runs and says what is printed there; what cannot run is at least read by its own parser.

What the blocks of a page mean, each page in a folder and with a broker of its own:

* `LANGUAGE file=NAME` is written to a file, whatever its language; any other `python` block is run as it is.
* `console`: the commands after `$` are run one after the other and must print what follows them. `...` stands for
  what varies: alone in a line for any lines, within a line for any text. With `numbers=vary` each number stands for
  any. `console code=3` expects that exit code.
* `console stays` starts a command that goes on. It must print its first line at once (after a `...`: once it comes),
  and by the end of the page all of them. `<!-- stop: COMMAND -->`, which readers do not see, ends it by Ctrl-C.
* `<!-- continues: PAGE -->`: the reader has the files of that page, and a new broker.
* `python fragment` is only parsed, and needs a reason in FRAGMENTS, which may only get shorter.
* `toml` is a configuration of Leveret; `json` and `yaml` are parsed; `dockerfile` is read for instructions there are.
* `sh` names make targets and leveret commands that must be there. `text` is anything else that nobody types.

`amqp://localhost` in a program, a command and $LEVERET_URL is the page's broker; `leveret` is told its directory;
ports 8000 and 8025 are others. `curl` is a stand-in that knows -s and -d.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from leveret import config
from leveret.cli.main import COMMANDS

pytest.importorskip("pika")
pytest.importorskip("yaml")

import yaml

from tests.docs.pages import PAGES, ROOT, STOP, Block, blocks_of, files_before, name_of
from tests.docs.reader import Reader, looks_at_the_broker, running_broker

LANGUAGES: Final = {
    "python", "console", "sh", "toml", "json", "yaml", "dockerfile", "html", "text", "{api}",
}  # fmt: skip
# page: (first line of a fragment, why it cannot run)
FRAGMENTS: Final[dict[str, tuple[str, str]]] = {}
DOCKERFILE: Final = {
    "FROM", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER", "WORKDIR",
    "ARG", "STOPSIGNAL", "HEALTHCHECK", "SHELL",
}  # fmt: skip


def runs(block: Block) -> bool:
    return block.language == "console" or (block.language == "python" and "fragment" not in block.words)


def texts(language: str) -> list[str]:
    return [block.text for page in PAGES for block in blocks_of(page) if block.language == language]


RUNNABLE: Final = [page for page in PAGES if any(runs(block) for block in blocks_of(page))]


@pytest.fixture
def reader(page: Path, tmp_path: Path) -> Iterator[Reader]:
    """One a page, so that a page finds what it says it finds."""
    folder = tmp_path / "reader"
    folder.mkdir()
    with running_broker(tmp_path, of_its_own=any(map(looks_at_the_broker, blocks_of(page)))) as broker:
        reader = Reader(broker, folder)
        try:
            yield reader
        finally:
            reader.end()


def follow(page: Path, reader: Reader) -> None:
    """Everything that a page has its reader do."""
    for name, text in files_before(page).items():
        reader.write(name, text)
    for block in blocks_of(page):
        name = block.option("file")
        if name:
            reader.write(name, block.text)
        elif block.language == STOP:
            reader.stop(block.text)
        elif block.language == "console":
            reader.console(block)
        elif runs(block):
            reader.python(block.text)
    reader.finish()


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_code_runs_and_prints_what_the_page_says(page: Path, reader: Reader) -> None:
    follow(page, reader)


def test_configurations_can_be_used(tmp_path: Path) -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "toml" and block.option("file"):
                tomllib.loads(block.text)
            elif block.language == "toml":
                file = tmp_path / "leveret.toml"
                file.write_text(block.text)
                config.load(file, environ={})


def test_yaml_is_yaml_and_kubernetes_objects_have_what_each_needs() -> None:
    for text in texts("yaml"):
        for found in yaml.safe_load_all(text):
            assert isinstance(found, dict)
            if "apiVersion" in found or "kind" in found:
                assert {"apiVersion", "kind", "metadata"} <= found.keys(), text
                assert "name" in found["metadata"], text


def test_json_is_json() -> None:
    for text in texts("json"):
        json.loads(text)


def test_dockerfiles_have_known_instructions() -> None:
    for text in texts("dockerfile"):
        lines = re.sub(r"\\\n", " ", text).splitlines()
        said = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        assert set(said) <= DOCKERFILE
        assert next(word for word in said if word != "ARG") == "FROM"


def test_fragments_can_be_parsed_and_have_a_reason() -> None:
    found = {}
    for page in PAGES:
        for block in blocks_of(page):
            if "fragment" in block.words:
                assert block.language == "python"
                ast.parse(block.text)
                found[name_of(page)] = block.text.splitlines()[0]
    assert found == {page: first for page, (first, _) in FRAGMENTS.items()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_blocks_name_what_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks_of(page):
        if block.language == "sh":
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    del words[0]
                if words[:1] == ["make"]:
                    assert {w for w in words[1:] if "=" not in w} <= targets, line
                elif words[:1] == ["leveret"]:
                    assert words[1] in COMMANDS or words[1] == "--version", line


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        fences = [line[3:] for line in page.read_text().splitlines() if line.startswith("```")]
        assert {fence.partition(" ")[0] for fence in fences[::2]} <= LANGUAGES, name_of(page)
        assert set(fences[1::2]) <= {""}, name_of(page)
