"""A language model's grades of an answer by several criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from vision_rewards.judging import read_verdicts, write_prompt
from vision_rewards.rewards.judge import Judged, check_texts, is_reference
from vision_rewards.types import RewardResult, TargetError, is_number, nearest, param

MAX_CRITERIA = 50
_KEYS = ("criterion", "weight", "veto")
_SIGN = {"question": "What does the sign say?", "answer": "EXIT"}
_CRITERIA = [{"criterion": "It says EXIT.", "veto": True}, {"criterion": "It says where the sign is.", "weight": 0.5}]


class Criterion(NamedTuple):
    """What a judge grades by itself.

    Attributes:
        text: what is asked.
        weight: its share, above 0.
        veto: an answer that does not reach half of the scale here scores 0.
    """

    text: str
    weight: float = 1.0
    veto: bool = False


def read_criteria(value: Any) -> tuple[Criterion, ...]:
    """Criteria from a list of texts, or of `{criterion: …, weight: 1, veto: false}`.

    Raises:
        ValueError: none, more than `MAX_CRITERIA`, or one of another form; one line.
    """
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MAX_CRITERIA:
        raise ValueError(f"{str(value)[:60]!r} is not a list of 1 to {MAX_CRITERIA} criteria")
    criteria = tuple(item if isinstance(item, Criterion) else _criterion(item) for item in value)
    if len({criterion.text for criterion in criteria}) != len(criteria):
        raise ValueError(f"{str(value)[:60]!r} has one criterion twice")
    return criteria


def _criterion(item: Any) -> Criterion:
    given = {"criterion": item} if isinstance(item, str) else item
    if not isinstance(given, Mapping):
        raise ValueError(f"{str(item)[:60]!r} is neither a text nor a mapping with `criterion`")
    if unknown := sorted(map(str, given.keys() - set(_KEYS))):
        raise ValueError(f"a criterion has no {unknown[0]!r}; {nearest(unknown[0], _KEYS)}")
    text, weight, veto = given.get("criterion"), given.get("weight", 1.0), given.get("veto", False)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"the criterion {str(text)[:60]!r} is no text")
    if not is_number(weight) or weight <= 0:
        raise ValueError(f"the weight {weight!r} of {text[:40]!r} is not a number above 0")
    if not isinstance(veto, bool):
        raise ValueError(f"the veto {veto!r} of {text[:40]!r} is not true or false")
    # One line each, so that no criterion's text looks like the next one.
    return Criterion(" ".join(text.split()), float(weight), veto)


@dataclass(frozen=True, kw_only=True)
class Rubric(Judged):
    """The weighted mean of a judge's grades by criteria, some of which may veto."""

    name = "rubric"
    summary = "Weighted criteria, each graded by a language model in one call; some may veto."
    target_keys: ClassVar = {
        "question?": "str: what was asked; where a row of a dataset holds none, the text of its last question",
        "criteria?": "list of texts or of {criterion: str, weight: 1, veto: false}, in place of the parameter",
        "answer?": "str: a reference, which the judge sees unless `reference` is false",
    }
    formula = (
        "0 where a criterion with a veto gets less than scale / 2; else Σ wᵢ gᵢ / (scale · Σ wᵢ) over the criteria"
    )
    source = "rubrics as rewards (Gunjal et al. 2025), with vetoes; one verdict of the judge, as `judge`"
    closes = (
        "what `judge` closes: the fence, broken tokens, no lenient reading of the reply",
        "a reply with more or fewer grades than criteria gives no score",
        "a veto is no weight: nothing else makes up for it",
    )
    tasks = ("rubric",)
    part_defaults: ClassVar = {"grade": None, "veto": None}
    examples = (
        (_SIGN, "<answer>exit</answer>", "the reference itself needs no call", {"criteria": _CRITERIA}),
        (_SIGN, "<answer> </answer>", "nothing to judge", {"criteria": _CRITERIA}),
        (
            {**_SIGN, "criteria": ["It says EXIT."]},
            "The way out.",
            "what the judge makes of it; none is configured here",
        ),
    )

    criteria: Sequence[Any] | None = param(
        None, "list of texts or of `{criterion: …, weight: 1, veto: false}` for rows without their own"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.criteria is not None:
            try:
                object.__setattr__(self, "criteria", read_criteria(self.criteria))
            except ValueError as error:
                raise ValueError(f"reward 'rubric': parameter 'criteria': {error}") from None

    def missing(self, target):
        if target.get("criteria") is not None:
            return None
        if self.criteria is None:
            return "criteria"
        known = target.get("question") is not None or self.reference_of(target) is not None
        return None if known else "question"

    def check_target(self, target):
        check_texts(target, ("question", "answer"))
        self._criteria(target)

    def _criteria(self, target: Mapping[str, Any]) -> tuple[Criterion, ...]:
        if target.get("criteria") is None:
            return self.criteria
        try:
            return read_criteria(target["criteria"])
        except ValueError as error:
            raise TargetError(f"'criteria': {error}") from None

    def score_answer(self, answer, target):
        criteria, reference = self._criteria(target), self.reference_of(target)
        if is_reference(answer, reference):
            parsed = {"grades": [self.scale] * len(criteria), "reason": None}
            return RewardResult(1.0, {"grade": float(self.scale), "veto": 0.0}, parsed, "ok")
        texts = [criterion.text for criterion in criteria]
        messages = write_prompt(answer, target.get("question"), reference, texts, self.scale)
        verdicts = self.ask(messages, lambda reply: read_verdicts(reply, self.scale, len(texts)))
        if isinstance(verdicts, RewardResult):
            return verdicts
        grades, why = verdicts
        total = sum(criterion.weight for criterion in criteria)
        mean = sum(criterion.weight * grade for criterion, grade in zip(criteria, grades)) / total
        vetoed = any(criterion.veto and 2 * grade < self.scale for criterion, grade in zip(criteria, grades))
        score = 0.0 if vetoed else min(1.0, mean / self.scale)
        return RewardResult(score, {"grade": mean, "veto": float(vetoed)}, {"grades": grades, "reason": why}, "ok")
