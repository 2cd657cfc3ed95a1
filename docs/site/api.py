"""The directive that describes a package's public names: what stands in the pages under docs/reference/api.

    ```{api} leveret.client
    ```

Docstrings are Markdown, as the pages are. Nothing is imported: docs/site/public.py reads the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any, ClassVar, Final

import griffe
from docutils import nodes
from docutils.statemachine import StringList
from public import (
    PACKAGES,
    SOURCE,
    Entry,
    Public,
    annotation,
    docstring,
    is_made_by_others,
    members,
    signature,
)
from sphinx.util.docutils import SphinxDirective

# At the beginning, or behind a full stop: `name: `, `one, two: `, `one or two: `; or the words that follow the last
NAMED: Final = re.compile(r"(?:^|(?<=[.;)] ))(?:(\w+(?:(?:, | or | and )\w+)*):|Raises|Returns) ")
FENCE: Final = ":"
DECORATORS: Final = {"staticmethod": "staticmethod", "classmethod": "classmethod"}


def directive(kind: str, head: str, options: list[str], body: list[str], depth: int) -> list[str]:
    """A directive, its fence longer than those within it."""
    fence = FENCE * (6 - depth)
    return [f"{fence}{{py:{kind}}} {head}", *options, "", *body, fence, ""]


def parameters(target: griffe.Object) -> set[str]:
    """The names that a docstring may explain at the beginning of a line."""
    called = target.all_members.get("__init__") if isinstance(target, griffe.Class) else target
    names = {each.name for each in called.parameters} if isinstance(called, griffe.Function) else set()
    return names | (set(target.all_members) if target.is_class else set())


def as_list(text: str, names: set[str]) -> Iterator[str]:
    """`first: what it is. second, third: what these are. Raises X.`, where those are parameters, as a list."""
    for paragraph in text.split("\n\n"):
        found = NAMED.match(paragraph)
        if found and found[1] and _are_names(found[1], names):
            flat = " ".join(line.strip() for line in paragraph.splitlines())
            starts = [each for each in NAMED.finditer(flat) if not each[1] or _are_names(each[1], names)]
            for each, after in zip(starts, [*starts[1:], None], strict=True):
                said = flat[each.end() : after.start() if after else None].strip()
                yield f"* `{each[1]}`: {said}" if each[1] else f"\n{each[0].strip()} {said}"
        else:
            yield from paragraph.splitlines()
        yield ""


def _are_names(text: str, names: set[str]) -> bool:
    return {re.sub("^(?:or|and) ", "", each.strip()) for each in re.split(r",| or | and ", text)} <= names


def documentation(target: griffe.Object) -> list[str]:
    """A docstring; of an attribute that has none, the comment behind it."""
    if text := docstring(target):
        return [*as_list(cleandoc(text), parameters(target)), ""]
    if target.is_attribute and target.endlineno and isinstance(target.filepath, Path):
        _, comment, text = target.lines_collection[target.filepath][target.endlineno - 1].partition("  # ")
        if comment and not text.startswith(("type:", "noqa")):
            return [text, ""]
    return []


def is_raised(target: griffe.Class) -> bool:
    bases = [str(base) for each in [target, *target.mro()] for base in each.bases]
    return any(base in ("Exception", "BaseException") for base in bases)


class Writer:
    """Writes entries as Markdown with Sphinx's Python directives."""

    def __init__(self, public: Public) -> None:
        self.public = public

    def entry(self, entry: Entry) -> list[str]:
        canonical = [f":canonical: {entry.path}"] if entry.path != entry.name else []
        return self.describe(entry.target, entry.name, canonical, 0)

    def describe(self, target: griffe.Object, name: str, options: list[str], depth: int) -> list[str]:
        if isinstance(target, griffe.Class):
            return self.class_(target, name, options, depth)
        if isinstance(target, griffe.Function):
            return self.function(target, name, options, depth)
        assert isinstance(target, griffe.Attribute)
        kind = annotation(self.public, target.annotation)
        if "property" in target.labels:
            return directive("property", name, [*options, f":type: {kind}"], documentation(target), depth)
        typed = [f":type: {kind}"] if kind else []
        valued = [f":value: {target.value}"] if depth == 0 and target.value is not None else []
        return directive(
            "attribute" if depth else "data", name, [*options, *typed, *valued], documentation(target), depth
        )

    def class_(self, target: griffe.Class, name: str, options: list[str], depth: int) -> list[str]:
        body = documentation(target)
        bases = [annotation(self.public, base) for base in target.bases]
        bases = [
            base for base in bases if not base.startswith("leveret.") or base in self.public.names.values()
        ]
        body += [f"Derives from {', '.join(f'`{base}`' for base in bases)}.", ""] if bases else []
        for member in members(self.public, target):
            body += self.describe(member, member.name, [], depth + 1)
        raised = is_raised(target)
        made = (target.members if raised else target.all_members).get("__init__")
        head = name
        if isinstance(made, griffe.Function) and not is_made_by_others(target):
            head += signature(self.public, made, bound=True).partition(" -> ")[0]
        return directive("exception" if raised else "class", head, options, body, depth)

    def function(self, target: griffe.Function, name: str, options: list[str], depth: int) -> list[str]:
        decorated = {str(each.value).rpartition(".")[2] for each in target.decorators}
        flags = [f":{DECORATORS[each]}:" for each in sorted(decorated & set(DECORATORS))]
        if "async" in target.labels:
            flags.append(":async:")
        bound = bool(depth) and "staticmethod" not in decorated
        kind = "method" if depth else "function"
        *others, last = [signature(self.public, each, bound=bound) for each in target.overloads or [target]]
        lines = []
        for head in others:  # each way to call it; what it does is said below the last
            lines += directive(kind, name + head, [*flags, ":no-index:"], [], depth)
        return [*lines, *directive(kind, name + last, [*options, *flags], documentation(target), depth)]


class Api(SphinxDirective):
    """`{api} PACKAGE`: everything public that this package describes."""

    required_arguments = 1
    has_content = False
    public: ClassVar[Public | None] = None

    def run(self) -> list[nodes.Node]:
        if Api.public is None:
            Api.public = Public()
        public = Api.public
        package = self.arguments[0]
        if package not in PACKAGES:
            raise self.error(f"{package} is none of {', '.join(PACKAGES)}")
        for file in [*(SOURCE / "leveret").rglob("*.py"), *Path(__file__).parent.glob("*.py")]:
            self.env.note_dependency(str(file))
        writer = Writer(public)
        lines = [line for entry in public.entries[package] for line in writer.entry(entry)]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, f"<{package}>"), 0, holder)
        return list(holder.children)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("api", Api)
    return {"parallel_read_safe": True}
