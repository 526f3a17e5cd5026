"""Jinja templates of what is asked: written in a recipe, or in a file that it names."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

# A row's question among the variables of its template, as EasyR1's `format_prompt` names it.
CONTENT = "content"


def read_template(written: str, key: str) -> str:
    """The template itself, or what stands in the file where `written` ends in `.jinja` or `.j2`.

    Args:
        key: what the recipe calls it.

    Raises:
        ValueError: no such file.
    """
    if not written.endswith((".jinja", ".j2")) or "\n" in written:
        return written
    try:
        return Path(written).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{key} '{written}' cannot be read: {reason}") from None


def template_text(written: str) -> str:
    """`prompt_template` as text.

    Raises:
        ValueError: no such file, no Jinja, or a template that asks the same of every row.
    """
    text = read_template(written, "prompt_template")
    from jinja2 import Environment, TemplateError, meta

    try:
        variables = meta.find_undeclared_variables(Environment(autoescape=False).parse(text))
        compiled(text)
    except TemplateError as error:
        raise ValueError(f"prompt_template is no Jinja: {' '.join(str(error).split())}") from None
    if not variables:
        raise ValueError(
            f"prompt_template {text[:60]!r} names no column of the row, so that every row asks the same; write "
            f"{{{{ {CONTENT} }}}} where the question belongs"
        )
    return text


@lru_cache(maxsize=32)
def compiled(text: str) -> Template:
    """The template in a sandbox: it reaches what it is given, changes none of it, and unknown variables are errors."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False).from_string(text)
