"""The style guide as a test: layers, lengths, and words that are not to be used where they harm.

An exception to a length is a line in a list below, with its reason; the lists may only get shorter.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "leveret"
FILE_LINES: Final = 550  # about 500
FUNCTION_LINES: Final = 70

# Imports point strictly downwards: to a lower number, or stay in their own package. `core` and `store` are of one
# layer and do not know each other.
LAYERS: Final = {
    "errors": 0, "limits": 0, "_version": 0, "native": 0, "busypoll": 0,
    "wire": 1, "ranges": 1, "build": 1,
    "message": 2, "clock": 2, "seams": 2,
    "journal": 3,
    "core": 4, "store": 4,
    "protocol": 5,
    "config_values": 5, "config": 6, "logs": 6,
    "server": 7,
    "cli": 8, "embed": 8,
    "testing": 9, "__main__": 9,
    "client": 2, "worker": 3, "benchmark": 3,
}  # fmt: skip
# What an application uses: it may not reach into the broker.
ONLY: Final = {
    "client": {"wire", "errors", "limits", "_version", "native", "busypoll"},
    "worker": {"client", "errors", "limits", "_version"},
    "benchmark": {"client", "wire", "errors", "limits", "_version", "native"},
}
EDGES: Final = {"server", "client", "worker", "cli", "embed", "testing", "benchmark"}

LONG_FILES: Final[dict[str, str]] = {}
LONG_FUNCTIONS: Final[dict[str, str]] = {
    "src/leveret/protocol/amqp091/peer.py:publish": "the short way of a publish is one pass over its frames",
}


def python_files(*folders: str) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    return sorted(found)


SOURCES: Final = python_files("src")
TESTS: Final = python_files("tests")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def part_of(path: Path) -> str:
    """The package or module right below `leveret` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Full names of what a file imports, relative imports and type-checking ones left in."""
    found: list[str] = []
    package = ["leveret", *path.relative_to(SOURCE).parts[:-1]] if path.is_relative_to(SOURCE) else []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" if module == "leveret" else module for alias in node.names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    here = part_of(path)
    if here == "__init__":
        return
    assert here in LAYERS, f"leveret.{here} has no layer: give it one"
    for name in imported(path):
        if not name.startswith("leveret."):
            continue
        there = name.split(".")[1]
        if there == here or there == "__version__":
            continue
        assert LAYERS[there] < LAYERS[here], f"leveret.{here} may not import leveret.{there}"
        assert there in ONLY.get(here, {there}), f"leveret.{here} may not import leveret.{there}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_edges_know_loops_and_sockets(path: Path) -> None:
    if part_of(path) in EDGES:
        return
    found = {name.split(".")[0] for name in imported(path) if name != "uvloop._version"}
    assert not found & {"asyncio", "uvloop", "socket", "selectors", "ssl"}
    assert not [
        node.lineno for node in ast.walk(tree(path)) if isinstance(node, (ast.AsyncFunctionDef, ast.Await))
    ]


@cache
def build_script() -> ModuleType:
    """setup.py, whose call of `setup` is kept from running."""
    source = (ROOT / "setup.py").read_text().replace("\nsetup(", "\n0 and setup(")
    spec = importlib.util.spec_from_loader("leveret_setup", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(ROOT / "setup.py")
    exec(compile(source, "setup.py", "exec"), module.__dict__)
    return module


def test_hot_code_calls_only_what_is_compiled_with_it() -> None:
    pytest.importorskip("setuptools")
    hot = {name.removesuffix(".py") for name in build_script().HOT}
    for path in SOURCES:
        if part_of(path) in hot:
            used = {name.split(".")[1] for name in imported(path) if name.startswith("leveret.")}
            assert used <= hot | {"errors", "native"}, (
                f"{name_of(path)} imports what setup.py does not compile"
            )


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_files_say_what_they_are_for_and_are_short(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(tree(path)), "a file opens with what it is for"
    lines = text.count("\n")
    assert lines <= FILE_LINES or name_of(path) in LONG_FILES, f"{lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            allowed = f"{name_of(path)}:{node.name}" in LONG_FUNCTIONS
            assert lines <= FUNCTION_LINES or allowed, f"{node.name} has {lines} lines"


def test_no_exception_is_kept_that_nothing_needs() -> None:
    for name in LONG_FILES:
        assert (ROOT / name).read_text().count("\n") > FILE_LINES, f"{name} is short now"
    for name in LONG_FUNCTIONS:
        path, function = name.split(":")
        lengths = [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(tree(ROOT / path))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == function
        ]
        assert lengths, f"{name} is gone"
        assert max(lengths) > FUNCTION_LINES, f"{name} is short now"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_prints_but_the_command_line(path: Path) -> None:
    if part_of(path) == "cli":
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def _sleeps(path: Path) -> list[int]:
    """Lines that sleep for a time; `asyncio.sleep(0)` only lets the loop turn."""
    found: list[int] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            name = (
                called.attr
                if isinstance(called, ast.Attribute)
                else called.id
                if isinstance(called, ast.Name)
                else ""
            )
            zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if name == "sleep" and not zero:
                found.append(node.lineno)
    return found


# Polls a process of another's making, with a deadline: there is nothing to be told by.
POLLING: Final = {
    "tests/compat/waiting.py",
    "tests/compat/test_aio_pika.py",
    "tests/apps/celery_app.py",
    "tests/apps/dramatiq_app.py",
    "tests/apps/taskiq_app.py",
    "tests/differential/play.py",  # and RabbitMQ has no clock that a test could move
}


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_sleeps(path: Path) -> None:
    assert name_of(path) in POLLING or not _sleeps(path)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_typography(path: Path) -> None:
    text = path.read_text()
    assert "\N{EM DASH}" not in text
    assert "\t" not in text


def _forgotten(function: ast.FunctionDef) -> list[str]:
    """Attributes that a function sets to None and reads further down, as `self.held` and line."""
    cleared: dict[str, int] = {}
    found: list[str] = []
    nodes = [node for node in ast.walk(function) if isinstance(node, (ast.Assign, ast.Attribute))]
    for node in sorted(nodes, key=lambda node: (node.lineno, isinstance(node, ast.Attribute))):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute):
                    cleared.pop(ast.unparse(target), None)
                    if isinstance(node.value, ast.Constant) and node.value.value is None:
                        cleared[ast.unparse(target)] = node.end_lineno or node.lineno
        elif isinstance(node.ctx, ast.Load) and node.lineno > cleared.get(ast.unparse(node), node.lineno):
            found.append(f"{ast.unparse(node)} in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_compiled_code_does_not_read_again_what_it_set_to_none(path: Path) -> None:
    """mypy takes it to be None still, whatever was called in between, and mypyc makes that a check that fails."""
    if part_of(path) not in {name.removesuffix(".py") for name in build_script().HOT}:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert not _forgotten(node), f"{node.name}: ask through a method, or keep it in a local"
