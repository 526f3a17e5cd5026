"""What a row's plain answer stands for: the rewards decide it, each for the tasks that it declares."""

from __future__ import annotations

from typing import Any

import vision_rewards
from vision_rewards.plain import answer_text, text_of
from vision_rewards.registry import normalize_task


def normalise_task(name: str) -> str:
    """`Multiple Choice` and `multiple-choice` to `multiple_choice`."""
    return normalize_task(name).replace(" ", "_")


def target_of(task: str, answer: Any, options: Any = None, *, demonstrated: bool = False) -> dict[str, Any]:
    """The target of `task` that a plain answer stands for, as `vision_rewards.target_of` gives it.

    Args:
        task: the task's name; one that no reward declares gets `{"answer": text}`.
        answer: text (perhaps in <answer> tags), number, list or mapping.
        options: options by letter, for multiple choice.
        demonstrated: the row has a demonstration to learn from, so that no reward need read its target: an answer that
            cannot hold what the task's reward reads stays as text.

    Raises:
        ValueError: the answer does not fit the task, or cannot hold its target.
    """
    try:
        return vision_rewards.target_of(task, answer, options)
    except vision_rewards.NeedsTarget:
        if not demonstrated:
            raise
        return {"answer": text_of(answer_text(answer) if isinstance(answer, str) else answer)}
