"""The process in which atheris runs: its options are libFuzzer's, then the folder of the corpus."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["leveret"]):
    from tests.fuzz import fuzz_amqp091

if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_amqp091.one_input)
    atheris.Fuzz()
