"""A dataset's own system prompt and template of what is asked, put into the samples of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmrl.contracts.errors import BadSample, first_line
from mmrl.contracts.types import Sample
from mmrl.data.marks import miscounted
from mmrl.data.messages import split_tags
from mmrl.recipe.prompt_templates import CONTENT, compiled


def prompted(sample: Sample, row: Mapping[str, Any], system: str | None, template: str | None) -> Sample:
    """The sample with the system prompt, where it has none, and with what the template makes of its last question.

    The question is given to the template as text with `<image>` and `<video>` tags. Where the template shows none of
    them, pictures and videos come first.

    Raises:
        BadSample: the template names what the row lacks, fails, or gives another number of tags.
    """
    messages = [dict(message) for message in sample.messages]
    if template is not None and messages:
        asked = messages[-1]
        marks = [part for part in asked["content"] if part["type"] != "text"]
        content = "".join(part.get("text", f"<{part['type']}>") for part in asked["content"])
        parts = split_tags(_rendered(sample, template, {**row, CONTENT: content}))
        if marks and all(part["type"] == "text" for part in parts):
            parts = [*marks, *parts]
        asked["content"] = parts
        if not any(part["type"] == "text" for part in parts):
            raise BadSample(sample.where, "prompt_template leaves no text in the question")
        if problem := miscounted(messages, len(sample.images), len(sample.videos)):
            raise BadSample(sample.where, f"after prompt_template {problem}")
    if system is not None and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    return replace(sample, messages=tuple(messages))


def _rendered(sample: Sample, template: str, variables: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return compiled(template).render(variables)
    except TemplateError as error:
        raise BadSample(sample.where, f"prompt_template: {first_line(error)}") from error
    # What a template does with a value of another kind than it expects: a list that it trims, a text that it divides.
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RecursionError) as error:
        raise BadSample(sample.where, f"prompt_template fails on this row: {first_line(error)}") from error
