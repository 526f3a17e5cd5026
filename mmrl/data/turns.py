"""Which answers of a conversation are learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample

# The key by which a reader leaves on a message whether its row says that it is learned.
MARK = "loss"


def mark_of(turn: Mapping[str, Any]) -> bool | None:
    """What a row says of a turn: `loss: true | false`, or `weight: 1 | 0`; None: nothing.

    Raises:
        ValueError: another value.
    """
    for key in ("loss", "weight"):
        value = turn.get(key)
        if value is not None:
            if value not in (0, 1):
                raise ValueError(f"`{key}` of a turn is true, false, 1 or 0, not {str(value)[:40]!r}")
            return bool(value)
    return None


def marked(message: dict[str, Any], turn: Mapping[str, Any]) -> dict[str, Any]:
    """The message with what its row says of it. Raises ValueError as `mark_of`."""
    mark = mark_of(turn)
    return message if mark is None else {**message, MARK: mark}


def mark_the_rest(messages: list[dict[str, Any]]) -> None:
    """Marks the answers of which nothing is said: they are learned though the answer that closes them is not."""
    for message in messages:
        if message["role"] == "assistant":
            message.setdefault(MARK, True)


def any_marked(messages: list[dict[str, Any]]) -> bool:
    """Whether an answer is marked to be learned."""
    return any(message.get(MARK) for message in messages)


def settle(sample: Sample, turns: str) -> Sample:
    """The sample with its answers that are learned in `learned`, and its messages without marks.

    Args:
        turns: `every`: those that are marked and, where the conversation closes with an answer, those of which nothing
            is said; `last`: the closing one alone.

    Raises:
        BadSample: an answer that is to be learned is not plain text, or empty.
    """
    learned = []
    for place, message in enumerate(sample.messages):
        if message["role"] != "assistant" or turns == "last":
            continue
        if message.get(MARK, sample.demonstration is not None):
            if any(part["type"] != "text" for part in message["content"]) or not answer_text(message).strip():
                raise BadSample(
                    sample.where,
                    f"message {place} is an answer to learn and holds no plain text; set `loss: false` on it, or "
                    "`turns: last` of the dataset",
                )
            learned.append(place)
    if not learned and not any(MARK in message for message in sample.messages):
        return sample
    messages = tuple({key: value for key, value in message.items() if key != MARK} for message in sample.messages)
    return replace(sample, messages=messages, learned=tuple(learned))


def answer_text(message: Mapping[str, Any]) -> str:
    """The text of an answer among the messages."""
    return "".join(part["text"] for part in message["content"])


def turns_of(sample: Sample) -> list[Sample]:
    """A sample for each answer to learn, in order: what was said before it, with it as the demonstration."""
    turns = []
    for place in sample.learned:
        before = sample.messages[:place]
        kinds = [part["type"] for message in before for part in message["content"]]
        turns.append(
            replace(
                sample,
                messages=before,
                images=sample.images[: kinds.count("image")],
                videos=sample.videos[: kinds.count("video")],
                demonstration=answer_text(sample.messages[place]),
                learned=(),
            )
        )
    return turns if sample.demonstration is None else [*turns, replace(sample, learned=())]
