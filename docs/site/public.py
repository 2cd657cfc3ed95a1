"""What Leveret makes public: names, signatures and docstrings, read from the source and never imported.

Public is what a package below has in its `__all__`. Each thing is described once: in the first of `PACKAGES` that has
it, under the shortest name by which it can be had (`leveret.connect` rather than `leveret.client.connect`). Used by
the site's `api` directive and by the tests; knows griffe, and nothing of Sphinx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import griffe

SOURCE: Final = Path(__file__).resolve().parent.parent.parent / "src"
ROOT: Final = "leveret"
# In this order; the root, which repeats what the others have, is last and describes what is left.
PACKAGES: Final = ("leveret.client", "leveret.worker", "leveret.embed", "leveret.testing", ROOT)
# By which options are declared, and what a store of one's own has to give.
ALSO: Final = {
    "leveret.worker": ("consumer.Counts", "declared.Settings", "idempotency.Answer", "idempotency.Claim"),
}
# The broker's own, which an embedded one gives access to: named in signatures, described in the source.
INTERNAL: Final = ("leveret.clock", "leveret.core", "leveret.message", "leveret.server", "leveret.wire")
# Not public, and named in public signatures all the same; to be made public or taken out of them.
HIDDEN: Final = frozenset(
    {
        "leveret.client.address.Dialer",  # an embedded broker, for whoever is given one
        "leveret.client.engine.message.Ready",  # an awaitable that is done
        "leveret.embed.thread.LoopThread",
        "leveret.testing.worker.AppInTest",
        "leveret.worker.interfaces.MiddlewareHooks",  # what Middleware is, for who does not inherit from it
        "leveret.worker.schedule.Schedule",
    }
)
# Methods of public classes by which other parts of Leveret use them.
PARTS: Final = frozenset(
    {
        "Binding.put", "Binding.put_unbind", "Exchange.put",
        "Queue.put", "Queue.table", "Queue.needs", "Queue.named", "Queue.with_dead_letter", "Retry.policy",
        "Client.link", "Client.publishing_closed", "Features.demand", "Serializers.find",
        "Message.__init__", "Message.hold", "Message.finish", "Message.undo", "Message.drop",
        "Consumer.drop", "Consumer.resume", "SyncConsumer.__init__", "SyncMessage.__init__",
        "App.chosen", "App.use", "Handler.__init__", "Handler.child_runner", "Task.__init__", "Running.crons", "Counts.plus",
        "LeveretApp.close", "RunningApp.start", "RunningApp.stop",
    }
)  # fmt: skip
# What one looks for comes first; the rest follows by name.
FIRST: Final = (
    "connect",
    "connect_sync",
    "Client",
    "Consumer",
    "Message",
    "SyncClient",
    "App",
    "Task",
    "LeveretBroker",
)
SHOWN: Final = ("__call__",)  # with two underscores, and yet for users


@dataclass(frozen=True)
class Entry:
    """One public thing."""

    name: str  # by which users have it: leveret.connect
    target: griffe.Object  # what that is in the end

    @property
    def path(self) -> str:
        """Where it is defined: leveret.client.client.connect."""
        return self.target.path


class Public:
    """All that is public, by the package that describes it."""

    def __init__(self, source: Path = SOURCE) -> None:
        loader = griffe.GriffeLoader(search_paths=[source], allow_inspection=False)
        self.root = loader.load(ROOT)
        loader.resolve_aliases()
        self.entries: dict[str, list[Entry]] = {}
        self.names: dict[str, str] = {}  # path of a definition: the name it is described by
        self.unknown: list[str] = []  # in an __all__, and not to be found
        short = {found.path: name for name in self._listed(ROOT) if (found := self._target(name)) is not None}
        for package in PACKAGES:
            self.entries[package] = []
            for name in self._listed(package):
                target = self._target(name)
                if target is None:
                    self.unknown.append(name)
                elif target.path not in self.names and not target.is_module:
                    entry = Entry(short.get(target.path, name), target)
                    self.names[target.path] = entry.name
                    self.entries[_home(target.path) or package].append(entry)

        for entries in self.entries.values():
            entries.sort(key=_place)

    def _listed(self, package: str) -> list[str]:
        """The names of a package's `__all__`, in full."""
        if package == ROOT:
            module = self.root
        elif package.removeprefix(ROOT + ".") in self.root.members:
            module = self.root[package.removeprefix(ROOT + ".")]
        else:
            return []
        names = [name for each in module.exports or () for name in _exported(module, each)]
        names += ALSO.get(package, ())
        return [f"{package}.{name}" for name in names if not name.startswith("__")]

    def _target(self, name: str) -> griffe.Object | None:
        try:
            found: griffe.Object | griffe.Alias = self.root[name.removeprefix(ROOT + ".")]
            return found.final_target if isinstance(found, griffe.Alias) else found
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None

    def all(self) -> Iterator[Entry]:
        for entries in self.entries.values():
            yield from entries

    def alias(self, path: str) -> griffe.Expr | None:
        """What a name of a type stands for, if it is short for that, and not public."""
        found = self._target(path)
        if found is None or not isinstance(found, griffe.Attribute) or found.path in self.names:
            return None
        return found.value if isinstance(found.value, griffe.Expr) and not _is_variable(found) else None

    def link(self, path: str) -> str:
        """A name as it stands in a signature: in full, where it is described; of what is not, the last part."""
        found = self._target(path)
        if found is None:
            return path.rpartition(".")[2]  # what others wrote, under a name of ours
        defined = found.path
        if (
            _is_variable(found)
            or defined in HIDDEN
            or defined.startswith(tuple(f"{each}." for each in INTERNAL))
        ):
            return found.name
        return self.name_of(defined)

    def name_of(self, path: str) -> str:
        """The name by which what is defined at `path` is described; `path` itself if it is not."""
        known = self.names.get(path)
        if known is not None:
            return known
        parent, _, last = path.rpartition(".")
        return f"{self.name_of(parent)}.{last}" if parent else path


def _place(entry: Entry) -> tuple[int, str]:
    name = entry.target.name
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _home(path: str) -> str:
    """The package that something is defined in, if it is one of those that have a page."""
    return next((package for package in PACKAGES if package != ROOT and path.startswith(f"{package}.")), "")


def _exported(module: griffe.Object | griffe.Alias, each: str | griffe.Expr) -> list[str]:
    """An entry of `__all__`: a name, or all the keys of a dict of the module (`[*WHERE]`)."""
    if isinstance(each, str):
        return [each]
    keys = module[str(each)].value.keys
    return [str(key).strip("'\"") for key in keys]


def _is_variable(found: griffe.Object) -> bool:
    return isinstance(found, griffe.Attribute) and str(found.value).startswith(("TypeVar(", "ParamSpec("))


def members(public: Public, target: griffe.Object) -> Iterator[griffe.Object]:
    """What users see of a class: its own members, then what it has from classes that are not public themselves."""
    assert isinstance(target, griffe.Class)
    hidden = [base for base in target.mro() if base.path.startswith(ROOT) and base.path not in public.names]
    seen: set[str] = set()
    for owner in [target, *hidden]:
        for member in owner.members.values():
            private = member.name.startswith("_") and not (member.name in SHOWN and member.has_docstring)
            if isinstance(member, griffe.Alias) or private or member.name in seen:
                continue
            seen.add(member.name)  # what overrides another decides for both
            if _is_for_users(target, member) and (
                member.is_function or member.is_attribute or member.is_class
            ):
                yield member


def _is_for_users(target: griffe.Object, member: griffe.Object) -> bool:
    """Not what stands below a line such as `# ---- for the parts`, is listed as a part's, or is a mere attribute of an
    instance that its class says nothing of."""
    owner = member.parent
    assert owner is not None
    if f"{target.name}.{member.name}" in PARTS:
        return False
    fields = "dataclass" in owner.labels
    if "instance-attribute" in member.labels and "class-attribute" not in member.labels and not fields:
        explained = re.search(rf"`{member.name}`|^ *{member.name}: ", docstring(owner), re.MULTILINE)
        return bool(docstring(member)) or explained is not None
    if isinstance(member.filepath, Path) and member.lineno and owner.lineno:
        above = member.lines_collection[member.filepath][owner.lineno : member.lineno]
        section = next((line.strip() for line in reversed(above) if line.strip().startswith("# ---- ")), "")
        return not section.startswith("# ---- for ") or "application" in section
    return True


def is_made_by_others(target: griffe.Object) -> bool:
    """A class whose docstring says who makes its instances: how it is constructed is nobody's business."""
    made = re.search(r"\b[Mm]ade by `", docstring(target)) is not None
    return made or f"{target.name}.__init__" in PARTS


def docstring(target: griffe.Object) -> str:
    """Its docstring, or that of what it overrides; empty if there is none."""
    if target.docstring:
        return target.docstring.value
    if isinstance(target.parent, griffe.Class):
        for base in target.parent.mro():
            above = base.members.get(target.name)
            if isinstance(above, griffe.Object) and above.docstring:
                return above.docstring.value
    return ""


def undocumented(public: Public) -> list[str]:
    """Public classes, functions and methods without a docstring, and modules' values without one."""
    found = []
    for entry in public.all():
        if not docstring(entry.target):
            found.append(entry.name)
        if entry.target.is_class:
            found += [
                f"{entry.name}.{member.name}"
                for member in members(public, entry.target)
                if not member.is_attribute and not docstring(member)
            ]
    return found


def annotation(public: Public, value: str | griffe.Expr | None) -> str:
    """A type as text, Leveret's own names in full, so that they can be linked."""
    if value is None or isinstance(value, str):
        return value or ""
    text = []
    for part in value.iterate(flat=True):
        if isinstance(part, griffe.ExprName) and part.canonical_path.startswith(ROOT + "."):
            meant = public.alias(part.canonical_path)
            text.append(annotation(public, meant) if meant is not None else public.link(part.canonical_path))
        elif isinstance(part, griffe.ExprName) and part.name == "type":
            text.append("builtins.type")  # or Sphinx takes it for an attribute of that name
        else:
            text.append(str(part))
    return "".join(text).strip("'\"")


def signature(public: Public, function: griffe.Function, *, bound: bool) -> str:
    """`(a: int, *, b: str = "x") -> int`; `bound` leaves out the first parameter."""
    shown = list(function.parameters)
    if bound and shown:
        shown = shown[1:]
    parts: list[str] = []
    kinds = griffe.ParameterKind
    starred = False
    for number, parameter in enumerate(shown):
        if parameter.kind is kinds.keyword_only and not starred:
            parts.append("*")
            starred = True
        starred = starred or parameter.kind is kinds.var_positional
        prefix = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(parameter.kind, "")
        kind = annotation(public, parameter.annotation)
        text = f"{prefix}{parameter.name}" + (f": {kind}" if kind else "")
        if parameter.default is not None and not prefix:
            text += f" = {parameter.default}" if kind else f"={parameter.default}"
        parts.append(text)
        following = shown[number + 1 :]
        if parameter.kind is kinds.positional_only and not (
            following and following[0].kind is kinds.positional_only
        ):
            parts.append("/")
    returns = annotation(public, function.returns)
    return f"({', '.join(parts)})" + (f" -> {returns}" if returns else "")
