"""Reading answers out of model text, in time linear in the text and without guessing.

Every quantifier of every pattern here is bounded or unambiguous, so that no text makes matching slow.
"""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal

EXTRACT_MODES = ("auto", "answer", "boxed", "raw")
MAX_COMPLETION = 1_000_000  # characters
MAX_ANSWER = 20_000  # characters
MAX_COORDINATE = 1e9  # keeps areas finite

_THINK = re.compile(r"</?think>", re.IGNORECASE | re.ASCII)
_ANSWER = re.compile(r"</?answer>", re.IGNORECASE | re.ASCII)
_SPACE = r"\s{0,20}"
_NUMBER = r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][-+]?[0-9]{1,3})?"
_SEPARATOR = rf"(?:{_SPACE},{_SPACE}|\s{{1,20}})"
_FOUR = rf"[\[(]{_SPACE}({_NUMBER}){_SEPARATOR}({_NUMBER}){_SEPARATOR}({_NUMBER}){_SEPARATOR}({_NUMBER}){_SPACE}[\])]"
_PAIR = rf"[\[(]{_SPACE}({_NUMBER}){_SEPARATOR}({_NUMBER}){_SPACE}[\])]"
_BOX = re.compile(rf"{_FOUR}|{_PAIR}{_SPACE},?{_SPACE}{_PAIR}")
# A bracket that starts a list of numbers but is no box: a point, five numbers, a polygon's rest, NaN.
_LIST = re.compile(
    rf"[\[(]{_SPACE}(?:{_NUMBER}|[-+]?(?:nan|inf)[a-z]{{0,8}}){_SPACE}(?:,|\s{{1,20}}[-+.0-9])", re.IGNORECASE
)

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
_NUMBER_WORDS = {word: Decimal(value) for value, word in enumerate(_UNITS.split())}
# Words that change the size of a number next to them; text with one is refused rather than misread.
_SCALES = (
    "thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million millions billion "
    "billions trillion trillions dozen dozens half third thirds quarter quarters minus negative"
)
_SCALE_WORDS = frozenset(_SCALES.split())
_LABEL_NOISE = re.compile(
    r"['’‘`]"
    r"|[.,](?![0-9])"
    r"|(?<=\w)[-‐‑–—]|[-‐‑–—](?![.0-9])"
    r"|[\s_/;:!?\"“”()\[\]{}*]"
)
_APOSTROPHES = frozenset("'’‘`")
_PREFIX = re.compile(
    r"(?:the )?(?:(?:best|correct|right|final) )?(?:answer|option|choice)\b(?: is\b)? ?:? ?(?=\S)"
    r"(?:(?:option|choice) (?=\S))?",
    re.IGNORECASE,
)


def extract_answer(completion: str, mode: str) -> tuple[str | None, str]:
    """Find the answer in a completion.

    Args:
        completion: the model's text.
        mode: one of `EXTRACT_MODES`. In all but "raw", text up to the last `</think>` is dropped, and a `<think>`
            that is still open means that there is no answer.

    Returns:
        (answer, "ok") with surrounding blanks removed, or (None, reason): "no_answer" or "too_long".
    """
    if len(completion) > MAX_COMPLETION:
        return None, "too_long"
    text = completion if mode == "raw" else _after_thinking(completion)
    if text is not None and mode == "boxed":
        text = _last_boxed(text)
    elif text is not None and mode != "raw" and (mode == "answer" or _ANSWER.search(text)):
        text = _last_tagged(text)
    text = text.strip() if text is not None else ""
    if not text:
        return None, "no_answer"
    return (text, "ok") if len(text) <= MAX_ANSWER else (None, "too_long")


def wrap_answer(text: str, mode: str) -> str:
    """Write an answer in the form that `extract_answer` reads under `mode`."""
    return {"answer": f"<answer>{text}</answer>", "boxed": f"\\boxed{{{text}}}"}.get(mode, text)


def _after_thinking(text: str) -> str | None:
    tags = list(_THINK.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if tags[-1].group().startswith("</") else None


def _last_tagged(text: str) -> str | None:
    found, start = None, None
    for tag in _ANSWER.finditer(text):
        if not tag.group().startswith("</"):
            start = tag.end()
        elif start is not None:
            found, start = text[start : tag.start()], None
    return found


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth, position = 1, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[start:position]
        position += 1
    return None


def collapse_spaces(text: str) -> str:
    """Canonical Unicode (NFC), every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalize_label(text: str) -> str:
    """Fold case, Unicode width, white space and punctuation of a short answer.

    Signs, decimal points and symbols that change the meaning stay: "-5" is not "5", "3.5" not "35", "C++" not "C".
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return " ".join(_LABEL_NOISE.sub(lambda m: "" if m.group() in _APOSTROPHES else " ", text).split())


def strip_prefix(answer: str) -> str:
    """Remove one leading "The answer is", "Answer:", "Option" and Markdown emphasis around the whole."""
    answer = collapse_spaces(answer).strip("* ")
    return answer[match.end() :].strip("* ") if (match := _PREFIX.match(answer)) else answer


def parse_boxes(text: str) -> tuple[list[list[float]], str]:
    """Read every box in the text: `[x1, y1, x2, y2]` (bare, or as a JSON value), parentheses, `(x1,y1),(x2,y2)`.

    Returns:
        (boxes, reason). Reason is "ok", "unparsable" where there is no box or a bracketed list of numbers that is not
        one, or "bad_box" where a box is flipped, has no area, or is out of range.
    """
    boxes = [[float(number) for number in match.groups() if number is not None] for match in _BOX.finditer(text)]
    if not boxes or _LIST.search(_BOX.sub(" ", text)):
        return boxes, "unparsable"
    return boxes, "ok" if all(is_box(box) for box in boxes) else "bad_box"


def is_box(box: list[float]) -> bool:
    """Whether x1 < x2 and y1 < y2, all four finite, within ±1e9, with an area above 1e-12."""
    x1, y1, x2, y2 = box
    if not all(math.isfinite(value) and abs(value) <= MAX_COORDINATE for value in box):
        return False
    return x1 < x2 and y1 < y2 and (x2 - x1) * (y2 - y1) > 1e-12


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
    text = text.translate(_TO_ASCII).casefold()
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
        values.extend(_NUMBER_WORDS[word] for word in found if word in _NUMBER_WORDS)
    if len(values) != 1:
        return None, "many_numbers" if values else "unparsable"
    # Digits that the pattern left out (a longer run, `1.2.3`, `v2`, another script) make the one that it found a guess.
    if _count_digits(text) != sum(_count_digits(match.group()) for match in _DIGITS.finditer(text)):
        return None, "unparsable"
    return values[0], "ok"


def _count_digits(text: str) -> int:
    return sum(unicodedata.category(character) in ("Nd", "Nl", "No") for character in text)


_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,)]?")
_LETTER_TEXT = re.compile(r"[(\[]?([A-Za-z])(?:[)\]][.:]?|[.:]) ?(?=\S)(.*)", re.DOTALL)
_LONE_LETTER = re.compile(r"(?<!\w)[A-Z](?!\w)", re.ASCII)
# A lone capital that is not the article or the pronoun of a sentence.
_OTHER_LETTER = re.compile(r"(?<!\w)(?![AI] [a-z])[A-Z](?!\w)", re.ASCII)


def parse_choice(answer: str, options: dict[str, str] | None) -> tuple[str | None, str]:
    """Read one option letter.

    Args:
        answer: an answer.
        options: letter -> text, or None where the texts are unknown.

    Returns:
        (letter, "ok") for a lone letter ("B", "(B)", "b.", "Answer: B"), a letter with its own option's text
        ("B. a dog") or an option's exact text. Else (None, reason): "contradictory" (letter and text disagree),
        "ambiguous" (two options have this text), "many_letters", "not_an_option" or "unparsable".
    """
    text = strip_prefix(answer)
    texts = {letter: normalize_label(option) for letter, option in (options or {}).items()}
    if lone := _LETTER.fullmatch(text):
        letter = lone[1].upper()
        return (letter, "ok") if options is None or letter in options else (None, "not_an_option")
    if marked := _LETTER_TEXT.fullmatch(text):
        letter, rest = marked[1].upper(), marked[2]
        if options is None and marked[1].isupper() and not _OTHER_LETTER.search(rest):
            return letter, "ok"
        if letter in texts and texts[letter] == normalize_label(rest):
            return letter, "ok"
    for wanted in (normalize_label(answer), normalize_label(text)):
        same = [letter for letter, option in texts.items() if option == wanted != ""]
        if same:
            return (same[0], "ok") if len(same) == 1 else (None, "ambiguous")
    if len(set(_LONE_LETTER.findall(text))) > 1:
        return None, "many_letters"
    return None, "contradictory" if marked and letter in texts else "unparsable"
