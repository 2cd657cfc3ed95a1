"""A stand-in for curl, so that pages can show what people type and tests need nothing installed: -d, -s, URL."""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-d", action="append", default=[])
    parser.add_argument("url")
    options = parser.parse_args()
    data = "&".join(options.d).encode() if options.d else None
    try:
        with urllib.request.urlopen(options.url, data, timeout=20) as answer:
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as problem:
        sys.stdout.write(problem.read().decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
