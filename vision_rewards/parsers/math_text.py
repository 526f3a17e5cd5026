"""Mathematical answers as text: LaTeX dressing, and numbers that are written out."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from vision_rewards.parsers.extract import all_boxed, last_boxed
from vision_rewards.parsers.labels import normalize_label
from vision_rewards.parsers.math_units import read_unit
from vision_rewards.parsers.number_words import NUMBER_WORDS
from vision_rewards.parsers.short_answers import bare, fold_width, statements

_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])|(?<!\\)\\[,;: ]|~")
# `\!` takes a blank away: MATH writes 10,\!000.
_NO_BLANK = re.compile(r"\s?\\!\s?")
_SYMBOLS = {
    "√": "\\sqrt ", "∞": "\\infty ", "π": "\\pi ", "×": "\\times ", "·": "\\cdot ", "÷": "\\div ",
    "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "∈": "\\in ", "∪": "\\cup ", "∩": "\\cap ", "∠": "\\angle ",
    "△": "\\triangle ", "±": "\\pm ", "−": "-", "–": "-", "²": "^2", "³": "^3", "½": "\\frac{1}{2}",
    "⅓": "\\frac{1}{3}", "¼": "\\frac{1}{4}", "⅔": "\\frac{2}{3}", "¾": "\\frac{3}{4}",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "∅": "\\emptyset ",
}  # fmt: skip
_SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
_ROOT = re.compile(r"\\sqrt (?:\(([^()]{1,60})\)|([0-9]{1,20}|[A-Za-z]))")
_RAISED = re.compile(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,4}")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_GROUPS = re.compile(r"[-+]?[0-9]{1,3}(?: [0-9]{3}){1,6}")
_THIN = re.compile(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))")
_BOXES_IN_A_ROW = re.compile(r"[\s,;$.]{0,10}(?:\\text\{\s?)?(?:and|or|,|;)(?:\s?\})?[\s,;$]{0,10}")
_BRACKET_BLANK = re.compile(r"([(\[{]) | ([)\]}])")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_BARE_FRACTION = re.compile(r"\\frac\s?(?:(\d)\s?(\d)|(\d)\s?\{(\d{1,40})\}|\{(\d{1,40})\}\s?(\d))(?!\d)")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf)\s?\{([^{}]{0,200})\}")
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]{2,200}")
_WHOLE = r"[0-9]{1,3}(?:(?:,|\{,\})[0-9]{3}){1,8}|[0-9]{1,40}"
_DECIMAL = rf"(?:(?:{_WHOLE})(?:\.[0-9]{{0,40}})?|\.[0-9]{{1,40}})"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s?(?:\\?\$\s?)?(?:"
    r"(?:(?P<mixed>[0-9]{1,40})\s?)?\\frac\s?\{(?P<over>[-+]?[0-9]{1,40})\}\s?\{(?P<under>[0-9]{1,40})\}"
    r"|(?:(?P<mixed2>[0-9]{1,40})\s)?(?P<over2>[0-9]{1,40})\s?/\s?(?P<under2>[0-9]{1,40})"
    r"|10\s?\^\s?\{?(?P<ten>[-+]?[0-9]{1,3})\}?"
    rf"|(?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})"
    r"|\s?(?:\\times|\\cdot|×|\*)\s?10\s?\^\s?\{?(?P<power>[-+]?[0-9]{1,3})\}?)?"
    r")\s?(?P<unit>.{0,60})",
    re.DOTALL,
)


class MathNumber(NamedTuple):
    """A number that is written out.

    Attributes:
        value: exact.
        step: the place value of the last digit of a decimal with six significant digits or more, which may stand for a
            number that has no end; None for all others.
        whole_fraction: whether it is a fraction that is a whole number, as 10/2.
        unit: the words after it, normalised.
    """

    value: Fraction
    step: Fraction | None
    whole_fraction: bool
    unit: str


def strip_math(answer: str) -> str:
    """What an answer states: the inside of its last `\\boxed{}`, without a leading phrase, delimiters or layout.

    Boxes with nothing but "and", "or" or a comma between them are a list.

    `\\dfrac12` and `\\tfrac{1}{2}` become `\\frac{1}{2}`; `\\left`, `\\right` and spacing commands go.
    """
    if "\\boxed" in answer:
        answer = _boxes_as_list(answer) or last_boxed(answer) or ""
    answer = _as_latex(_THIN.sub("", _NO_BLANK.sub("", _strip_subject(answer))))
    for _ in range(2):
        answer = answer.rstrip(". ")
        for left, right in _DELIMITERS:
            if len(answer) > len(left + right) and answer.startswith(left) and answer.endswith(right):
                inside = answer[len(left) : -len(right)]
                answer = inside.strip() if left not in inside else answer
    answer = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", answer))
    answer = _BARE_FRACTION.sub(lambda m: f"\\frac{{{m[1] or m[3] or m[5]}}}{{{m[2] or m[4] or m[6]}}}", answer)
    answer = _BRACKET_BLANK.sub(r"\1\2", " ".join(answer.split()))
    return answer.replace(" ", "") if _GROUPS.fullmatch(answer) else answer


def _boxes_as_list(answer: str) -> str | None:
    boxes = all_boxed(answer)
    if len(boxes) < 2:
        return None
    between = answer.replace("\\fbox", "\\boxed").split("\\boxed{")[1:-1]
    gaps = [piece[len(box) + 1 :] for piece, box in zip(between, boxes) if piece.startswith(f"{box}}}")]
    joined = len(gaps) == len(boxes) - 1 and all(map(_BOXES_IN_A_ROW.fullmatch, gaps))
    return ", ".join(boxes) if joined else None


def _strip_subject(answer: str) -> str:
    """What an answer says, without the subject of a sentence about a number or a formula ("The area is 5")."""
    said, stated = bare(answer), statements(answer)[-1]
    return stated if any(character.isdigit() or character == "\\" for character in stated) else said


def _as_latex(text: str) -> str:
    """Symbols of Unicode as LaTeX."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: f"^{{{m[0].translate(_PLAIN_DIGITS)}}}", text)
    text = _SYMBOL.sub(lambda m: _SYMBOLS[m[0]], text)
    return _ROOT.sub(_root, text).strip()


def _root(match: re.Match) -> str:
    return f"\\sqrt{{{match[1] or match[2]}}}"


def parse_math_number(text: str) -> MathNumber | None:
    """Read a text that is one number and nothing else but a unit; None for all others.

    The forms: words from zero to twenty, `-3`, `1,000`, `1{,}000`, `.5`, `1/2`, `\\frac{1}{2}`, `1\\frac{1}{2}`,
    `1 1/2`, `1.2e5`, `1.2 \\times 10^{5}`, `10^5`, a dollar sign before it; after it a per cent or degree
    sign, a common unit, or any `\\text{…}` without a number word.

    Args:
        text: what `strip_math` gives.
    """
    text = fold_width(text).replace("−", "-")
    if text.casefold() in NUMBER_WORDS:
        return MathNumber(Fraction(NUMBER_WORDS[text.casefold()]), None, False, "")
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    unit = read_unit(match["unit"], text[match.start("unit") - 1 : match.start("unit")] == " ")
    if unit is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["ten"]:
        return MathNumber(sign * Fraction(10) ** int(match["ten"]), None, False, unit)
    if match["decimal"]:
        return _decimal(match, sign, unit)
    over, under = (int(match[name] or match[name + "2"]) for name in ("over", "under"))
    mixed = int(match["mixed"] or match["mixed2"] or 0)
    if not under or (over < 0 and mixed):
        return None
    value = Fraction(over, under)
    return MathNumber(sign * (mixed + value), None, value.denominator == 1, unit)


def same_number(answer: MathNumber, gold: MathNumber) -> bool:
    """Whether an answer is the number of a target.

    They are equal, or just one of them is a decimal of six significant digits or more, and they differ by less than its
    last place. Different units, where both have one, are not the same; nor is a fraction that is a whole number, where
    the target is no such fraction.
    """
    if answer.unit and gold.unit and answer.unit != gold.unit:
        return False
    if answer.value == gold.value:
        return not answer.whole_fraction or gold.whole_fraction
    if (answer.step is None) == (gold.step is None):
        return False
    return abs(answer.value - gold.value) < (answer.step or gold.step)


def words_of(text: str) -> str | None:
    """The words that a text consists of (`\\text{Monday}`, `no solution`), normalised; None if it has anything else."""
    plain = _TEXT.sub(r"\1", text).strip()
    return normalize_label(plain) if _WORD.fullmatch(plain) else None


def bracket_kind(text: str) -> str:
    """What the outermost brackets say: "()", "[)" and so on for tuples and intervals, "{}" for sets and bare lists."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        return "{}"
    if text[:1] in "([" and text[-1:] in ")]" and "," in text and closes_at_end(text):
        return text[:1] + text[-1:]
    return "{}" if "," in text or "\\pm" in text else ""


def closes_at_end(text: str) -> bool:
    """Whether the bracket that a text begins with closes at its end."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return position == len(text) - 1
    return False


def _decimal(match: re.Match, sign: int, unit: str) -> MathNumber:
    digits = match["decimal"].replace("{,}", "").replace(",", "")
    scale = Fraction(10) ** int(match["exponent"] or match["power"] or 0)
    _, _, places = digits.partition(".")
    significant = len(digits.replace(".", "").lstrip("0"))
    step = scale / 10 ** len(places) if places and significant >= 6 else None
    return MathNumber(sign * Fraction(digits.rstrip(".")) * scale, step, False, unit)
