"""Rewards of one's own, in whichever form they are written (`mmrl.recipe.reward_forms`)."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from numbers import Real
from typing import Any

from mmrl.contracts.errors import ConfigError, UserError, first_line, shortened
from mmrl.contracts.types import Sample, Trajectory
from mmrl.recipe.reward_forms import BY_NAME, Form, Signature, signature_of

# A mapping's key of the total, and of what evaluation reports.
TOTALS = ("reward", "overall", "score")
ACCURACIES = ("accuracy", "acc")
# Where a row says what is right, the first that is there.
GOLD = ("ground_truth", "answer", "solution")
SHOWN = 300

_log = logging.getLogger(__name__)


class RewardError(ConfigError):
    """A reward of one's own failed, or returned what is no score."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a function says of an answer.

    Attributes:
        reward: None: it does not apply.
        accuracy: None: the reward is.
        parts: further figures.
    """

    reward: float | None
    accuracy: float | None = None
    parts: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be scored: its trajectory, its sample, and the texts of all answers to it, its own among them."""

    trajectory: Trajectory
    sample: Sample
    group: tuple[str, ...]

    @property
    def text(self) -> str:
        """What was answered."""
        return self.trajectory.text


class OwnReward:
    """A user's function.

    Args:
        params: settings of it, which the recipe gives.
        place: its key in the recipe, for errors.
        range: the least and the greatest value that it gives, which become 0 and 1; None: its values are rewards.

    Raises:
        ConfigError: its signature does not take what it would be called with.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        place: str = "reward",
        range: tuple[float, float] | None = None,
    ):
        self.function, self.params, self.place, self.range = function, dict(params or {}), place, range
        self._told: set[str] = set()
        self.name = getattr(function, "__name__", type(function).__name__)
        self.signature: Signature = signature_of(function, self.params, place, self.name)

    def scores(self, answers: Sequence[Answer]) -> list[Score]:
        """A score of each answer, in order: one call for each, for each group, or for all, by the form.

        Raises:
            RewardError: the function raised, or returned something else.
        """
        form = self.signature.form
        if form.per_step:
            return self._listed(answers, self._of_all(answers))
        if form is Form.GROUP:
            groups = [list(members) for _, members in groupby(answers, key=lambda answer: id(answer.sample))]
            return [score for group in groups for score in self._listed(group, self._of_group(group))]
        return [self._score(answer, self._call([answer], *self._of_answer(answer))) for answer in answers]

    def _of_answer(self, answer: Answer) -> tuple[list[Any], dict[str, Any]]:
        sample, form = answer.sample, self.signature.form
        if form is Form.VERL:
            values = _verl(answer)
            return [], {name: values[name] for name in self.signature.given}
        if form is Form.EASYR1:
            return [_easyr1(answer)], {}
        if form is Form.EASYR1_TEXT:
            return [answer.text, gold_of(sample)], {}
        asked = {
            "images": sample.images,
            "options": options_of(sample),
            "group": answer.group,
            "trajectory": answer.trajectory,
        }
        return [answer.text, sample], {name: asked[name] for name in self.signature.given}

    def _of_group(self, group: Sequence[Answer]) -> Any:
        sample = group[0].sample
        asked = {
            "images": sample.images,
            "options": options_of(sample),
            "trajectories": [answer.trajectory for answer in group],
        }
        texts = [answer.text for answer in group]
        return self._call(group, [texts, sample], {name: asked[name] for name in self.signature.given})

    def _of_all(self, answers: Sequence[Answer]) -> Any:
        form, texts = self.signature.form, [answer.text for answer in answers]
        samples = [answer.sample for answer in answers]
        if form is Form.TRL:
            return self._call(answers, [], self._trl(answers))
        if form is Form.EASYR1_BATCH:
            return self._call(answers, [[_easyr1(answer) for answer in answers]], {})
        if form is Form.EASYR1_TEXTS:
            return self._call(answers, [texts, list(map(gold_of, samples))], {})
        if form is Form.VERL_BATCH:
            singular = dict(zip(BY_NAME[Form.VERL_BATCH], BY_NAME[Form.VERL], strict=True))
            values = [_verl(answer) for answer in answers]
            return self._call(answers, [], {k: [v[singular[k]] for v in values] for k in self.signature.given})
        asked: dict[str, list[Any]] = {
            "images": [sample.images for sample in samples],
            "options": list(map(options_of, samples)),
            "trajectories": [answer.trajectory for answer in answers],
        }
        return self._call(answers, [texts, samples], {name: asked[name] for name in self.signature.given})

    def _trl(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """TRL's arguments: prompts and completions as conversations, and the rows' columns."""
        signature = self.signature
        asked: dict[str, list[Any]] = {
            "prompts": [[dict(message) for message in answer.sample.messages] for answer in answers],
            "completions": [[{"role": "assistant", "content": answer.text}] for answer in answers],
            "completion_ids": [
                [token for decision in answer.trajectory.decisions for token in decision.tokens.tolist()]
                for answer in answers
            ],
        }
        rows = [columns_of(answer.sample) for answer in answers]
        names = set(signature.columns)
        if signature.whole:
            asked_too = {*asked, *self.params}
            names |= {name for row in rows for name in row} - asked_too
        arguments: dict[str, list[Any]] = {
            name: asked[name] for name in (asked if signature.whole else signature.given)
        }
        for name in sorted(names):
            if any(name in row for row in rows):
                arguments[name] = [row.get(name) for row in rows]
            elif name in signature.columns and name not in signature.optional:
                there = ", ".join(sorted(rows[0])) or "none"
                raise RewardError(f"reward '{self.name}' asks for the column '{name}'; the rows have {there}")
        return arguments

    def _call(self, answers: Sequence[Answer], positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        try:
            return self.function(*positional, **named, **self.params)
        except UserError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {first_line(error)} ({last.filename}, line {last.lineno}, in {last.name})"
            raise RewardError(f"reward '{self.name}' failed: {what}; {_shown(answers)}") from error

    def _listed(self, answers: Sequence[Answer], values: Any) -> list[Score]:
        """The scores of a call that scores several answers."""
        if not isinstance(values, Sequence | Mapping) and hasattr(values, "tolist"):
            values = values.tolist()
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != len(answers):
            got = f"{len(values)} values" if isinstance(values, Sequence) else type(values).__name__
            raise RewardError(f"reward '{self.name}' was called with {len(answers)} answers and returned {got}")
        return [self._score(answer, value) for answer, value in zip(answers, values, strict=True)]

    def _score(self, answer: Answer, value: Any) -> Score:
        figures = dict(value) if isinstance(value, Mapping) else {"reward": value}
        total = next((key for key in TOTALS if key in figures), None)
        if total is None:
            raise RewardError(
                f"reward function '{self.name}' returned {sorted(map(str, figures))}; a mapping needs the key 'reward'"
            )
        if self.signature.form in (Form.VERL, Form.VERL_BATCH):
            # verl's functions report texts beside the figures.
            figures = {key: number for key, number in figures.items() if key == total or isinstance(number, Real)}
        for key, number in figures.items():
            if number is not None and not _is_finite(number):
                raise RewardError(
                    f"reward function '{self.name}' returned {key}={_written(number)}; give a finite number, or None "
                    f"where it does not apply; {_shown([answer])}"
                )
        numbers = {key: None if number is None else float(number) for key, number in figures.items()}
        accuracy = next((numbers[key] for key in ACCURACIES if key in numbers), None)
        reward = self._scaled(answer, numbers.pop(total))
        self._look(answer, {"reward": reward, "accuracy": accuracy})
        return Score(reward, accuracy, numbers)

    def _scaled(self, answer: Answer, reward: float | None) -> float | None:
        """The reward in [0, 1], where the recipe gives the range of the function's values."""
        if reward is None or self.range is None:
            return reward
        low, high = self.range
        if not low <= reward <= high:
            raise RewardError(
                f"reward function '{self.name}' returned {reward:g}, outside of its range [{low:g}, {high:g}]; widen "
                f"{self.place}.range; {_shown([answer])}"
            )
        return (reward - low) / (high - low)

    def _look(self, answer: Answer, figures: Mapping[str, float | None]) -> None:
        """Says, once for each figure, that it lies outside of [0, 1]."""
        for kind, number in figures.items():
            if number is None or 0.0 <= number <= 1.0 or kind in self._told:
                continue
            self._told.add(kind)
            cure = f"{self.place}.range: [low, high] scales it" if kind == "reward" else "reports show it as a share"
            said = f"reward function '{self.name}' returned {kind}={number:g}, outside of [0, 1]"
            _log.warning("%s, for %s; %s", said, answer.sample.where, cure)


def _is_finite(number: Any) -> bool:
    try:
        return isinstance(number, Real) and math.isfinite(number)
    except OverflowError:
        # A whole number beyond what a float holds.
        return False


def _written(number: Any) -> str:
    try:
        return shortened(repr(number))
    except ValueError:
        # Python writes no whole number of more than 4,300 digits.
        return "a number of thousands of digits"


def _shown(answers: Sequence[Answer]) -> str:
    """The first answer, for a message: sample, target, completion."""
    first, rest = answers[0], f" (of {len(answers)}, the first)" if len(answers) > 1 else ""
    target, text = repr(dict(first.sample.target)), repr(first.text)
    return f"sample {first.sample.where}{rest}, target {target[:SHOWN]}, completion {text[:SHOWN]}"


def columns_of(sample: Sample) -> dict[str, Any]:
    """What a reward in another trainer's form finds in a row: its own columns, else what the sample holds.

    `task`, `options`, `images` and the keys of the target stand beside the row's columns, and `solution`, `answer` and
    `ground_truth` where it has none of that name.
    """
    made = {**sample.target, "task": sample.task, "options": options_of(sample), "images": list(sample.images)}
    gold = gold_of(sample)
    return dict.fromkeys(GOLD, gold) | made | dict(sample.columns)


def gold_of(sample: Sample) -> Any:
    """What is right, as other trainers have it: the row's own column, else its target's answer, else its target."""
    model = sample.columns.get("reward_model")
    if isinstance(model, Mapping) and "ground_truth" in model:
        return model["ground_truth"]
    for name in GOLD:
        if sample.columns.get(name) is not None:
            return sample.columns[name]
    for name in GOLD:
        if name in sample.target:
            return sample.target[name]
    return next(iter(sample.target.values())) if len(sample.target) == 1 else dict(sample.target)


def options_of(sample: Sample) -> Any:
    """The options of a multiple-choice question; empty where there are none."""
    return sample.target.get("options", sample.columns.get("options")) or {}


def _verl(answer: Answer) -> dict[str, Any]:
    columns = answer.sample.columns
    return {
        "data_source": columns.get("data_source", answer.sample.dataset),
        "solution_str": answer.text,
        "ground_truth": gold_of(answer.sample),
        "extra_info": columns.get("extra_info") or {},
    }


def _easyr1(answer: Answer) -> dict[str, Any]:
    return {
        "response": answer.text,
        "response_length": answer.trajectory.units,
        "ground_truth": gold_of(answer.sample),
        "task": answer.sample.task,
    }
