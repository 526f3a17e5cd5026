"""The chat template of a checkpoint, proved when it is read, and what it opens for the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import BadSample, CheckpointError, first_line
from mmrl.contracts.types import Sample

# A tag that a prompt ends in, which the answer is to close: `<think>` of models that always think.
_OPENED = re.compile(r"<([A-Za-z][\w-]{0,30})>\s*$")
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
    named = "policy.chat_template" if written else f"policy.path: the chat template of '{shown}'"
    try:
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
    """The prompt's text up to the answer."""
    return processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)


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
