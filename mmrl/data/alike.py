"""Bad samples that are bad in the same way, said once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmrl.contracts.errors import BadSample

# What differs between rows that are bad alike: names in quotes, numbers.
_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
# File and kind of fault.
Kind = tuple[str, str]


def kind_of(where: str, reason: str) -> Kind:
    """The file of a bad sample and what is wrong with it, without what differs between rows that are bad alike."""
    # What is called a column or key is part of the fault.
    return where.rpartition(" row ")[0], _PARTICULARS.sub("…", re.sub(r"(column|key) '([^']*)'", r"\1 \2", reason))


def places_of(errors: Iterable[BadSample]) -> dict[Kind, set[str]]:
    """Where each kind of fault is, in the order of the first ones."""
    places: dict[Kind, set[str]] = {}
    for error in errors:
        places.setdefault(kind_of(error.where, error.reason), set()).add(error.where)
    return places


def first_of_each(errors: Iterable[BadSample]) -> list[BadSample]:
    """The first of each kind of fault and file, which says how many rows are alike, in the order of the first ones."""
    errors = list(errors)
    first: dict[Kind, BadSample] = {}
    for error in errors:
        first.setdefault(kind_of(error.where, error.reason), error)
    return [first[kind].with_alike(len(rows) - 1) for kind, rows in places_of(errors).items()]
