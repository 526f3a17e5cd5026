"""Finding rewards by name. A new reward is a file in `rewards/` and a line here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from vision_rewards.plain import answer_text, read_options, text_of
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
    "rubric": "rubric:Rubric",
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
    return build(reward_class(name), name, **params)


def build(cls: type[Reward], name: str, **params: Any) -> Reward:
    """A reward of a class, which need not be in the table. Raises ValueError on an unknown parameter of `name`."""
    known = cls.spec().params
    for param in params:
        if param not in known:
            raise ValueError(f"reward {name!r} has no parameter {param!r}; {nearest(param, known)}")
    return cls(**params)


def list_rewards() -> dict[str, RewardSpec]:
    """Every reward's description by name, in alphabetical order."""
    return {name: reward_class(name).spec() for name in sorted(REWARDS)}


def normalize_task(task: str) -> str:
    """Lower case, with `_`, `-` and runs of white space as one blank."""
    return re.sub(r"[\s_-]+", " ", task).strip().lower()


def task_table() -> dict[str, str]:
    """Task name -> reward name, for every task that some reward declares."""
    return dict(_tasks(tuple(REWARDS.items())))


@cache
def _tasks(rewards: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Asked for each plain answer that is read: of some sixty classes."""
    return {task: name for name in sorted(dict(rewards)) for task in reward_class(name).tasks}


def target_of(task: str, answer: Any, options: Any = None, readers: Sequence[Reward] = ()) -> dict[str, Any]:
    """The target that a dataset's plain answer stands for, as the reward that declares the task reads it.

    A task that no reward declares gets `{"answer": text}`, or, where none of the readers can read that, what the first
    of them reads.

    Args:
        task: a task's name.
        answer: text (of <answer> tags the last block counts), a number, a list or a mapping.
        options: letter -> text, or a list of texts such as `["A. cat", "B. dog"]` or `["cat", "dog"]`.
        readers: the rewards that will score the answers; one that declares the task goes before the table.

    Raises:
        NeedsTarget: the task's reward reads what a plain answer cannot say; the message names its keys.
        ValueError: the answer or the options do not fit the task.
    """
    if answer is None:
        raise ValueError("the answer is empty")
    if isinstance(answer, str):
        answer = answer_text(answer)
    task = normalize_task(task)
    owner = next((reader for reader in readers if task in map(normalize_task, reader.tasks)), None)
    if owner is None and (name := task_table().get(task)) is not None:
        owner = reward_class(name)
    if owner is None:
        target = {"answer": text_of(answer)}
        if not readers or any(reader.applies(target) for reader in readers):
            return target
        owner = readers[0]
    return owner.target_of(answer, read_options(options), task)


class PlainAnswer(NamedTuple):
    """What one task takes as a plain answer.

    Attributes:
        task: its name.
        reward: the reward that declares it.
        form: what a plain answer may be; None where rows have to hold the target itself.
        answer: an example, and the options that come with it.
    """

    task: str
    reward: str
    form: str | None
    answer: Any = None
    options: Any = None


def plain_answers() -> list[PlainAnswer]:
    """Every task of every reward with the plain answers that its rows may hold, by reward."""
    rows = []
    for task, name in task_table().items():
        plain = [form for form in reward_class(name).plain if not form.tasks or task in form.tasks]
        # A form for this task alone goes before one for all of them.
        chosen = max(plain, key=lambda form: bool(form.tasks), default=None)
        rows.append(PlainAnswer(task, name, *(chosen[:3] if chosen else (None,))))
    return rows


def place_keys() -> dict[str, str]:
    """Target key -> how it holds places in a picture or video (`places.KINDS`), of all rewards."""
    return dict(_places(tuple(REWARDS.items())))


@cache
def _places(rewards: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Asked for each row that is prepared: of some sixty classes."""
    return {key: kind for name in sorted(dict(rewards)) for key, kind in reward_class(name).places.items()}


def combine(parts: Sequence[Sequence]) -> Reward:
    """A weighted mean of rewards: `combine([("ocr", 0.9, {"metric": "cer"}), ("format", 0.1)])`.

    Args:
        parts: (name or reward, weight) or (name, weight, params).
    """
    return get_reward("combine", parts=parts)


def validate(name: str | Reward, targets: Iterable[Mapping[str, Any]], **params: Any) -> None:
    """Prove that each target can be scored and that its gold answer, where it has one, scores 1.0.

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
            if not reward.proves(target):
                continue
            completion = reward.gold(target)
            result = reward(completion, target)
        except (TargetError, ValueError) as error:
            raise TargetError(f"target {index}: {error}") from error
        if result.score != 1.0 or reward.accuracy(result) != 1.0:
            raise TargetError(
                f"target {index}: the gold answer {completion[:60]!r} scores {result.score} ({result.reason}), not 1.0"
            )
