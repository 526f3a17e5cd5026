"""Bad samples that are bad in the same way, said once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmrl.contracts.errors import BadSample

# What differs between rows that are bad alike: names in quotes, numbers.
_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


def first_of_each(errors: Iterable[BadSample]) -> list[str]:
    """One line per kind of fault and file: the first, and how many rows are alike, in the order of the first ones."""
    first: dict[tuple[str, str], BadSample] = {}
    places: dict[tuple[str, str], set[str]] = {}
    for error in errors:
        file = error.where.rpartition(" row ")[0]
        # What is called a column or key is part of the fault.
        fault = _PARTICULARS.sub("…", re.sub(r"(column|key) '([^']*)'", r"\1 \2", error.reason))
        first.setdefault((file, fault), error)
        places.setdefault((file, fault), set()).add(error.where)
    lines = []
    for kind, error in first.items():
        others = len(places[kind]) - 1
        more = f" (and {others} {'row' if others == 1 else 'rows'} alike)" if others else ""
        lines.append(f"{error}{more}")
    return lines
