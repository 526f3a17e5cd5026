"""Agreement with what most of a group of completions answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import canonical_answer, extract_answer
from vision_rewards.plain import Plain, text_of
from vision_rewards.rewards.multiple_choice import by_letter, check_options
from vision_rewards.types import AnswerReward, RewardResult, TargetError

Options = Mapping[str, str] | Sequence[str] | None


def majority_answer(
    completions: Sequence[str], *, extract: str = "auto", options: Options = None, min_share: float = 0.0
) -> str | None:
    """The answer that most completions of one prompt give, in the form of `parsers.canonical_answer`.

    Completions without a readable answer stay in the denominator of the share, and cannot win.

    Args:
        completions: the group.
        extract: where the answer stands, one of `parsers.EXTRACT_MODES`.
        options: of a multiple-choice question: letter -> text, or texts.
        min_share: the share of the group that the answer must exceed; 0.5 asks for an absolute majority.

    Returns:
        None where two answers share the first place, no answer is readable, or the share is not exceeded.
    """
    answers = Counter(answer for answer in _answers(completions, extract, options) if answer is not None)
    ranking = answers.most_common(2)
    if not ranking or (len(ranking) == 2 and ranking[0][1] == ranking[1][1]):
        return None
    answer, votes = ranking[0]
    return answer if votes > min_share * len(completions) else None


def majority_scores(
    completions: Sequence[str], *, extract: str = "auto", options: Options = None, min_share: float = 0.0
) -> list[float | None]:
    """1.0 for each completion whose answer is `majority_answer`'s, 0.0 for the others; all None where there is none.

    TTRL's reward (Zuo et al. 2025), except that a tie has no winner there either picks by order. Equal to
    `get_reward("majority")` with the target `{"majority": majority_answer(completions, ...)}`.

    Args: as `majority_answer`.
    """
    winner = majority_answer(completions, extract=extract, options=options, min_share=min_share)
    if winner is None:
        return [None] * len(completions)
    return [float(answer == winner) for answer in _answers(completions, extract, options)]


@dataclass(frozen=True, kw_only=True)
class Majority(AnswerReward):
    """1 if the answer is the group's majority answer, which the target carries."""

    name = "majority"
    summary = "Agreement with the answer that most of the group give; needs no ground truth."
    target_keys: ClassVar = {
        "majority": "str, from `rewards.majority.majority_answer(completions)`; null where the group has none",
        "options?": "letter → text, or a list of texts (A, B, …)",
    }
    formula = (
        "[canon(answer) = majority], canon: the option letter; else the value of a bare number; else the label. "
        "majority: the most frequent canon(answer) of the group, none on a tie"
    )
    source = "TTRL (Zuo et al. 2025)"
    closes = (
        "a completion without a readable answer scores 0, and cannot be the majority",
        "a tie has no winner: the group gets no score, rather than that of whichever came first",
        "it rewards agreement, not truth: a policy that always gives one answer has full reward, so watch a held-out "
        "accuracy",
    )
    tasks = ("majority", "ttrl")
    plain = (Plain("any text: the group decides; `options` are kept", "B", ["a cat", "a dog"]),)
    examples = (
        ({"majority": "3"}, "There. <answer>three</answer>", "three is 3"),
        ({"majority": "3"}, "4", "another answer"),
        ({"majority": "B", "options": ["a cat", "a dog"]}, "a dog", "the text of B"),
    )

    @property
    def needs_group(self):
        return True

    def with_group(self, completions, target):
        options = target.get("options")
        answers = [self.place.read(completion)[0] or "" for completion in completions]
        return {**target, "majority": majority_answer(answers, extract="raw", options=options)}

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"answer": text_of(answer), **({"options": dict(options)} if options else {})}

    def check_target(self, target):
        options, majority = target.get("options"), target["majority"]
        if options is not None:
            check_options(options)
        if not isinstance(majority, str) or canonical_answer(majority, _letters(options)) is None:
            raise TargetError(f"'majority' is {str(majority)[:60]!r}, not a readable answer")

    def gold_answer(self, target):
        return target["majority"]

    def score_answer(self, answer, target):
        letters = _letters(target.get("options"))
        canonical = canonical_answer(answer, letters)
        if canonical is None:
            return self.failed("unparsable")
        return RewardResult(
            float(canonical == canonical_answer(target["majority"], letters)), {}, canonical[:1000], "ok"
        )


def _answers(completions: Sequence[str], extract: str, options: Options) -> list[str | None]:
    letters = _letters(options)
    answers = (extract_answer(completion, extract)[0] for completion in completions)
    return [None if answer is None else canonical_answer(answer, letters) for answer in answers]


def _letters(options: Options) -> dict[str, str] | None:
    return None if options is None else by_letter(options)
