"""A stand-in for curl, so that pages can show what people type and tests need nothing installed.

It knows -s, -d, --json and a URL, and prints the answer's body, whatever its status.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-d", action="append", default=[])
    parser.add_argument("--json")
    parser.add_argument("url")
    options = parser.parse_args()
    data, headers = None, {}
    if options.json is not None:
        data, headers = options.json.encode(), {"Content-Type": "application/json"}
    elif options.d:
        data = "&".join(options.d).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(options.url, data, headers), timeout=20) as answer:
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as problem:
        sys.stdout.write(problem.read().decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
