"""Reading a simulator's options: every mistake is refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Where more values than this are allowed, an error shows only the nearest.
MANY = 24


@dataclass(frozen=True)
class Option:
    """One option. `kind` is bool, int, float or str; `many` makes it a list without repeats.

    choices: allowed values. low, high: inclusive bounds. optional: None is allowed. min_items: for `many`.
    """

    kind: type
    default: Any
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    optional: bool = False
    many: bool = False
    min_items: int = 1


def unknown(what: str, key: str, value: Any, allowed: Iterable[Any]) -> ValueError:
    """The error for a value that is none of `allowed`; it names the nearest spelling."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shortlist = names
    if len(names) > MANY:
        shortlist = [*difflib.get_close_matches(str(value), names, n=MANY // 2, cutoff=0.0), f"… ({len(names)} in all)"]
    return ValueError(f"{what}: {key}={value!r} is not allowed; allowed: {', '.join(shortlist)}{hint}")


def read_options(what: str, values: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """Check `values` against `options` and fill in defaults. Lists become tuples.

    Raises ValueError that names `what`, the key, the value, what is allowed and the nearest spelling.
    """
    for key, value in values.items():
        if key not in options:
            near = difflib.get_close_matches(str(key), list(options), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{what}: unknown key {key!r} (value {value!r}); allowed: {', '.join(options)}{hint}")
    return {key: _read(what, key, values.get(key, option.default), option) for key, option in options.items()}


def _read(what: str, key: str, value: Any, option: Option) -> Any:
    if value is None and option.optional:
        return None
    if not option.many:
        return _read_one(what, key, value, option)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{what}: {key}={value!r} is not allowed; allowed: a list of {option.kind.__name__}")
    values = tuple(_read_one(what, key, item, option) for item in value)
    if len(set(values)) != len(values):
        raise ValueError(f"{what}: {key}={list(values)!r} repeats a value; allowed: each value at most once")
    if len(values) < option.min_items:
        raise ValueError(f"{what}: {key}={list(values)!r} is not allowed; allowed: at least {option.min_items} values")
    return values


def _read_one(what: str, key: str, value: Any, option: Option) -> Any:
    # bool is an int to isinstance, and True is never a meant count.
    accepted = (int, float) if option.kind is float else option.kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and option.kind is not bool):
        allowed = option.choices and ", ".join(map(str, option.choices))
        raise ValueError(f"{what}: {key}={value!r} is not allowed; allowed: {allowed or option.kind.__name__}")
    if option.choices is not None and value not in option.choices:
        raise unknown(what, key, value, option.choices)
    below = option.low is not None and not value >= option.low
    if below or (option.high is not None and not value <= option.high):
        bounds = f"{'-inf' if option.low is None else option.low} to {'inf' if option.high is None else option.high}"
        raise ValueError(f"{what}: {key}={value!r} is not allowed; allowed: {bounds}")
    return value
