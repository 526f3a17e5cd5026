"""Names and plain values as a table of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from mmrl.tracking.report.text import cut


def render_facts(facts: Mapping[str, Any]) -> str:
    """A line for each."""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(key))}</th><td>{escape(cut(_plain(value), 2000))}</td></tr>'
        for key, value in facts.items()
    )
    return f'<table class="facts-table">{rows}</table>'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
