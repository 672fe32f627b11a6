"""For mkdocs: links that lead out of the docs, into the repository, are told by their names."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Of ``[a card](../judge/card.md)`` the site keeps ``a card`` and the path."""
    up = "../" * (page.file.src_uri.count("/") + 1)
    return re.sub(rf"\[([^\]]+)\]\({re.escape(up)}([^)#]+)[^)]*\)", r"\1 (`\2`)", markdown)
