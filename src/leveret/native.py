"""Machine integers for code that mypyc compiles: native there, plain `int` where the code runs uncompiled.

`mypy_extensions` has classes of the same names whose calls cost three times as much as `int`'s in the interpreter; to
the compiler the two are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from mypy_extensions import i16, i32, i64, u8
else:
    i16 = i32 = i64 = u8 = int

__all__ = ["i16", "i32", "i64", "mypyc_attr", "u8"]
