"""A formula in LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, latex_tokens, readings
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param


@dataclass(frozen=True, kw_only=True)
class Formula(AnswerReward):
    """How much of a formula was read right, by edit distance of LaTeX tokens."""

    name = "formula"
    summary = "Token edit similarity of LaTeX, after normalising ways of writing that look the same."
    target_keys: ClassVar = {"latex": "str: the formula, with or without `$`, `\\[` or an equation environment"}
    formula = (
        "a, b: LaTeX tokens without spacing, delimiters, sizes, upright faces and needless braces, synonyms made one; "
        "edit: 1 − Levenshtein(a, b) / max(|a|, |b|); exact: [a = b]"
    )
    source = "normalised edit distance as in OmniDocBench and UniMERNet, on tokens instead of characters"
    closes = (
        "spacing commands, empty braces and comments are no tokens: padding gains nothing, and alone they score 0",
        "a second formula, or the same one twice, counts as insertions",
        "braces that do not match stay tokens: they neither crash the reading nor match for free",
        "faces that change the meaning (`\\mathbf`, `\\mathbb`, `\\mathcal`) count",
    )
    tasks = ("formula", "formula recognition", "latex", "latex ocr", "math ocr")
    plain = (Plain("LaTeX", r"\frac{a}{2}"),)
    part_defaults: ClassVar = {"exact": 0.0, "similarity": 0.0}
    metric_part = "exact"
    examples: ClassVar = (
        ({"latex": r"\frac{a}{2} \leq x^{2}"}, r"$\dfrac a2 \le x^2$", "another way of writing the same"),
        ({"latex": r"\frac{a}{2} \leq x^{2}"}, r"\frac{a}{2} < x^{2}", "one of seven tokens differs"),
        ({"latex": r"\frac{a}{2} \leq x^{2}"}, r"\frac{a}{2} \leq x^{2} " * 2, "said twice"),
        ({"latex": r"\mathbf{x}"}, "x", "the face matters"),
        ({"latex": "x"}, r"\quad \, {}", "nothing but space"),
    )

    metric: str = param("edit", "which measure is the score", choices=("edit", "exact"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"latex": text_of(answer)}

    def check_target(self, target):
        latex = target["latex"]
        if not isinstance(latex, str) or len(latex) > MAX_ANSWER:
            raise TargetError(f"'latex' is {str(latex)[:60]!r}, not a str of at most {MAX_ANSWER} characters")
        if not _tokens(latex):
            raise TargetError(f"'latex' is {latex[:60]!r}: nothing is left of it once normalised")

    def gold_answer(self, target):
        return target["latex"]

    def score_answer(self, answer, target):
        expected = _tokens(target["latex"])
        said, best = [], -1.0
        for layer in readings(answer, faces=False):
            tokens = latex_tokens(layer)
            similarity = metrics.normalized_edit_similarity(tokens, expected) if tokens else -1.0
            if similarity > best:
                said, best = tokens, similarity
            if best == 1.0:
                break
        if not said:
            return self.failed("no_answer")
        exact = float(said == list(expected))
        score = exact if self.metric == "exact" else best
        return RewardResult(score, {"exact": exact, "similarity": best}, " ".join(said), "ok")


@lru_cache(maxsize=256)
def _tokens(latex: str) -> tuple[str, ...]:
    return tuple(latex_tokens(latex))
