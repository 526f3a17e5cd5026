"""A value or a label read off a chart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from vision_rewards.parsers import MAX_ANSWER, bare, normalize_label, parse_items, parse_number, same_label
from vision_rewards.plain import Plain
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param

MAX_MAGNITUDE = Decimal("1e100")
_CURRENCY = re.compile(r"[$€£¥₹] ?")
_AND = re.compile(r",? (?:and|&) ")
_PLAIN_NUMBER = re.compile(r"[-+−]?[0-9.,]{1,40}(?:[eE][-+]?[0-9]{1,3})? ?%?")
_YEAR = re.compile(r"1[89][0-9]{2}|20[0-9]{2}")


@dataclass(frozen=True, kw_only=True)
class Chart(AnswerReward):
    """1 if the number lies within 5 % of the target, or the label is the target's."""

    name = "chart"
    summary = "Relaxed accuracy: a number within a relative tolerance, or a label by exact match."
    target_keys: ClassVar = {"answer": "int, float or str: a number (`$`, `%`, thousands commas allowed) or a label"}
    formula = (
        "number y: [|x − y| ≤ tolerance · |y|], x the only number in the answer, in decimal arithmetic; year from 1800 "
        "to 2099: [x = y]; label: [norm(answer) = norm(y)]"
    )
    source = "ChartQA's relaxed accuracy (Masry et al. 2022)"
    closes = (
        "a year is exact: with 5 % 2014 passes for 2019",
        "0 is a number: 0.0 is right and 0.01 is not",
        "`1,000`, `$5` and `5%` are read as 1000, 5 and 5 on both sides; 5 % is never 0.05",
        "several numbers score 0, and so do NaN, infinity, `1_000` and `5 million`",
    )
    tasks = ("chart", "chart qa", "chartqa")
    plain = (Plain("a number or a label", 100),)
    part_defaults: ClassVar = {"exact": 0.0}
    examples: ClassVar = (
        ({"answer": 100}, "105", "5 % off"),
        ({"answer": 100}, "105.1", "more than 5 % off"),
        ({"answer": "2019"}, "2014", "a year is exact"),
        ({"answer": "$1,200"}, "about 1200 dollars", "one number, without its marks"),
        ({"answer": "Red line"}, "The red line", "a label is exact"),
        ({"answer": 0}, "0.0", "zero is a number"),
        ({"answer": 7}, "5, 6, 7 or 8", "several numbers"),
    )

    tolerance: float = param(0.05, "accepted error relative to the target's magnitude (inclusive)", low=0, high=1)
    exact_years: bool = param(True, "a whole number from 1800 to 2099 without marks is a year, and exact")

    def check_target(self, target):
        answer = target["answer"]
        if not (is_number(answer) or isinstance(answer, str)) or not normalize_label(str(answer)[: MAX_ANSWER + 1]):
            raise TargetError(f"'answer' is {str(answer)[:60]!r}, not a number or a str with visible characters")
        if is_number(answer) and _value(str(answer)) is None:
            raise TargetError(f"'answer' is {answer!r}; a number has at most 20 digits and a size below 1e100")

    def gold_answer(self, target):
        return str(target["answer"])

    def score_answer(self, answer, target):
        text = str(target["answer"])
        expected = _value(text)
        if expected is None:
            same, label = same_label(answer, {normalize_label(text)})
            if label is None:
                return self.failed("no_answer")
            exact = float(same or _same_items(answer, text))
            return RewardResult(exact, {"exact": exact}, label, "ok")
        value, reason = parse_number(_CURRENCY.sub("", bare(answer)), percent=True)
        if value is None or value.copy_abs() > MAX_MAGNITUDE:
            return self.failed(reason if value is None else "unparsable")
        exact = value == expected
        year = self.exact_years and _YEAR.fullmatch(text.strip())
        allowed = 0 if year else Decimal(repr(self.tolerance)) * expected.copy_abs()
        near = (value - expected).copy_abs() <= allowed
        return RewardResult(float(near), {"exact": float(exact)}, float(value), "ok")


def _same_items(answer: str, text: str) -> bool:
    """Whether a target that is a list in brackets has the answer's items, in whatever order."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    items_of_answer, items_of_text = (parse_items(_AND.sub(", ", bare(part)))[0] or [] for part in (answer, text))
    labels = [sorted(map(normalize_label, items)) for items in (items_of_answer, items_of_text)]
    return labels[0] == labels[1] and len(set(labels[0])) == len(labels[0]) > 0


def _value(text: str) -> Decimal | None:
    """The number that the whole text is, None for a label."""
    text = _CURRENCY.sub("", text.strip()[:100])
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    value, _ = parse_number(text, percent=True)
    return value if value is not None and value.copy_abs() <= MAX_MAGNITUDE else None
