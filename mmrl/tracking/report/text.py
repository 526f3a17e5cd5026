"""Values as text of the page."""

from __future__ import annotations

import json
from typing import Any

from mmrl.tracking.report.plots import number

FACT_CHARS = 400


def cut(value: Any, limit: int) -> str:
    """`value` as text of at most `limit` characters, saying how many are left out."""
    text = "" if value is None else str(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def compact(value: Any) -> str:
    """`value` as JSON, cut."""
    return cut(json.dumps(value, ensure_ascii=False), FACT_CHARS)


def count_of(value: Any) -> str:
    """A number, or a dash."""
    return number(value) if isinstance(value, int | float) else "–"


def score(value: Any) -> str:
    """A reward with two decimals, or a dash."""
    return f"{value:.2f}" if isinstance(value, int | float) else "–"
