"""What stands where on the site: each page under the page that leads to it.

The pages themselves know nothing of it, so that they read well on a forge. A page that is in no list here, and a
list that names a page that is not there, are errors of the build.
"""

from __future__ import annotations

from typing import Final

ROOT: Final = "index"

# page: (caption, pages under it); `*` at the end of a name stands for all pages that begin so, by name.
CHILDREN: Final[dict[str, tuple[str, ...]]] = {
    ROOT: ("tutorial/README", "how-to/README", "examples/README", "explanation/README", "reference/README"),
    "tutorial/README": ("tutorial/mail/README", "tutorial/pika/README"),
    "tutorial/mail/README": ("tutorial/mail/[0-9]*",),
    "tutorial/pika/README": ("tutorial/pika/[0-9]*",),
    "how-to/README": ("how-to/[!R]*",),
    "examples/README": ("examples/[!R]*",),
    "explanation/README": ("explanation/[!R]*", "performance", "adr/README"),
    "reference/README": (
        "reference/api/client",
        "reference/api/worker",
        "reference/api/embed",
        "reference/api/testing",
        "reference/api/leveret",
        "reference/with-rabbitmq",
        "reference/queues",
        "reference/stomp",
        "reference/compatibility",
        "reference/configuration",
        "reference/cli",
        "reference/exit-codes",
    ),
    "adr/README": ("adr/[0-9]*",),
}


def toctree(page: str) -> str:
    """The directive that hangs the pages under `page` into the site; empty if there are none."""
    children = CHILDREN.get(page)
    if children is None:
        return ""
    here = page.count("/")
    lines = ["", "```{toctree}", ":hidden:", ":glob:" if any("*" in child for child in children) else "", ""]
    lines += [f"/{child}" if here or "*" in child else child for child in children]
    return "\n".join([*lines, "```", ""])
