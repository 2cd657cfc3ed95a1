"""The documentation site: `make docs` builds it with Sphinx, and takes every warning for an error.

The pages are Markdown that reads well on a forge, too; what only the site has (navigation, the API reference) is made
here. Which tool, and why: docs/adr/0022-documentation-site.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

SITE: Final = Path(__file__).resolve().parent
REPOSITORY: Final = SITE.parent.parent
sys.path.insert(0, str(SITE))

import navigation  # noqa: E402

project = "Leveret"
author = "the authors of Leveret"
copyright = "the authors of Leveret, Apache License 2.0"
found = re.search(r'"([0-9][^"]*)"', (REPOSITORY / "src/leveret/_version.py").read_text())
release = found[1] if found else ""

extensions = ["myst_parser", "api"]
root_doc = navigation.ROOT
exclude_patterns = ["site"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nitpicky = True
# The standard library and what others wrote is not described here; whatever is Leveret's has to be.
nitpick_ignore_regex = [("py:.*", r"(?!leveret\.).*")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
highlight_language = "none"

html_theme = "furo"
html_title = "Leveret"
html_baseurl = ""
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    source[0] += navigation.toctree(page)


def setup(app: Any) -> None:
    app.connect("source-read", add_navigation)
