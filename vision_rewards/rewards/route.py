"""The reward that fits a sample's task."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import EXTRACT_MODES
from vision_rewards.registry import get_reward, list_rewards, reward_class
from vision_rewards.types import AnswerReward, Reward, RewardResult, TargetError, nearest, param


def task_table() -> dict[str, str]:
    """Task name -> reward name, for every task that some reward declares."""
    return {task: name for name, spec in list_rewards().items() for task in spec.tasks}


def normalize_task(task: str) -> str:
    """Lower case, with `_`, `-` and runs of white space as one blank."""
    return re.sub(r"[\s_-]+", " ", task).strip().lower()


@dataclass(frozen=True, kw_only=True)
class Route(Reward):
    """Scores each sample by the reward that its task names."""

    name = "route"
    summary = "The reward of the sample's task; `for_task(task)` gives it without a `task` in the target."
    target_keys: ClassVar = {"task": "str: a task of the table above; the other keys are those of its reward"}
    formula = "the score of the task's reward; its accuracy is the part `accuracy`"
    source = "EasyVideoR1's problem types and VLM-R1's reward methods, by name"
    closes = ("an unknown task is an error, not a lenient default",)
    part_defaults: ClassVar = {"accuracy": 0.0}
    metric_part = "accuracy"

    extract: str = param("auto", "where the answer stands, for every reward", choices=EXTRACT_MODES)
    params: Mapping[str, Mapping] = param(None, "reward name → its parameters, e.g. `{ocr: {metric: cer}}`")
    table: Mapping[str, Reward] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        given = self.params or {}
        tasks = task_table()
        if unknown := set(given) - set(tasks.values()):
            word = min(map(str, unknown))
            raise ValueError(f"reward 'route': no reward {word!r} to set; {nearest(word, set(tasks.values()))}")
        rewards = {}
        for name in set(tasks.values()):
            common = {"extract": self.extract} if issubclass(reward_class(name), AnswerReward) else {}
            rewards[name] = get_reward(name, **{**common, **given.get(name, {})})
        object.__setattr__(self, "table", {task: rewards[name] for task, name in tasks.items()})

    def for_task(self, task):
        """The reward for a task.

        Raises:
            ValueError: no reward declares this task; the message names the nearest one and all there are.
        """
        found = self.table.get(normalize_task(str(task)))
        if found is None:
            raise ValueError(f"no reward for the task {task!r}; {nearest(str(task), self.table)}")
        return found

    def check_target(self, target):
        if not isinstance(target["task"], str):
            raise TargetError(f"'task' is {target['task']!r}, not a str")
        self.for_task(target["task"]).check(target)

    def __call__(self, completion, target):
        # A target that lacks the keys of its task's reward is of another shape, not malformed.
        task = target.get("task")
        if isinstance(task, str) and not self.for_task(task).applies(target):
            return RewardResult(None, {}, None, "not_applicable")
        return super().__call__(completion, target)

    def gold(self, target):
        return self.for_task(target["task"]).gold(target)

    def score(self, completion, target):
        reward = self.for_task(target["task"])
        result = reward(completion, target)
        return dataclasses.replace(result, parts={**result.parts, "accuracy": reward.accuracy(result)})
