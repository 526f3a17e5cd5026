"""A weighted mean of rewards."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vision_rewards.registry import get_reward
from vision_rewards.types import Reward, RewardResult, TargetError, is_number, param


def _member(part: Any) -> tuple[Reward, float]:
    if not isinstance(part, (list, tuple)) or len(part) not in (2, 3):
        raise ValueError(f"reward 'combine': {part!r} is not (name, weight) or (name, weight, params)")
    reward, weight, params = (*part, {})[:3]
    if not is_number(weight) or weight <= 0:
        raise ValueError(f"reward 'combine': the weight {weight!r} of {reward!r} is not a number above 0")
    if not isinstance(params, Mapping):
        raise ValueError(f"reward 'combine': the parameters {params!r} of {reward!r} are not a mapping")
    return (reward if isinstance(reward, Reward) else get_reward(reward, **params)), float(weight)


@dataclass(frozen=True, kw_only=True)
class Combine(Reward):
    """Several rewards of one completion."""

    name = "combine"
    summary = "Weighted mean of other rewards, each reported as a part."
    target_keys: ClassVar = {}
    formula = "Σ wᵢ sᵢ / Σ wᵢ over the parts that apply to the target; none applies: no score"
    source = "EasyVideoR1's 0.9 · accuracy + 0.1 · format, for any parts"
    closes = ("a part that does not apply leaves the denominator: it neither gives nor costs",)
    part_defaults: ClassVar = {"accuracy": 0.0}
    metric_part = "accuracy"

    parts: tuple = param((), "list of [name, weight] or [name, weight, parameters]; weights above 0")
    members: tuple[tuple[str, float, Reward], ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        if not isinstance(self.parts, (list, tuple)) or not self.parts:
            raise ValueError("reward 'combine': parameter 'parts' is not a list with at least one part")
        seen, members = Counter(), []
        for reward, weight in map(_member, self.parts):
            seen[reward.name] += 1
            label = reward.name if seen[reward.name] == 1 else f"{reward.name}#{seen[reward.name]}"
            members.append((label, weight, reward))
        object.__setattr__(self, "members", tuple(members))

    def applies(self, target):
        return any(reward.applies(target) for _, _, reward in self.members)

    def for_task(self, task):
        return Combine(parts=tuple((reward.for_task(task), weight) for _, weight, reward in self.members))

    def check_target(self, target):
        if not self.applies(target):
            names = [label for label, _, _ in self.members]
            raise TargetError(f"none of {names} applies to a target with the keys {sorted(target)}")
        for _, _, reward in self.members:
            if reward.applies(target):
                reward.check(target)

    def gold(self, target):
        rewards = [reward for _, _, reward in self.members if reward.applies(target)]
        # A stable sort: the first answer reward writes the answer, rewards of form then dress it.
        rewards.sort(key=lambda reward: not reward.is_answer)
        completion = rewards[0].gold(target)
        for reward in rewards[1:]:
            completion = reward.dress(completion)
        return completion

    def score(self, completion, target):
        total = weights = 0.0
        values: dict[str, float | None] = {}
        parsed: dict[str, Any] = {}
        judged: list[tuple[bool, float, str]] = []
        for label, weight, reward in self.members:
            result = reward(completion, target)
            values[label] = result.score
            values.update({f"{label}/{part}": value for part, value in result.parts.items()})
            if result.score is None:
                continue
            parsed[label] = result.parsed
            total, weights = total + weight * result.score, weights + weight
            judged.append((reward.is_answer, reward.accuracy(result), result.reason))
        _, values["accuracy"], reason = next((entry for entry in judged if entry[0]), judged[0])
        # Rounding can carry a mean of ones past 1.
        return RewardResult(min(1.0, total / weights), values, parsed, reason)
