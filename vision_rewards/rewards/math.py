"""Equivalence of mathematical answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import (
    as_set,
    bracket_kind,
    closes_at_end,
    parse_math_number,
    same_number,
    solutions,
    statements,
    strip_math,
    unevaluated,
    unreduced_root,
    words_of,
)
from vision_rewards.plain import Plain
from vision_rewards.pool import Exceeded, bounded
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param

MAX_LENGTH = 1000  # characters of one expression
_RELATIONS = ("<", ">", "\\le", "\\ge", "\\lt", "\\gt", "≤", "≥")
_IRRATIONAL = ("\\sqrt", "\\pi", "\\ln", "\\log", "\\exp", "e^")


@dataclass(frozen=True, kw_only=True)
class Math(AnswerReward):
    """1 if the answer is mathematically the target."""

    name = "math"
    summary = "Mathematical equivalence: numbers exactly, all else by math-verify in a process that can be killed."
    target_keys: ClassVar = {"answer": "str, int or float: LaTeX or plain text, with or without `$` and `\\boxed{}`"}
    formula = (
        "[answer ≡ target]. Equal texts after removal of delimiters and layout; else, for a target that is a number, "
        "equal values, or a decimal of six significant digits or more within its last place; for words, equal labels; "
        "for all else math-verify's `verify(target, answer)`, in one second and 200 MB. `x = 3` and `AB = 3` "
        "answer `3`, `x \\in S` answers S; a per "
        "cent sign is a unit, as in the graders of MATH; unequal units are wrong"
    )
    source = "math-verify (Hugging Face), on the last `\\boxed{}` or the whole answer; MATH (Hendrycks et al. 2021)"
    closes = (
        "the whole answer is the expression: `10 or 12` is not 12, two candidates are a set",
        "where the target is a number, an expression that evaluates to it (`2 + 5` for 7, the question restated) is "
        "wrong; elsewhere integrals, limits, sums, derivatives, roots that are not reduced, and polynomials factored "
        "where the target is expanded, or the reverse",
        "`x = -3 or x = 7` and `x = 8, y = 7` are not 7, nor is the chain `x = 6 = 7`",
        "`10%` has one reading, where math-verify takes it for 10 and for 0.1",
        "an interval is no set and a tuple no list: (1, 2) is not {1, 2}",
        "`5 = 3` and `2x = 6` are not read as 3 and 6: the left is a name (`x`, `AB`, `\\angle A`, `f(3)`)",
        "power towers, deep brackets and long text end with the worker's time or memory, and score 0",
        "model text never reaches Python's eval, which math-verify's plain-text reader calls",
    )
    tasks = ("math", "mathematics", "math vqa", "geometry")
    plain = (Plain("a number, or LaTeX or plain text", "\\frac{1}{2}"),)
    examples = (
        ({"answer": "\\frac{1}{2}"}, "<think>half</think>The answer is $0.5$.", "equal value"),
        ({"answer": "\\frac{1}{2}"}, "0.333", "another number"),
        ({"answer": "7"}, "2 + 5", "not evaluated"),
        ({"answer": "x^2 + 2x + 1"}, "\\boxed{1 + x(2 + x)}", "equal, but not expanded"),
        ({"answer": "x^2 + 2x + 1"}, "\\boxed{1 + 2x + x^2}", "equal as polynomials"),
        ({"answer": "\\frac{x^3}{3}"}, "\\int x^2 dx", "the question"),
        ({"answer": "7"}, "x = -3 or x = 7", "two candidates"),
        ({"answer": "5"}, "AB = 5", "a statement"),
    )

    waits = True

    literal: bool = param(
        True,
        "where the target is a number, only a number answers it, not an expression; elsewhere nothing that is left to "
        "evaluate, simplify, expand or factor, unless the target leaves it so",
    )

    def check_target(self, target):
        answer = target["answer"]
        if not isinstance(answer, str) and not is_number(answer):
            raise TargetError(f"'answer' is {str(answer)[:60]!r}, not a str or a number")
        if not strip_math(str(answer)) or len(str(answer)) > MAX_LENGTH:
            raise TargetError(f"'answer' is {str(answer)[:60]!r}, not 1 to {MAX_LENGTH} characters of mathematics")

    def gold_answer(self, target):
        return str(target["answer"])

    def score_answer(self, answer, target):
        text, gold = strip_math(answer), strip_math(str(target["answer"]))
        if not text:
            return self.failed("no_answer")
        if len(text) > MAX_LENGTH:
            return self.failed("too_long")
        if text == gold:
            return _result(True, text)
        if "=" not in gold:
            text = solutions(text)
        elif "=" not in text:
            gold = solutions(gold) or gold
        if not text:
            return self.failed("unparsable")
        interval = any(bracket_kind(as_set(side)) not in ("", "{}") for side in (text, gold))
        text, gold = (as_set(side, half_lines=interval) for side in (text, gold))
        if text == gold:
            return _result(True, text)
        return self._compare(_unwrapped(text, gold), gold)

    def _compare(self, text: str, gold: str) -> RewardResult:
        number, expected = parse_math_number(text), parse_math_number(gold)
        if number and expected:
            return _result(same_number(number, expected), text)
        if expected and self.literal and not (expected.step and any(mark in text for mark in _IRRATIONAL)):
            return self.failed("not_a_number")
        words = words_of(gold)
        if words is not None or (len(gold) == 1 and gold.isalpha()):
            said = (words_of(text), words_of(statements(text)[-1]))
            return _result(words in said if words else gold == text.strip("()"), text)
        if self.literal and (unevaluated(text, gold) or unreduced_root(text, gold)):
            return self.failed("not_evaluated")
        related = any(mark in gold for mark in _RELATIONS)
        if not related and bracket_kind(text) != bracket_kind(gold):
            return _result(False, text)
        try:
            same = bounded("vision_rewards.math_worker:equivalent", gold, text, self.literal)
        except Exceeded as error:
            return self.failed(f"exceeded_{error.kind}")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"reward 'math' needs {error.name}: pip install 'math-verify[antlr4_9_3]' (or another antlr4 extra)"
            ) from error
        return self.failed("unparsable") if same is None else _result(same, text)


def _unwrapped(text: str, gold: str) -> str:
    """An answer without brackets around all of it, where the target has none."""
    if text[:1] == "(" and text[-1:] == ")" and gold[:1] != "(" and "," not in text and closes_at_end(text):
        return text[1:-1].strip()
    return text


def _result(same: bool, text: str) -> RewardResult:
    return RewardResult(float(same), {}, text, "ok")
