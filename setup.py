"""Builds Leveret: compiled with mypyc where there is a C compiler, as plain Python where there is none.

What this file knows: which packages are hot, and how to find out whether they can be compiled. The metadata
is in pyproject.toml. The modules are one mypyc group, so that calls between them are direct C calls, and
they end up in the wheel only: nothing is ever built beside its source, where a stale extension would
quietly win over the edited file.

LEVERET_PURE=1              do not compile
LEVERET_REQUIRE_COMPILED=1  fail where a build would otherwise fall back to plain Python
LEVERET_OPT=0..3            the C compiler's optimisation level (3)
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
HOT = (
    "limits.py",
    "message.py",
    "clock.py",
    "seams.py",
    "journal.py",
    "ranges.py",
    "wire",
    "core",
    "store",
    "protocol",
    "client/engine",
)
BUILDING = {"build", "build_ext", "bdist_wheel", "install"}  # metadata and editable installs compile nothing


def asked(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def say(text: str) -> None:
    print(f"leveret: {text}", file=sys.stderr, flush=True)


def hot_modules() -> list[str]:
    """Paths, relative to the root, of the modules to compile. Package markers stay as they are."""
    found: list[Path] = []
    for name in HOT:
        path = ROOT / "src" / "leveret" / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]


def why_not_compilable() -> str:
    """The reason why C cannot be compiled against this Python, or an empty string if it can."""
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler, get_python_inc

    folder = tempfile.mkdtemp(prefix="leveret-cc-")
    try:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint probe(void) { return PY_VERSION_HEX != 0; }\n")
        compiler = new_compiler()
        customize_compiler(compiler)
        command = getattr(compiler, "compiler_so", [])
        if command and shutil.which(command[0]) is None:
            return f"no C compiler ({command[0]} is not installed)"
        compiler.compile([str(source)], output_dir=folder, include_dirs=[get_python_inc()])
    except Exception as error:  # whatever the compiler's driver raises, the answer is the same
        return f"the C compiler cannot build against Python.h ({error})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ""


def fall_back(reason: str) -> None:
    if asked("LEVERET_REQUIRE_COMPILED"):
        raise SystemExit(f"leveret: not compiled, and LEVERET_REQUIRE_COMPILED is set: {reason}")
    say(f"building as plain Python, which is several times slower: {reason}")


def extensions() -> list[Any]:
    """The compiled modules, or none if this build is to be plain Python."""
    if not BUILDING & set(sys.argv):
        return []
    if asked("LEVERET_PURE"):
        say("building as plain Python, as LEVERET_PURE asks")
        return []
    modules = hot_modules()
    if not modules:
        fall_back("there is nothing to compile")
        return []
    reason = why_not_compilable()
    if reason:
        fall_back(reason)
        return []
    try:
        from mypyc.build import mypycify

        # The names of leveret/__init__ lead the checker everywhere; what is not compiled may lack its libraries here.
        made = mypycify(
            ["--follow-imports=silent", *modules],
            opt_level=os.environ.get("LEVERET_OPT", "3"),
            debug_level="0",
            group_name="leveret",
        )
    except (SystemExit, Exception) as error:  # mypyc ends the process when it does not like a module
        fall_back(f"mypyc could not translate it ({error!r}, see above)")
        return []
    say(f"compiling {len(modules)} modules at -O{os.environ.get('LEVERET_OPT', '3')}")
    return list(made)


class BuildExtensions(build_ext):
    """Builds all extensions or none: half a compiled group would not import."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # the compiler's own messages are already on the terminal
            fall_back(f"compiling failed ({error})")
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []
            self.distribution.ext_modules = []


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions})
