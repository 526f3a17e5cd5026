"""A number within a tolerance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from vision_rewards.parsers import NUMBER_WORDS, bare, parse_number, statements
from vision_rewards.plain import Plain, number_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param

MAX_MAGNITUDE = Decimal("1e100")
_NAME = 4  # letters from which a unit is a name
_COUNT_WORDS = frozenset(NUMBER_WORDS) | {"minus", "negative"}
_HEDGE = re.compile(
    r"\A(?:[A-Za-z]{1,2}\s?[=≈]\s?|(?:about|approximately|approx\.?|around|roughly|circa|ca\.)\s|[~≈]\s?){1,2}",
    re.IGNORECASE,
)
_MEASURED = re.compile(
    r"\s(?:long|wide|tall|high|deep|thick|away|apart|old|in (?:length|width|height|depth|size|total|diameter))\Z",
    re.IGNORECASE,
)
_TEX = re.compile(r"\\(?:text|mathrm|mbox)\s?\{([^{}]{0,40})\}|\\[,; ]|(?<=[0-9}])\$\Z|\A\$(?=.{1,60}\$\Z)")
_BRACKETED = re.compile(r"[\[(]([^\[\]()0-9]{1,20})[\])]\Z")
_WITH_UNIT = re.compile(r"[-+]?[\d.,]+ ?[^\W\d_]+\.?")
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, kw_only=True)
class NumberReward(AnswerReward):
    """A reward of the one number in the answer; the base of `numeric` and `regression`."""

    target_keys: ClassVar = {
        "answer": "int, float, or str that holds one number",
        "unit?": "str or list of str: accepted spellings of the unit, case counts; the answer may have one after its "
        "number (or before: $5) and no other word",
    }

    plain: ClassVar = (Plain("the number, as number or text, with or without a unit", "1,024.5"),)

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        try:
            number = number_of(answer)
        except ValueError:
            if not (isinstance(answer, str) and _WITH_UNIT.fullmatch(answer) and _target_value(answer) is not None):
                raise
            return {"answer": answer}
        return {"answer": int(number) if number == int(number) else number}

    def check_target(self, target):
        if _target_value(target["answer"]) is None:
            raise TargetError(f"'answer' is {str(target['answer'])[:60]!r}, not a number or a str that holds one")
        units = _units(target)
        if not all(isinstance(unit, str) and unit.strip() for unit in units):
            raise TargetError(f"'unit' is {str(target['unit'])[:60]!r}, not a non-empty str or a list of them")
        if units and self.read(str(target["answer"]), target)[0] is None:
            raise TargetError(f"'answer' is {str(target['answer'])[:60]!r}, with another word than the unit {units}")

    def gold_answer(self, target):
        return str(target["answer"])

    def read(self, answer: str, target: Mapping) -> tuple[Decimal | None, str]:
        """The number of an answer: (value, "ok") or (None, reason)."""
        units = _units(target)
        number_text = _without_unit(answer, units) if units else bare(answer)
        value, reason = parse_number(number_text, percent=True, units=not units)
        if value is None:
            return None, reason
        if value.copy_abs() > MAX_MAGNITUDE:
            return None, "unparsable"
        return value, "ok"

    def expected(self, target: Mapping) -> Decimal:
        """The target's number."""
        return _target_value(target["answer"])


@dataclass(frozen=True, kw_only=True)
class Numeric(NumberReward):
    """1 if the one number of the answer lies within the tolerance."""

    name = "numeric"
    summary = "One number, within an absolute or relative tolerance."
    formula = "[|x − y| ≤ max(abs, rel · |y|)], x the only number in the answer, y the target; decimal arithmetic"
    source = "ChartQA's relaxed accuracy (rel = 0.05), relative to the target, with 0 by default"
    closes = (
        "several numbers score 0",
        "no tolerance unless asked for: with 5 % the year 2014 passes for 2019",
        "NaN, infinity, `5 million` and fractions are refused rather than misread",
        "where the target names its unit, another one (`5 km` for 5 m) scores 0; 50 % is 50, never also 0.5",
    )
    tasks = ("numeric", "numerical", "number")
    part_defaults: ClassVar = {"closeness": 0.0}
    examples = (
        ({"answer": 5.5}, "<answer>$5.50</answer>", "equal"),
        ({"answer": 2019}, "2014", "not equal, though within 5 %"),
        ({"answer": 100}, "104", "within 5 %", {"rel": 0.05}),
        ({"answer": 5, "unit": ["m", "metres"]}, "5 km", "another unit"),
    )

    abs: float = param(0.0, "accepted absolute error, in the target's unit", low=0)
    rel: float = param(0.0, "accepted error relative to the target's magnitude", low=0, high=1)

    def score_answer(self, answer, target):
        value, reason = self.read(answer, target)
        if value is None:
            return self.failed(reason)
        expected = self.expected(target)
        error = (value - expected).copy_abs()
        allowed = max(Decimal(repr(self.abs)), Decimal(repr(self.rel)) * expected.copy_abs())
        return RewardResult(float(error <= allowed), {"closeness": 1.0 / (1.0 + float(error))}, float(value), "ok")


def _target_value(answer) -> Decimal | None:
    """The target as a number, None if it is not one. A percent sign is read as in answers: 50% is 50."""
    if not is_number(answer) and not isinstance(answer, str):
        return None
    value, _ = parse_number(str(answer)[:1000], percent=True)
    return value if value is not None and value.copy_abs() <= MAX_MAGNITUDE else None


def _units(target: Mapping) -> tuple:
    unit = target.get("unit")
    return () if unit is None else tuple(unit) if isinstance(unit, (list, tuple)) else (unit,)


def _without_unit(answer: str, units: tuple[str, ...]) -> str:
    """The answer without its unit, or without digits, which is unreadable, where other words are left."""
    text = _MEASURED.sub("", statements(answer)[-1].rstrip("."))
    if "\\" in text or "$" in text:
        text = " ".join(_TEX.sub(lambda match: f" {match[1] or ''} ", text).split())
    text = _BRACKETED.sub(r"\1", _HEDGE.sub("", text).strip())
    for unit in sorted(units, key=len, reverse=True):
        if _same_unit(text[-len(unit) :], unit) and not (text[: -len(unit)][-1:].isalpha() and unit[0].isalpha()):
            text = text[: -len(unit)]
            break
        if text.startswith(unit) and not text[len(unit) :][:1].isalpha():
            text = text[len(unit) :]
            break
    words = _LETTERS.findall(text)
    number_word = words and not any(character.isdigit() for character in text)
    exponent = words in (["e"], ["E"], ["x"], ["times"])
    return text if not words or exponent or (number_word and {*map(str.lower, words)} <= _COUNT_WORDS) else ""


def _same_unit(text: str, unit: str) -> bool:
    """Whether a text is a unit: case counts in symbols (mW, MW), not in names."""
    return text == unit or (len(unit) >= _NAME and text.casefold() == unit.casefold())
