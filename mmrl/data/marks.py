"""Marks in messages that stand for images and videos, held against the media that are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample


def miscounted(messages: Sequence[Mapping[str, Any]], images: int, videos: int) -> str | None:
    """What is wrong where marks and media differ in number; None where nothing is."""
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    for kind, count in (("image", images), ("video", videos)):
        marks = sum(part.get("type") == kind for part in parts)
        if marks != count:
            return f"the prompt has {marks} <{kind}> marks and the row has {count} {kind}s; they must agree"
    return None


def refuse_wrong_marks(sample: Sample, placeholders: Collection[str]) -> None:
    """Raises BadSample where marks and media differ in number, or the text itself holds a placeholder.

    Args:
        placeholders: what the policy's own prompts hold in place of an image or video.
    """
    if problem := miscounted(sample.messages, len(sample.images), len(sample.videos)):
        raise BadSample(sample.where, problem)
    contents = [message["content"] for message in sample.messages]
    texts = [
        text
        for content in contents
        for text in ([content] if isinstance(content, str) else [part.get("text", "") for part in content])
    ]
    for mark in placeholders:
        # In text it would be taken for an image or video that is not there.
        if any(mark in text for text in texts):
            raise BadSample(
                sample.where, f"its text holds the placeholder {mark}; use an image or video part, or remove it"
            )
