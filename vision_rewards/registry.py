"""Finding rewards by name. A new reward is a file in `rewards/` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vision_rewards.types import Reward, RewardSpec, TargetError, nearest

# name -> "module:class"; modules load at first use, which keeps `import vision_rewards` quick.
REWARDS = {
    "chart": "chart:Chart",
    "chart_to_code": "chart_to_code:ChartToCode",
    "classification": "classification:Classification",
    "combine": "combine:Combine",
    "consistency": "consistency:Consistency",
    "counting": "counting:Counting",
    "detection": "detection:Detection",
    "format": "format:Format",
    "formula": "formula:Formula",
    "gui_action": "gui_action:GuiAction",
    "iou": "iou:Iou",
    "judge": "judge:Judge",
    "length": "length:Length",
    "majority": "majority:Majority",
    "mask_iou": "mask_iou:MaskIou",
    "math": "math:Math",
    "multiple_choice": "multiple_choice:MultipleChoice",
    "numeric": "numeric:Numeric",
    "ocr": "ocr:Ocr",
    "open_ended": "open_ended:OpenEnded",
    "ordering": "ordering:Ordering",
    "point_in_box": "point_in_box:PointInBox",
    "regression": "regression:Regression",
    "repetition": "repetition:Repetition",
    "route": "route:Route",
    "spatiotemporal_iou": "spatiotemporal_iou:SpatiotemporalIou",
    "table": "table:Table",
    "temporal_iou": "temporal_iou:TemporalIou",
    "timestamp": "timestamp:Timestamp",
    "tracking": "tracking:Tracking",
    "video_qa": "video_qa:VideoQa",
    "vqa": "vqa:Vqa",
    "yes_no": "yes_no:YesNo",
}


def reward_class(name: str) -> type[Reward]:
    """The class behind a name.

    Raises:
        ValueError: no such reward; the message names the nearest one and all there are.
    """
    if name not in REWARDS:
        raise ValueError(f"unknown reward {name!r}; {nearest(str(name), REWARDS)}")
    module, attribute = REWARDS[name].split(":")
    return getattr(importlib.import_module(f"vision_rewards.rewards.{module}"), attribute)


def get_reward(name: str, **params: Any) -> Reward:
    """Build a reward.

    Args:
        name: a key of `list_rewards()`.
        params: the reward's own parameters; see `list_rewards()[name].params`.

    Raises:
        ValueError: an unknown name or parameter, or a value out of range; the message says what is allowed.
    """
    cls = reward_class(name)
    known = cls.spec().params
    for param in params:
        if param not in known:
            raise ValueError(f"reward {name!r} has no parameter {param!r}; {nearest(param, known)}")
    return cls(**params)


def list_rewards() -> dict[str, RewardSpec]:
    """Every reward's description by name, in alphabetical order."""
    return {name: reward_class(name).spec() for name in sorted(REWARDS)}


def combine(parts: Sequence[Sequence]) -> Reward:
    """A weighted mean of rewards: `combine([("ocr", 0.9, {"metric": "cer"}), ("format", 0.1)])`.

    Args:
        parts: (name or reward, weight) or (name, weight, params).
    """
    return get_reward("combine", parts=parts)


def validate(name: str | Reward, targets: Iterable[Mapping[str, Any]], **params: Any) -> None:
    """Prove that each target can be scored and that its gold answer scores 1.0.

    Args:
        name: a reward's name, or a reward.
        targets: the ground truths of a dataset.
        params: parameters for a reward given by name.

    Raises:
        TargetError: names the first target, by index, that cannot be scored or whose gold answer does not score 1.0.
    """
    reward = get_reward(name, **params) if isinstance(name, str) else name
    for index, target in enumerate(targets):
        try:
            reward.check(target)
            completion = reward.gold(target)
            result = reward(completion, target)
        except (TargetError, ValueError) as error:
            raise TargetError(f"target {index}: {error}") from error
        if result.score != 1.0 or reward.accuracy(result) != 1.0:
            raise TargetError(
                f"target {index}: the gold answer {completion[:60]!r} scores {result.score} ({result.reason}), not 1.0"
            )
