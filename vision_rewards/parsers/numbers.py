"""The one number of an answer."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from math import gcd
from typing import NamedTuple

from vision_rewards.parsers.number_words import NUMBER_WORDS, SCALE_WORDS, number_alone, words_as_digits

_PLAIN = re.compile(r"[-+]?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_NUMBER = re.compile(
    r"(?<![\w.])(?P<whole>[0-9]{1,3}(?:,[0-9]{3}){1,6}(?![0-9,])|[0-9]{0,20})"
    r"(?P<fraction>\.[0-9]{1,20})?(?P<exponent>[eE][-+]?[0-9]{1,3})?(?![0-9])(?P<tail>%|[A-Za-z_]{0,8}(?:/[a-z])?)",
    re.ASCII,
)
MAX_CANDIDATES = 64
_WORD = re.compile(r"[a-z]+")
_DIGIT = re.compile(r"[0-9]")
# Full-width forms, dashes and the minus sign only: compatibility folding would read 3² as 32.
_TO_ASCII = {0x2212: "-", **{0xFEE0 + code: chr(code) for code in range(0x21, 0x7F)}}
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0xFE63, 0xFE58), "-")
_SIGN = re.compile(r"(?P<before>[^-+]{0,8}?)(?P<gap>\s{0,2})(?P<sign>[-+])(?P<blank>\s{0,2})[$€£¥₹]?\s?\Z")
# A dash before a blank is a minus at the start, or after one of these; elsewhere (`Total - 5`) it is a dash.
_INTRODUCES = re.compile(r"(?:\A|[:=≈~(\[{,;]|\b(?:is|are|be|of|equals|about|was))\s{0,3}\Z")
# Abbreviations of scales, which mean something else in another case: 5 M is no 5 m.
_SCALE_LETTERS = re.compile(r"[0-9]\s{1,3}(?:[kKMB]|MM|Mn|mn)(?![\w/²³^])")
# Before a number: roots, powers, comparisons, parts of an expression.
_CHANGED = re.compile(
    r"(?:[√∛/^±<>≤≥≠]|\\(?:sqrt|pm|leq?|geq?|lt|gt|neq?)\s?\{?|[+-]{2}|\b(?:(?:more|less|fewer|greater|larger|smaller|higher|"
    r"lower|bigger|other) than|at least|at most|up to)|n['’]t(?: (?:exactly|just|only|about|really|any))?)\s{0,3}"
    r"[-+]?[$€£]?\Z"
)
_FACTORIAL = re.compile(r"[^A-Za-z]{0,40}[0-9]!(?!=)[^A-Za-z]{0,40}")
# Units that may follow a number without a blank.
_UNITS = (
    "m cm mm km dm in ft yd mi g kg mg lb lbs oz s ms sec secs min mins h hr hrs l ml cl dl px pt deg rad hz kw kwh w "
    "v mph kph km/h m/s kmh"
)
_ATTACHED = frozenset(_UNITS.split())
_TEX_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([0-9]{1,20})\}\s?\{([0-9]{1,20})\}|([0-9])([0-9])(?![0-9]))")
_TEX_NOISE = re.compile(r"(?<=[0-9])\{(,)\}(?=[0-9]{3})|\\[,;:! ]|\\(?=[%$])|\\text\s?\{([^{}]{0,60})\}|\$")
_POWER = re.compile(
    r"(?<=[0-9])\s?(?:\\times|\\cdot|[x×*·])\s?10(?:\s?\^\s?\{?\s?([-+]?[0-9]{1,3})\s?\}?|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}))"
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_GROUPS = re.compile(r"(?<![\w.,])[0-9]{1,3}(?:[ \u00a0\u2009\u202f][0-9]{3}){1,4}(?![0-9,]|[ \u00a0][0-9])")
_FRACTION = re.compile(r"(?<![\w./])(?:([0-9]{1,9})\s)?([0-9]{1,9})\s?/\s?([0-9]{1,9})(?![\w/]|\.[0-9]|\s?[/%])")
_AREA = re.compile(r"\b([cmkd]?m|in|ft|yd|mi|inches|feet|met(?:er|re)s?)(?:\s?\^\s?\{?[23]\}?(?![0-9])|[²³])")
_GLYPHS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8"}
_GLYPH = re.compile(rf"(?<![\w.])([0-9]{{0,9}})\s?([{''.join(_GLYPHS)}])")
# What a number names: the picture, the year. Dropped only where another number is left.
_REFERENCE = re.compile(
    r"\b(?:in|from|of|for|on) (?:the )?(?:image|picture|figure|fig\.?|photo|video|clip|panel|page|question|chart|graph)"
    r" #?[0-9]{1,3}\b,?(?= )|\A(?:in|during|for|by|since) (?:the year )?(?:1[5-9]|20)[0-9]{2},? (?=[a-z])"
)
_COUNTED_OUT = re.compile(r"\(\s?1(?:\s?,\s?(?:and )?[0-9]{1,3}){1,60}\s?\)")


class _Candidate(NamedTuple):
    value: Decimal
    start: int
    end: int
    in_words: bool


def fold_digits(text: str) -> str:
    """Lower case, with full-width characters and the minus sign as ASCII; superscripts and other scripts stay."""
    return text.translate(_TO_ASCII).casefold()


def parse_number(
    text: str, *, words: bool = True, percent: bool = False, units: bool = False
) -> tuple[Decimal | None, str]:
    """Read the one number in the text.

    The forms: digits with a sign (minus, hyphen or dash, also before a blank), thousands between commas or blanks,
    decimals, powers of ten (`1.2e3`, `1.2 × 10^3`); a fraction in lowest terms that is no whole number (`1/2`, `½`,
    `\\frac{1}{2}`); words from zero to ninety-nine, `minus five`; `half`, `a dozen`, 三 alone. A number said twice, in
    words and in digits (`three (3)`), is one, and so is one that is counted out, `3 (1, 2, 3)`. "In image 1" and
    "In 2019," before another number do not count.

    Args:
        text: an answer.
        words: accept number words.
        percent: accept `50%`, read as 50.
        units: accept a unit without a blank, `2.5kg`.

    Returns:
        (value, "ok"), (None, "many_numbers") where there are several, or (None, "unparsable") where there is none, or
        one that is part of a larger expression ("3rd", "one hundred", "2x", "√5", "5 M", "more than 5").
    """
    if _PLAIN.fullmatch(text):
        return Decimal(text), "ok"
    text = _in_one_spelling(text)
    if _SCALE_LETTERS.search(text) or _FACTORIAL.fullmatch(text):
        return None, "unparsable"
    if words and (value := number_alone(text)) is not None:
        return value, "ok"
    folded = words_as_digits(text.casefold())
    candidates, reason = _candidates(folded, percent, text if units else "")
    if reason != "ok":
        return None, reason
    said = _WORD.findall(folded)
    if not SCALE_WORDS.isdisjoint(said):
        return None, "unparsable"
    if words:
        candidates += _in_words(folded, said)
    if 1 < len(candidates) <= MAX_CANDIDATES:
        candidates = _said_once(candidates, folded)
    if len(candidates) != 1:
        return None, "many_numbers" if candidates else "unparsable"
    if _CHANGED.search(folded[max(0, candidates[0].start - 40) : candidates[0].start]):
        return None, "unparsable"
    return candidates[0].value, "ok"


def _in_one_spelling(text: str) -> str:
    """The text with one way of writing digits, dashes, powers of ten, fractions and groups of three; its case stays."""
    if not text.isascii():
        text = text.translate(_TO_ASCII).translate(_DASHES)
        text = _GLYPH.sub(lambda m: f"{m[1]} {_GLYPHS[m[2]]}".strip(), text)
    if "^" in text or not text.isascii():
        text = _AREA.sub(r"\1", text)
    if "\\" in text:
        text = _TEX_FRACTION.sub(lambda m: f"{m[1] or m[3]}/{m[2] or m[4]}", text)
    if "10" in text:
        text = _POWER.sub(lambda m: f"e{m[1] or m[2].translate(_SUPERSCRIPTS)}", text)
    if "\\" in text or "$" in text or "{,}" in text:
        text = _TEX_NOISE.sub(lambda m: m[1] or m[2] or ("$" if m[0] == "$" else ""), text)
    return _GROUPS.sub(lambda m: re.sub(r"\s", "", m[0]), text)


def _tails(text: str) -> frozenset[str]:
    """The words right after the numbers of a text, in their own case, that are units."""
    return frozenset(match["tail"] for match in _NUMBER.finditer(text) if match["tail"] in _ATTACHED)


def _candidates(text: str, percent: bool, measured: str) -> tuple[list[_Candidate], str]:
    """The numbers that stand in digits; "unparsable" where one goes on as something else, or digits are left over.

    Past `MAX_CANDIDATES` numbers, which are too many whatever they say, their values are not read.

    Args:
        text: in lower case.
        percent: accept `50%`.
        measured: the text in its own case, whose units may follow a number; empty where none may.
    """
    candidates = []
    for match in _FRACTION.finditer(text) if "/" in text else ():
        whole, over, under = int(match[1] or 0), int(match[2]), int(match[3])
        if under in (0, 1) or gcd(over, under) > 1:
            return [], "many_numbers"
        value = _signed(whole + Decimal(over) / under, text, match.start())
        candidates.append(_Candidate(value, match.start(), match.end(), False))
    # Blanks of the same length: places stay.
    rest = _FRACTION.sub(lambda match: " " * len(match[0]), text) if candidates else text
    digits, units = 0, None
    for match in _NUMBER.finditer(rest):
        whole, fraction, tail = match["whole"], match["fraction"], match["tail"]
        if not whole and not fraction:
            continue
        if tail and not (percent and tail == "%"):
            units = _tails(measured) if units is None else units
            if tail not in units:
                return [], "unparsable"
        if len(candidates) > MAX_CANDIDATES:
            digits += _count_digits(match[0])
            continue
        value = Decimal(f"{whole.replace(',', '') or '0'}{fraction or ''}{match['exponent'] or ''}")
        candidates.append(_Candidate(_signed(value, text, match.start()), match.start(), match.end(), False))
        digits += _count_digits(match[0])
    # Digits that the pattern left out (a longer run, `1.2.3`, `v2`, another script) make the one that it found a guess.
    return (candidates, "ok") if _count_digits(rest) == digits else ([], "unparsable")


def _signed(value: Decimal, text: str, start: int) -> Decimal:
    """A number with the sign before it, if what stands there is one."""
    sign = _SIGN.search(text[max(0, start - 14) : start])
    if sign is None or sign["sign"] == "+":
        return value
    before = text[: start - len(sign[0]) + len(sign["before"])]
    if sign["blank"]:
        minus = _INTRODUCES.search(before[-12:]) is not None
    else:
        minus = bool(sign["gap"]) or not before or not (before[-1].isalnum() or before[-1] in "_.)")
    return -value if minus else value


def _in_words(text: str, said: list[str]) -> list[_Candidate]:
    if NUMBER_WORDS.keys().isdisjoint(said):
        return []
    matches = [match for match in _WORD.finditer(text) if match[0] in NUMBER_WORDS]
    return [
        _Candidate(_signed(NUMBER_WORDS[match[0]], text, match.start()), match.start(), match.end(), True)
        for match in matches
    ]


def _said_once(candidates: list[_Candidate], text: str) -> list[_Candidate]:
    """The candidates without those that repeat one of them, and without the numbers of pictures and years."""
    for pattern in (_REFERENCE, _COUNTED_OUT):
        for match in pattern.finditer(text):
            others = [c for c in candidates if not match.start() <= c.start < match.end()]
            if pattern is _COUNTED_OUT and not _counts_to(match[0], others):
                continue
            candidates = others or candidates
    if len(candidates) == 2:
        first, second = sorted(candidates, key=lambda candidate: candidate.start)
        between, after = text[first.end : second.start].strip(), text[second.end : second.end + 1]
        if first.in_words != second.in_words and first.value == second.value and (between, after) == ("(", ")"):
            return [first]
    return candidates


def _counts_to(listing: str, others: list[_Candidate]) -> bool:
    numbers = [int(number) for number in re.findall(r"[0-9]+", listing)]
    return len(others) == 1 and numbers == list(range(1, len(numbers) + 1)) and others[0].value == len(numbers)


def _count_digits(text: str) -> int:
    if text.isascii():
        return len(_DIGIT.findall(text))
    return sum(unicodedata.category(character) in ("Nd", "Nl", "No") for character in text)
