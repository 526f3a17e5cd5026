"""The chat template of a checkpoint, proved when it is read, and what it opens for the answer."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from jinja2 import Environment, TemplateError

from mmrl.contracts.errors import BadSample, CheckpointError, first_line
from mmrl.contracts.types import Sample
from mmrl.policies.template_trial import ends, may_grow

# A tag that a prompt ends in, which the answer is to close: `<think>` of models that always think.
_OPENED = re.compile(r"<([A-Za-z][\w-]{0,30})>\s*$")
# Templates take milliseconds.
MOST_SECONDS = 10.0
_PROBE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}]


def settle_template(processor: Any, written: str | None, shown: str) -> None:
    """Gives the processor the recipe's template, or its tokenizer's where it has none; proves that it shows pictures.

    Args:
        written: `policy.chat_template`.
        shown: what the recipe calls the checkpoint.

    Raises:
        CheckpointError: there is no template, it fails, or it writes a picture as something else than one.
    """
    own = written or processor.chat_template or getattr(processor.tokenizer, "chat_template", None)
    if own is None:
        raise CheckpointError(
            f"policy.path: '{shown}' has no chat template; copy chat_template.jinja of its base model into it, or name "
            "one with policy.chat_template"
        )
    processor.chat_template = own
    refuse_powers(own, shown)
    named = "policy.chat_template" if written else f"policy.path: the chat template of '{shown}'"
    try:
        _try_apart(own)
        text = rendered(processor, _PROBE)
    # Jinja's own errors, those of what a template does with values, and those that it raises by itself.
    except Exception as error:
        raise CheckpointError(
            f"{named} fails on a picture and a question: {first_line(error)}; name another with policy.chat_template"
        ) from None
    count = text.count(processor.image_token)
    if count != 1 or "What is this?" not in text or "'type'" in text:
        raise CheckpointError(
            f"{named} writes {count} image marks for one picture, so it is one for text alone; copy that of the base "
            "model, or name one with policy.chat_template"
        )


def rendered(processor: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt's text up to the answer. Raises TemplateTimeout where that takes longer than `MOST_SECONDS`."""
    with _deadline(MOST_SECONDS):
        return processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)


def _try_apart(template: str | Mapping[str, str]) -> None:
    """Raises TemplateTimeout where a template that may grow takes too long, or too much memory, for the probe."""
    text = template if isinstance(template, str) else template.get("default", "")
    if may_grow(text) and (reason := ends(text, _PROBE, MOST_SECONDS)):
        raise TemplateTimeout(reason)


class TemplateTimeout(Exception):
    """A template that does not end."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Ends what runs inside after so many seconds, wherever it is in Python code, in any thread.

    Templates are compiled to Python, so a loop without end is one there, which only a look at each line can leave.
    """
    end = time.monotonic() + seconds

    def look(frame: Any, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            raise TemplateTimeout(f"it does not end within {seconds:g} s")
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def refuse_powers(template: str | Mapping[str, str], shown: str) -> None:
    """Raises CheckpointError where a template computes a power: one line of it can take for ever, out of reach.

    Args:
        template: or several by their names.
    """
    for text in (template,) if isinstance(template, str) else template.values():
        if "**" not in text:
            continue
        try:
            tokens = [(kind, value) for _, kind, value in Environment().lex(text) if kind != "whitespace"]
        except TemplateError:
            # What is wrong with it is said where it is rendered.
            continue
        for (_, before), (kind, value) in pairwise(tokens):
            if kind == "operator" and value == "**" and before not in ("(", ","):
                raise CheckpointError(f"policy.path: the chat template of '{shown}' computes powers, and none has to")


def rendered_sample(processor: Any, sample: Sample, messages: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The sample's prompt as text, with a mark for each of its pictures and videos.

    Args:
        messages: what the template reads, where it is not the sample's own.

    Raises:
        BadSample: the template fails on it, or leaves out a picture or video.
    """
    try:
        text = rendered(processor, sample.messages if messages is None else messages)
    # As above: a template may raise whatever it likes, such as on a system prompt.
    except Exception as error:
        raise BadSample(sample.where, f"the chat template fails on it: {first_line(error)}") from error
    media = {"image": (processor.image_token, len(sample.images))}
    if sample.videos:
        media["video"] = (processor.video_token, len(sample.videos))
    for kind, (mark, count) in media.items():
        if text.count(mark) != count:
            raise BadSample(
                sample.where,
                f"the chat template writes {text.count(mark)} {kind} marks, and the row has {count} {kind}s",
            )
    return text


def opening(processor: Any) -> str:
    """What the prompt begins of the answer: a tag such as `<think>` and the white space behind it, else nothing."""
    match = _OPENED.search(rendered(processor, _PROBE))
    return match.group() if match else ""


def continuation(demonstration: str, opened: str, sample: Sample) -> str:
    """What is left of a demonstration to be learned where the prompt has begun it.

    Raises:
        BadSample: the demonstration does not close what the prompt opens.
    """
    if not opened:
        return demonstration
    tag = opened.strip()
    text = demonstration.lstrip()
    if text.startswith(tag):
        return text[len(tag) :].lstrip("\n") if opened.endswith("\n") else text[len(tag) :]
    if f"</{tag[1:]}" not in demonstration:
        raise BadSample(
            sample.where,
            f"the prompt opens {tag}, which the demonstration does not close; begin it with {tag}…</{tag[1:]}, or set "
            "policy.chat_template to one that opens none",
        )
    return demonstration
