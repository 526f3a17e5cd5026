"""Secrets that stand in text: logins of URLs, which are masked wherever a run writes or prints its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
# scheme://login@host; a login holds no slash, white space or quote.
_LOGIN = re.compile(r"(?<![\w+.-])([A-Za-z][\w+.-]*://)[^/\s'\"@]*(?:@[^/\s'\"@]*)*@")


def masked(value: Any) -> Any:
    """The value with the logins of URLs masked in every text of it: `http://***@host`."""
    if isinstance(value, str):
        return _LOGIN.sub(rf"\1{MASK}@", value) if "://" in value else value
    if isinstance(value, Mapping):
        return {masked(key): masked(each) for key, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list | tuple) else value
