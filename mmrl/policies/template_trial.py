"""A chat template that may make large things out of small ones, tried in a process that can be killed.

One operation of a template (the product of two numbers of a billion digits, the text of a list that holds itself many
times over) runs in C code, which no limit inside of the process ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2.ext
from jinja2 import Environment, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vision_rewards.pool import Exceeded, bounded

MEGABYTES = 1000.0
# Filters and methods whose result may be as much larger than what they get as a template likes; words that repeat.
_GROWING = {
    *("center", "format", "ljust", "rjust", "zfill", "indent", "wordwrap", "replace", "expandtabs", "join", "pprint"),
    *("string", "xmlattr"),
}
_REPEATING = {"macro", "call", "recursive", "lipsum"}


def may_grow(template: str) -> bool:
    """Whether a template has operations, or settings of its own names, by which values can grow without end.

    Counters (`set x = x + 1`) and pieces of what is given cannot; texts and lists that are joined and set again can.
    """
    try:
        tokens = [(kind, value) for _, kind, value in Environment().lex(template) if kind != "whitespace"]
    except TemplateError:
        return True
    around = zip([("", ""), *tokens], tokens, [*tokens[1:], ("", "")], strict=False)
    block: list[str] | None = None  # what a `set` holds so far
    for before, (kind, value), after in around:
        called = before[1] in ("|", ".") or kind == "string"
        if value == "*" or (called and value.strip("'\"") in _GROWING) or (kind == "name" and value in _REPEATING):
            return True
        if kind == "block_begin":
            block = [] if after == ("name", "set") else None
        elif kind == "block_end":
            if block is not None and "=" not in block:
                # The block's own text is set, which may hold what was set before.
                return True
            block = None
        elif block is not None:
            block.append(value)
            if kind == "operator" and (value in "~[{" or (value == "+" and "integer" not in (before[0], after[0]))):
                return True
    return False


def ends(template: str, messages: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Why a template does not end on these messages within its limits; nothing where it does, or where it fails.

    Args:
        seconds: of a processor.
    """
    try:
        bounded(render, template, [dict(message) for message in messages], seconds=seconds, megabytes=MEGABYTES)
    except Exceeded as error:
        limit = f"{MEGABYTES:g} MB" if error.kind == "memory" else f"{seconds:g} s"
        return f"it does not end within {limit}"
    except Exception:
        # What else is wrong with it is said where it is rendered.
        return ""
    return ""


def render(template: str, messages: Sequence[Mapping[str, Any]]) -> int:
    """The length of the text that transformers would make of them; for a worker process."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    return len(environment.from_string(template).render(messages=messages, add_generation_prompt=True))
