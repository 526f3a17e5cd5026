"""What every reward is: a frozen dataclass whose fields are its parameters and whose class attributes describe it."""

from __future__ import annotations

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from vision_rewards.parsers import MODES, TAG_NAME, Place
from vision_rewards.plain import Plain, text_of


class TargetError(ValueError):
    """A target that cannot be scored; the message is one line and names the key."""

    def __init__(self, message: str):
        # It quotes the target, which may hold line breaks.
        super().__init__(" ".join(message.split()))


class NeedsTarget(ValueError):
    """A plain answer that cannot say what the reward reads: the row has to hold the target itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class RewardResult:
    """What one completion earned.

    Attributes:
        score: finite and in [0, 1], or None where the target lacks the keys that the reward scores.
        parts: named measurements, each finite or None where there was nothing to measure.
        parsed: the JSON-serialisable value read from the completion, None if there was none.
        reason: short code: "ok" (an answer was read, right or wrong), "no_answer", "unparsable", "not_applicable", …
    """

    score: float | None
    parts: Mapping[str, float | None]
    parsed: Any
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter of a reward."""

    default: Any
    help: str
    choices: tuple[Any, ...] | None = None


class Example(NamedTuple):
    """One case that shows what a reward does: for its page, for `mmrl rewards try --demo` and for the tests."""

    target: Mapping[str, Any]
    completion: str
    why: str
    params: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class RewardSpec:
    """The public description of a reward, read from its class. A target key that ends in `?` may be absent."""

    name: str
    summary: str
    target_keys: Mapping[str, str]
    params: Mapping[str, ParamSpec]
    parts: tuple[str, ...]
    formula: str
    source: str
    closes: tuple[str, ...]
    tasks: tuple[str, ...]
    metric_part: str
    examples: tuple[Example, ...]
    plain: tuple[Plain, ...]


def nearest(word: str, known: Iterable[str]) -> str:
    """The middle of an error message: a suggestion if one is close, then all that is allowed."""
    known = sorted(known)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Allowed: {', '.join(known) or 'none'}"


def param(
    default: Any,
    help: str,
    *,
    choices: tuple = (),
    several: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare a parameter: a dataclass field with its documentation and its range (inclusive).

    With `several`, a list of the choices is a value, too.
    """
    bounds = {"help": help, "choices": choices or None, "several": several, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=bounds)


def numbered(names: Iterable[str]) -> list[str]:
    """Labels of parts by their names: the second of one name is `name#2`."""
    uses: Counter[str] = Counter()
    labels = []
    for name in names:
        uses[name] += 1
        labels.append(name if uses[name] == 1 else f"{name}#{uses[name]}")
    return labels


def is_number(value: Any) -> bool:
    """Whether `value` is a finite int or float; bool is not a number here."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # math.isfinite raises for an int beyond the floats.
    return abs(value) < 1e308 if isinstance(value, int) else math.isfinite(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reward(ABC):
    """Scores completions. Calling it is pure: no I/O, no randomness, and neither argument is changed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    target_keys: ClassVar[Mapping[str, str]]
    # Target keys that hold places in a picture or video, and how: one of `places.KINDS`.
    places: ClassVar[Mapping[str, str]] = {}
    formula: ClassVar[str]
    source: ClassVar[str]
    closes: ClassVar[tuple[str, ...]]
    tasks: ClassVar[tuple[str, ...]] = ()
    # Part -> its value when no answer could be read: 0.0, or None for what cannot be measured then.
    part_defaults: ClassVar[Mapping[str, float | None]] = {}
    metric_part: ClassVar[str] = "score"
    # (target, completion, why) or (target, completion, why, parameters), in documentation order; the first is a right
    # answer. Between them they show every kind of target that the reward takes.
    examples: ClassVar[tuple[tuple, ...]] = ()
    # The plain answers that `target_of` takes; none: a dataset has to hold the target itself.
    plain: ClassVar[tuple[Plain, ...]] = ()
    # False for rewards of form (tags, length), which never stand for accuracy in a combination.
    is_answer: ClassVar[bool] = True
    # True where a call waits for a worker process or a server, so that several at once pay off.
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata:
                self._check_param(field, getattr(self, field.name))

    def _check_param(self, field: dataclasses.Field, value: Any) -> None:
        place = f"reward {self.name!r}: parameter {field.name!r}"
        choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
        if field.metadata["several"] and isinstance(value, (list, tuple)) and value:
            for item in value:
                self._check_param(field, item)
            return
        if choices is not None and value not in choices:
            raise ValueError(f"{place}: {value!r} is unknown; {nearest(str(value), map(str, choices))}")
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"{place}: {value!r} is not true or false")
        if (low is None and high is None) or (value is None and field.default is None):
            return
        if not is_number(value) or (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{place}: {value!r} is not a number in [{low}, {'inf' if high is None else high}]")

    def __call__(self, completion: str, target: Mapping[str, Any]) -> RewardResult:
        """Score one completion.

        Returns:
            A result whose score is None, reason "not_applicable", if the target lacks one of the reward's keys.

        Raises:
            TargetError: the target has the keys, but not values that can be scored.
            TypeError: the completion is not a str.
        """
        if not isinstance(completion, str):
            raise TypeError(f"a completion is a str, not {type(completion).__name__}")
        if not self.applies(target):
            return RewardResult(None, {}, None, "not_applicable")
        self.check_target(target)
        return self.score(completion, target)

    def applies(self, target: Mapping[str, Any]) -> bool:
        """Whether the target has every required key; a null, as columnar files fill in, counts as absent."""
        return self.missing(target) is None

    @property
    def reads_question(self) -> bool:
        """Whether it reads what was asked: a target's `question`, which callers fill in from the prompt."""
        return "question?" in self.target_keys

    def missing(self, target: Mapping[str, Any]) -> str | None:
        """The first key that the target lacks and the reward needs."""
        needed = (key for key in self.target_keys if not key.endswith("?"))
        return next((key for key in needed if target.get(key) is None), None)

    def check(self, target: Mapping[str, Any]) -> None:
        """Raise TargetError, with a one-line reason, if the target cannot be scored."""
        key = self.missing(target)
        if key is not None:
            present = sorted(key for key in target if target[key] is not None)
            raise TargetError(f"reward {self.name!r} needs the key {key!r}; the target has {present}")
        self.check_target(target)

    @classmethod
    def target_of(
        cls, answer: Any, options: Mapping[str, str] | None = None, task: str | None = None
    ) -> dict[str, Any]:
        """The target that a dataset's plain answer stands for.

        Args:
            answer: text without tags, a number, a list or a mapping, as published files have it.
            options: letter -> text, where the row has any.
            task: one of `tasks`, for a reward that reads the answers of some tasks in another way.

        Raises:
            NeedsTarget: the reward takes no plain answer, or none like this one.
            ValueError: the answer does not fit.
        """
        if not cls.plain:
            raise cls.needs_target(answer)
        return {"answer": text_of(answer)}

    @classmethod
    def needs_target(cls, answer: Any) -> NeedsTarget:
        """The error for a plain answer that cannot say what the reward reads."""
        keys = [f"'{key.rstrip('?')}'{' (optional)' if key.endswith('?') else ''}" for key in cls.target_keys]
        return NeedsTarget(
            f"{answer!r:.80} does not hold what reward {cls.name!r} reads; write the column `target`, a mapping with "
            f"the keys {', '.join(keys)}"
        )

    def proves(self, target: Mapping[str, Any]) -> bool:
        """Whether `gold` is known to score 1.0: not so where a judge has no reference."""
        return True

    def for_task(self, task: str) -> Reward:
        """The reward for samples of this task: itself, unless it routes."""
        return self

    def readers(self, task: str) -> list[Reward]:
        """The rewards that read the answers to this task: itself, unless it routes, combines or reads none."""
        return [self] if self.is_answer else []

    @property
    def tightens(self) -> bool:
        """Whether `at` gives other rewards at other points of the training."""
        return False

    def at(self, progress: float) -> Reward:
        """The reward at this point of the training, 0 at its start and 1 at its end: itself, unless it tightens."""
        return self

    @property
    def needs_group(self) -> bool:
        """Whether a target can be scored only after `with_group`."""
        return False

    def with_group(self, completions: Sequence[str], target: Mapping[str, Any]) -> Mapping[str, Any]:
        """The target with what this reward takes from all completions of one prompt; most take nothing."""
        return target

    def dress(self, completion: str) -> str:
        """Give a completion the form that this reward asks for."""
        return completion

    def accuracy(self, result: RewardResult) -> float:
        """The number an evaluation reports for this result, in [0, 1].

        Raises:
            ValueError: the reward did not apply, so there is nothing to report.
        """
        if result.score is None:
            raise ValueError(f"reward {self.name!r} did not apply to this target: no accuracy")
        value = result.score if self.metric_part == "score" else result.parts[self.metric_part]
        return float(value)

    def failed(self, reason: str, parsed: Any = None) -> RewardResult:
        """A result of score 0 for a completion that holds no usable answer."""
        return RewardResult(0.0, dict(self.part_defaults), parsed, reason)

    @abstractmethod
    def check_target(self, target: Mapping[str, Any]) -> None:
        """Raise TargetError for values that cannot be scored; the required keys are there. Every call runs it."""

    @abstractmethod
    def gold(self, target: Mapping[str, Any]) -> str:
        """A completion that scores 1.0."""

    @abstractmethod
    def score(self, completion: str, target: Mapping[str, Any]) -> RewardResult:
        """Score a completion against a target that has been checked."""

    @classmethod
    def spec(cls) -> RewardSpec:
        """The class's own description."""
        params = {
            field.name: ParamSpec(field.default, field.metadata["help"], field.metadata["choices"])
            for field in dataclasses.fields(cls)
            if field.metadata
        }
        return RewardSpec(
            name=cls.name,
            summary=cls.summary,
            target_keys=dict(cls.target_keys),
            params=params,
            parts=tuple(cls.part_defaults),
            formula=cls.formula,
            source=cls.source,
            closes=cls.closes,
            tasks=cls.tasks,
            metric_part=cls.metric_part,
            examples=tuple(Example(*example) for example in cls.examples),
            plain=cls.plain,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerReward(Reward):
    """A reward that reads one answer out of the completion and scores only that."""

    extract: str | Sequence[str] = param(
        "auto",
        "where the answer stands: `auto` last complete `<answer>` after the thinking if there is any such tag, else "
        "all text after the thinking; `answer` the tag is demanded; `boxed` last `\\boxed{}`; `raw` all of it; `bare` "
        "as `auto`, and nothing stands around it; or a list of those that count",
        choices=MODES,
        several=True,
    )
    tag: str = param("answer", "the tag of the answer; one that is not `answer` is demanded, wherever it stands")
    field: str | None = param(None, "key of a JSON answer that holds what is scored; null: all of it is")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.extract, list):
            object.__setattr__(self, "extract", tuple(self.extract))
        if not isinstance(self.tag, str) or not TAG_NAME.fullmatch(self.tag):
            raise ValueError(f"reward {self.name!r}: parameter 'tag': {self.tag!r} is not the name of a tag")
        if self.field is not None and (not isinstance(self.field, str) or not self.field):
            raise ValueError(f"reward {self.name!r}: parameter 'field': {self.field!r} is not a key")

    @property
    def place(self) -> Place:
        """Where the answer stands."""
        return Place((self.extract,) if isinstance(self.extract, str) else tuple(self.extract), self.tag, self.field)

    def check(self, target: Mapping[str, Any]) -> None:
        """Raise TargetError if the target cannot be scored, or its answer cannot be written under `extract`."""
        super().check(target)
        if not self.proves(target):
            return
        text = self.gold_answer(target)
        if self.place.read(self.place.write(text))[0] != text.strip():
            raise TargetError(f"the answer {text[:60]!r} cannot be read back with extract={self.extract!r}")

    def gold(self, target: Mapping[str, Any]) -> str:
        """A completion that scores 1.0, in the place that is read."""
        return self.place.write(self.gold_answer(target))

    def score(self, completion: str, target: Mapping[str, Any]) -> RewardResult:
        """Extract the answer and score it; a missing or oversized answer scores 0."""
        answer, reason = self.place.read(completion)
        return self.failed(reason) if answer is None else self.score_answer(answer, target)

    @abstractmethod
    def gold_answer(self, target: Mapping[str, Any]) -> str:
        """The right answer as text, without tags."""

    @abstractmethod
    def score_answer(self, answer: str, target: Mapping[str, Any]) -> RewardResult:
        """Score a non-empty answer of at most `parsers.MAX_ANSWER` characters."""
