"""Rewards in the signatures of other trainers: TRL's `reward_funcs`, EasyR1's and verl's `compute_score`.

Each adapter takes what `get_reward` gives, or a name. Nothing of the other trainer is imported.

>>> from vision_rewards import adapters
>>> reward = adapters.for_trl("math", answer="solution")
>>> reward(prompts=["1 + 2?"], completions=[[{"role": "assistant", "content": "So \\\\boxed{3}."}]], solution=["3"])
[1.0]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vision_rewards.registry import get_reward, target_of
from vision_rewards.types import Reward, RewardResult


def completion_text(completion: Any) -> str:
    """The text of a completion: a str, or a list of messages, of which the last one's text parts count.

    Raises:
        TypeError: neither of them.
    """
    if isinstance(completion, str):
        return completion
    message = completion[-1] if isinstance(completion, Sequence) and completion else completion
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [
            part.get("text") for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text"
        ]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    raise TypeError(f"a completion is a str or a list of messages, not {str(completion)[:80]!r}")


def for_trl(
    reward: Reward | str,
    *,
    answer: str | None = None,
    options: str = "options",
    task: str = "task",
    columns: Mapping[str, str] | None = None,
    **params: Any,
) -> Callable[..., list[float | None]]:
    """A function for TRL's `reward_funcs`: `(prompts, completions, **columns) -> scores`.

    A completion is a text or a conversation, whose last message counts. None where the reward does not apply to a row,
    which TRL leaves out of the sum. A reward of the whole group (`majority`) sees the completions of equal prompts that
    follow each other.

    Args:
        reward: a reward, or the name of one, which `params` configure.
        answer: the column that holds a plain answer, as `vision_rewards.target_of` reads it; None: the target's keys
            are columns.
        options: the column of a plain answer's options, where there is one.
        task: the column of a plain answer's task, where there is one; else the reward's own first task.
        columns: key of the target -> column, where their names differ.
    """
    reward = _built(reward, params)
    names = _names(reward, columns)

    def score(prompts: Sequence[Any], completions: Sequence[Any], **rows: Any) -> list[float | None]:
        targets = [
            _target(reward, _row(rows, index, len(completions)), names, answer, options, task)
            for index in range(len(completions))
        ]
        texts = [completion_text(completion) for completion in completions]
        return [result.score for result in _score_groups(reward, list(map(repr, prompts)), texts, targets)]

    score.__name__ = reward.name
    return score


def for_easyr1(
    reward: Reward | str, *, task: str | None = None, options: str = "options", **params: Any
) -> Callable[[Any], Any]:
    """A function for EasyR1's `compute_score`, batch or sequential: it takes a list of inputs, or one.

    An input has the keys `response` and `ground_truth`, a plain answer or a mapping that is the target. The result has
    `overall`, which EasyR1 trains on, `accuracy`, and the reward's parts. A row to which the reward does not apply gets
    0.

    Args:
        reward: a reward, or the name of one, which `params` configure.
        task: the task of plain answers; None: the input's `problem_type` or `task`, else the reward's own first task.
        options: the key of a plain answer's options, where there is one.
    """
    reward = _built(reward, params)

    def compute_score(reward_inputs: Any) -> Any:
        if isinstance(reward_inputs, Mapping):
            return _scores(
                reward, reward_inputs["response"], _target_of_truth(reward, reward_inputs, task, options), "overall"
            )
        return [compute_score(reward_input) for reward_input in reward_inputs]

    return compute_score


def for_verl(
    reward: Reward | str, *, task: str | None = None, options: str = "options", **params: Any
) -> Callable[..., dict[str, float]]:
    """A function for verl's `compute_score(data_source, solution_str, ground_truth, extra_info)`.

    `ground_truth` is a plain answer, or a mapping that is the target; options and task are looked up in `extra_info`.
    The result has `score`, which verl trains on, `acc`, and the reward's parts. A row to which the reward does not
    apply gets 0.

    Args: as `for_easyr1`.
    """
    reward = _built(reward, params)

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        row = {**(extra_info or {}), "ground_truth": ground_truth}
        scores = _scores(reward, solution_str, _target_of_truth(reward, row, task, options), "score")
        return {("acc" if name == "accuracy" else name): value for name, value in scores.items()}

    return compute_score


def _built(reward: Reward | str, params: Mapping[str, Any]) -> Reward:
    if isinstance(reward, str):
        return get_reward(reward, **params)
    if params:
        raise ValueError(f"the parameters {sorted(params)} belong to a reward given by name")
    return reward


def _names(reward: Reward, columns: Mapping[str, str] | None) -> dict[str, str]:
    """Key of the target -> column, for all keys that the reward knows and those that the caller names."""
    keys = [key.rstrip("?") for key in reward.target_keys]
    return {key: key for key in keys} | dict(columns or {})


def _row(rows: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """The columns' values of one completion."""
    return {
        name: values[index]
        for name, values in rows.items()
        if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    }


def _target(
    reward: Reward, row: Mapping[str, Any], names: Mapping[str, str], answer: str | None, options: str, task: str
) -> dict[str, Any]:
    if answer is None:
        if names:
            return {key: row[column] for key, column in names.items() if column in row}
        return dict(row)
    if answer not in row:
        raise ValueError(f"there is no column {answer!r} among {sorted(row)}")
    return _plain(reward, row[answer], row.get(options), row.get(task))


def _target_of_truth(reward: Reward, row: Mapping[str, Any], task: str | None, options: str) -> dict[str, Any]:
    name = task if task is not None else row.get("problem_type", row.get("task"))
    return _plain(reward, row["ground_truth"], row.get(options), name)


def _plain(reward: Reward, answer: Any, options: Any, task: Any) -> dict[str, Any]:
    if isinstance(answer, Mapping) and reward.applies(answer):
        return dict(answer)
    if task is None:
        if not reward.tasks:
            return {"answer": answer, **({} if options is None else {"options": options})}
        task = reward.tasks[0]
    target = target_of(str(task), answer, options, readers=[reward])
    return {"task": str(task), **target}


def _score_groups(
    reward: Reward, prompts: list[str], texts: list[str], targets: list[dict[str, Any]]
) -> list[RewardResult]:
    """One result per completion; neighbours with one prompt are a group."""
    results: list[RewardResult] = []
    start = 0
    for place in range(1, len(texts) + 1):
        if place < len(texts) and prompts[place] == prompts[start]:
            continue
        target = reward.with_group(texts[start:place], targets[start]) if reward.needs_group else None
        results += [reward(texts[at], targets[at] if target is None else target) for at in range(start, place)]
        start = place
    return results


def _scores(reward: Reward, completion: str, target: Mapping[str, Any], total: str) -> dict[str, float]:
    result = reward(completion, target)
    if result.score is None:
        return {total: 0.0, "accuracy": 0.0}
    parts = {name: float(value) for name, value in result.parts.items() if value is not None}
    return {**parts, total: float(result.score), "accuracy": reward.accuracy(result)}
