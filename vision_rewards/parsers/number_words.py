"""Numbers in words."""

from __future__ import annotations

import re
from decimal import Decimal

_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TO_NINETY = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = _TO_NINETEEN.split(), _TO_NINETY.split()
NUMBER_WORDS = {word: Decimal(value) for value, word in enumerate(_ONES)}
NUMBER_WORDS |= {word: Decimal(10 * value) for value, word in enumerate(_TENS, 2)}
# Words that change what a number next to them says; text with one is refused rather than misread.
_SCALES = (
    "hundred hundreds thousand thousands million millions billion billions trillion trillions dozen dozens half third "
    "thirds quarter quarters minus negative not lakh lakhs lac lacs crore crores gross mln mio mrd bn tn doz dz "
    "squared cubed factorial"
)
SCALE_WORDS = frozenset(_SCALES.split())
_ANY = re.compile(rf"\b(?:{'|'.join(_TENS)}|minus|negative)\b")
_COMPOUND = re.compile(rf"\b({'|'.join(_TENS)})[\s-]({'|'.join(_ONES[1:10])})\b")
_NEGATIVE = re.compile(rf"\b(?:minus|negative)\s(?=[0-9$€£]|(?:{'|'.join(NUMBER_WORDS)})\b)")
_NOUN = r"(?!idea|answer|way|clue|doubt|information|number|one|more|less|fewer|not|matter)[a-z'-]{1,20}"
_NOTHING = re.compile(
    rf"(?:none(?: of (?:them|these|those))?|no|nothing|zero|nil|没有"
    rf"|there (?:aren['’]t|isn['’]t|are not|is not) any(?: {_NOUN}){{1,4}}"
    rf"|(?:there (?:is|are|were|was) )?(?:none|nothing|no(?: {_NOUN}){{1,4}})"
    r"(?:,? (?:(?:is|are|were|can be|could be) )?(?:visible|present|seen|shown|there|here|found|detected|at all))?"
    r"(?: (?:in|on|at|within) (?:the|this|that)(?: [a-z]{1,20}){1,4})?)[.!]?",
    re.IGNORECASE,
)
_ALONE = re.compile(r"(?:(an?|one|two|three) )?(half|quarters?|dozen)[.!]?", re.IGNORECASE)
_PARTS = {"half": Decimal("0.5"), "quarter": Decimal("0.25"), "quarters": Decimal("0.25"), "dozen": Decimal(12)}
_TIMES = {None: 1, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
_CHINESE = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_DIGITS = "".join(_CHINESE)
_CHINESE_NUMBER = re.compile(
    rf"(?:图中|画面中)?(?:一共|总共|共)?(?:有)?(?:([{_DIGITS}])|([{_DIGITS}]?)十([{_DIGITS}]?))"
    rf"(?:[个只条张人辆名位本头匹把朵棵座件根架台次种岁][^0-9{_DIGITS}十百千万]{{0,8}})?"
)


def words_as_digits(text: str) -> str:
    """A text in lower case with compounds ("twenty-five") in digits and "minus" before a number as a sign."""
    if _ANY.search(text) is None:
        return text
    text = _COMPOUND.sub(lambda m: str(NUMBER_WORDS[m[1]] + NUMBER_WORDS[m[2]]), text)
    return _NEGATIVE.sub("-", text)


def number_alone(text: str) -> Decimal | None:
    """The number of a text that is nothing else: "half", "a dozen", 三, 有十二只猫; None for others."""
    if match := _ALONE.fullmatch(text):
        return _TIMES[match[1].lower() if match[1] else None] * _PARTS[match[2].lower()]
    if text.isascii() or not (match := _CHINESE_NUMBER.fullmatch(text.strip("。. "))):
        return None
    if match[1]:
        return Decimal(_CHINESE[match[1]])
    return Decimal(10 * (_CHINESE[match[2]] if match[2] else 1) + (_CHINESE[match[3]] if match[3] else 0))


def says_none(text: str) -> bool:
    """Whether a text says that there is none of what was asked for: "none", "There are no cats in the image."."""
    return _NOTHING.fullmatch(text) is not None
