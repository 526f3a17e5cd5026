"""What a row's plain answer stands for: the rewards decide it, each for the tasks that it declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vision_rewards
from vision_rewards.plain import answer_text, text_of
from vision_rewards.registry import normalize_task

# (task, plain answer, options) -> target; ValueError where the answer does not fit.
Shape = Callable[[str, Any, Any], dict[str, Any]]


def normalise_task(name: str) -> str:
    """`Multiple Choice` and `multiple-choice` to `multiple_choice`."""
    return normalize_task(name).replace(" ", "_")


def target_of(
    task: str,
    answer: Any,
    options: Any = None,
    *,
    demonstrated: bool = False,
    shape: Shape = vision_rewards.target_of,
) -> dict[str, Any]:
    """The target of `task` that a plain answer stands for.

    Args:
        task: the task's name; one that no reward declares gets `{"answer": text}`.
        answer: text (perhaps in <answer> tags), number, list or mapping.
        options: options by letter, for multiple choice.
        demonstrated: the row has a demonstration to learn from, so that no reward need read its target: an answer that
            cannot hold what the task's reward reads stays as text.
        shape: what makes the target; by default the reward that declares the task.

    Raises:
        ValueError: the answer does not fit the task, or cannot hold its target.
    """
    try:
        return shape(task, answer, options)
    except vision_rewards.NeedsTarget:
        if not demonstrated:
            raise
        return {"answer": text_of(answer_text(answer) if isinstance(answer, str) else answer)}
