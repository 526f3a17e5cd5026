"""The reward that fits a sample's task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import MODES
from vision_rewards.registry import get_reward, normalize_task, reward_class, task_table
from vision_rewards.types import AnswerReward, Reward, RewardResult, TargetError, nearest, param


@dataclass(frozen=True, kw_only=True)
class Route(Reward):
    """Scores each sample by the reward that its task names."""

    name = "route"
    summary = "The reward of the sample's task; `for_task(task)` gives it without a `task` in the target."
    target_keys: ClassVar = {"task": "str: a task of the table above; the other keys are those of its reward"}
    formula = "the score of the task's reward; its accuracy is the part `accuracy`"
    source = "EasyVideoR1's problem types and VLM-R1's reward methods, by name"
    closes = (
        "an unknown task is an error, not a lenient default",
        "EasyVideoR1's `code`, `svg-code` and `html-code`, scored there by shared names, and VLM-R1's `default`, which "
        "guesses the kind of answer, are no tasks here; `aliases` can give them a reward",
    )
    part_defaults: ClassVar = {"accuracy": 0.0}
    metric_part = "accuracy"
    examples = (
        ({"task": "counting", "count": 3}, "<answer>3</answer>", "scored by `counting`"),
        ({"task": "rec", "box": [0, 0, 10, 10]}, "[0, 0, 10, 5]", "VLM-R1's name for `iou`"),
        ({"task": "sorting", "count": 3}, "4", "a task of one's own", {"aliases": {"sorting": "counting"}}),
    )

    extract: str | Sequence[str] = param(
        "auto", "where the answer stands, for every reward", choices=MODES, several=True
    )
    params: Mapping[str, Mapping] = param(None, "reward name → its parameters, e.g. `{ocr: {metric: cer}}`")
    aliases: Mapping[str, str] = param(None, "more tasks: task → reward name; they go before the table above")
    progress: float = param(
        1.0, "share of the training that is done; `at` sets it, evaluation leaves it", low=0, high=1
    )
    table: Mapping[str, str] = dataclasses.field(init=False, repr=False, compare=False)
    members: dict[str, Reward] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        for name in ("params", "aliases"):
            if not isinstance(getattr(self, name) or {}, Mapping):
                raise ValueError(f"reward 'route': parameter {name!r} is {getattr(self, name)!r}, not a mapping")
        aliases = {normalize_task(str(task)): name for task, name in (self.aliases or {}).items()}
        for name in aliases.values():
            reward_class(name)
        table = task_table() | aliases
        object.__setattr__(self, "table", table)
        # Built at first use: a task that never comes need not be able to run here.
        object.__setattr__(self, "members", {})
        for name in self.params or {}:
            if name not in table.values():
                raise ValueError(
                    f"reward 'route': no reward {name!r} to set; {nearest(str(name), set(table.values()))}"
                )
            self._member(name)

    def _member(self, name: str) -> Reward:
        if name not in self.members:
            common = {"extract": self.extract} if issubclass(reward_class(name), AnswerReward) else {}
            reward = get_reward(name, **{**common, **(self.params or {}).get(name, {})})
            self.members[name] = reward.at(self.progress)
        return self.members[name]

    def for_task(self, task):
        """The reward for a task.

        Raises:
            ValueError: no reward declares this task; the message names the nearest one and all there are.
        """
        name = self.table.get(normalize_task(str(task)))
        if name is None:
            raise ValueError(f"no reward for the task {task!r}; {nearest(str(task), self.table)}")
        return self._member(name)

    def readers(self, task):
        name = self.table.get(normalize_task(str(task)))
        return [] if name is None else [self._member(name)]

    @property
    def tightens(self):
        # Rewards tighten by parameters only, and those that are given some are built already.
        return any(reward.tightens for reward in self.members.values())

    def at(self, progress):
        return dataclasses.replace(self, progress=progress)

    def check_target(self, target):
        if not isinstance(target["task"], str):
            raise TargetError(f"'task' is {target['task']!r}, not a str")

    def check(self, target):
        """As the reward of the target's task."""
        super().check(target)
        self.for_task(target["task"]).check(target)

    def __call__(self, completion, target):
        # A target that lacks the keys of its task's reward is of another shape, not malformed.
        task = target.get("task")
        if isinstance(task, str) and not self.for_task(task).applies(target):
            return RewardResult(None, {}, None, "not_applicable")
        return super().__call__(completion, target)

    def proves(self, target):
        return self.for_task(target["task"]).proves(target)

    def gold(self, target):
        return self.for_task(target["task"]).gold(target)

    def score(self, completion, target):
        reward = self.for_task(target["task"])
        result = reward(completion, target)
        if result.score is None:
            return result
        return dataclasses.replace(result, parts={**result.parts, "accuracy": reward.accuracy(result)})
