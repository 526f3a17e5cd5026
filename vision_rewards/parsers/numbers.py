"""The one number of an answer."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_DIGITS = re.compile(
    r"(?<![\w.])(?P<sign>[-+]?)(?P<whole>[0-9]{1,3}(?:,[0-9]{3}){1,6}(?![0-9,])|[0-9]{0,20})"
    r"(?P<fraction>\.[0-9]{1,20})?(?P<exponent>[eE][-+]?[0-9]{1,3})?(?![0-9])(?P<tail>[\w%]?)",
    re.ASCII,
)
_WORD = re.compile(r"[a-z]+")
# Full-width forms and the minus sign only: compatibility folding would read 3² as 32.
_TO_ASCII = {0x2212: "-", **{0xFEE0 + code: chr(code) for code in range(0x21, 0x7F)}}
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS = {word: Decimal(value) for value, word in enumerate(_UNITS.split())}
# Words that change what a number next to them says; text with one is refused rather than misread.
_SCALES = (
    "thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million millions billion "
    "billions trillion trillions dozen dozens half third thirds quarter quarters minus negative not"
)
_SCALE_WORDS = frozenset(_SCALES.split())


def fold_digits(text: str) -> str:
    """Lower case, with full-width characters and the minus sign as ASCII; superscripts and other scripts stay."""
    return text.translate(_TO_ASCII).casefold()


def parse_number(text: str, *, words: bool = True, percent: bool = False) -> tuple[Decimal | None, str]:
    """Read the one number in the text: digits (signs, thousands commas, decimals, exponents) or zero to twenty.

    Args:
        text: an answer.
        words: accept number words.
        percent: accept `50%`, read as 50.

    Returns:
        (value, "ok"), (None, "many_numbers") where there are several, or (None, "unparsable") where there is none, or
        one that is part of a larger expression ("3rd", "one hundred", "2x").
    """
    text = fold_digits(text)
    values: list[Decimal] = []
    for match in _DIGITS.finditer(text):
        whole, fraction, tail = match["whole"], match["fraction"], match["tail"]
        if not whole and not fraction:
            continue
        if tail and not (percent and tail == "%"):
            return None, "unparsable"
        digits = f"{match['sign']}{whole.replace(',', '') or '0'}{fraction or ''}{match['exponent'] or ''}"
        values.append(Decimal(digits))
    found = _WORD.findall(text)
    if not _SCALE_WORDS.isdisjoint(found):
        return None, "unparsable"
    if words:
        values.extend(NUMBER_WORDS[word] for word in found if word in NUMBER_WORDS)
    if len(values) != 1:
        return None, "many_numbers" if values else "unparsable"
    # Digits that the pattern left out (a longer run, `1.2.3`, `v2`, another script) make the one that it found a guess.
    if _count_digits(text) != sum(_count_digits(match.group()) for match in _DIGITS.finditer(text)):
        return None, "unparsable"
    return values[0], "ok"


def _count_digits(text: str) -> int:
    return sum(unicodedata.category(character) in ("Nd", "Nl", "No") for character in text)
