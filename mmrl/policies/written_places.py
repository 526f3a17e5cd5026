"""Boxes and points inside a written answer: found in every form that the rewards read, and moved where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vision_rewards.parsers.extract import ANSWER, OPENED, closes, last_think_tags
from vision_rewards.parsers.geometry import BRACKETS, COMMA, CORNERS, IS, NUMBER, SEP, SEPARATOR, SPACE

_ONE = rf"[\"']?({NUMBER})[\"']?(?:{SPACE}(?:px|pixels)\b)?"
_OPEN, _CLOSE = rf"[\[({{]{SPACE}", rf"{SPACE}[\])}}]"
_NEXT = rf"{SEPARATOR}{_ONE}"
_TAGS = "box|bbox|click|point|coords?|coordinates?|position"
_FORMS = (
    # A list of four, perhaps with a confidence behind it.
    rf"{_OPEN}{_ONE}{_NEXT}{_NEXT}{_NEXT}(?:{SPACE},{SPACE}0?\.\d{{1,20}})?{_CLOSE}",
    rf"{_OPEN}{_ONE}{_NEXT}{_CLOSE}",
    rf"<(?:{_TAGS})>{SPACE}{_ONE}{_NEXT}(?:{_NEXT}{_NEXT})?{SPACE}</",
    rf'<point\s{{1,20}}x="{_ONE}"\s{{1,20}}y="{_ONE}"',
    *(rf"\b{SEP.join(f'{name}{IS}{_ONE}' for name in names)}" for names in CORNERS),
    rf"\bx{IS}{_ONE}{SPACE}[,;]{SPACE}(?:and\s)?[\"']?y{IS}{_ONE}",
    # A list in quotes.
    rf"[\"']{SPACE}({NUMBER}){COMMA}({NUMBER})(?:{COMMA}({NUMBER}){COMMA}({NUMBER}))?{SPACE}[\"']",
)
_PLACE = re.compile("|".join(_FORMS), re.IGNORECASE)
# An answer that is nothing but its numbers.
_BARE = re.compile(rf"{SPACE}{_ONE}{_NEXT}(?:{_NEXT}{_NEXT})?{SPACE}\.?")
# What comes before a place that its form alone does not tell from other lists of numbers.
_KEYED = re.compile(
    r"(?:box|bbox|bbox_2d|box_2d|bounding_box|point|point_2d|points|coord\w*|position|center|click|start_box|end_box"
    r"|<\|box_start\|>|<box>|<point>)[\"']?\s{0,5}[:=(\[]{0,4}\s{0,5}[\"']?$",
    re.IGNORECASE,
)
_OTHER = re.compile(r"(?:time|times|interval|span|segment|frames?|size|range|window)[\"']?\s{0,5}[:=]\s{0,5}\[?$", re.I)
_INNER = re.compile(r"(?:<answer>)?(.*?)(?:</answer>\s*)?", re.DOTALL | re.IGNORECASE)


class WrittenPlace(NamedTuple):
    """A box or point in a text.

    Attributes:
        numbers: [x1, y1, x2, y2] or [x, y], as written.
        spans: where each of them stands in the text.
        whole: where the place with its brackets stands.
        keyed: a name before it says that it is a place.
        timed: a name before it says that it is none.
        answered: it stands in the answer.
    """

    numbers: list[float]
    spans: list[tuple[int, int]]
    whole: tuple[int, int]
    keyed: bool
    timed: bool
    answered: bool


def answer_start(text: str) -> int:
    """Where a text's answer begins: behind its thinking, or at its last <answer>."""
    opened = [match.start() for match in OPENED.finditer(text)]
    if opened:
        return opened[-1]
    tags = last_think_tags(text, 1)
    return tags[0].end() if tags and closes(tags[0]) else 0


def places_in(text: str) -> list[WrittenPlace]:
    """Every place of a text, in order, whether it is one or a list of numbers that looks alike."""
    # One character for one: what is found stands at the same place.
    plain = text.translate(BRACKETS)
    matches: Iterator[re.Match[str]] = _PLACE.finditer(plain)
    start = answer_start(plain)
    if not re.search(r"[\[({<]", ANSWER.sub("", plain[start:])):
        inner = _INNER.fullmatch(plain, start)
        if inner and (bare := _BARE.fullmatch(plain, *inner.span(1))):
            matches = iter([*_PLACE.finditer(plain, 0, start), bare])
    found = []
    for match in matches:
        groups = [number for number in range(1, (match.lastindex or 0) + 1) if match.group(number) is not None]
        before = plain[max(0, match.start() - 40) : match.start()]
        found.append(
            WrittenPlace(
                [float(match.group(number)) for number in groups],
                [match.span(number) for number in groups],
                match.span(),
                bool(_KEYED.search(before)) or match.group()[0] in "<bxlBXL",
                bool(_OTHER.search(before)),
                match.start() >= start,
            )
        )
    return found


def moved(text: str, chosen: Sequence[WrittenPlace], move: Callable[[WrittenPlace], list[int]]) -> str:
    """The text with the numbers of the chosen places replaced by those that `move` gives."""
    pieces, end = [], 0
    for place in chosen:
        numbers = move(place)
        first, last = place.whole
        written = text[first:last]
        if len(numbers) == 4 and re.fullmatch(r"\[[^\"'p\[]*\]", written) and written.count(",") == 3:
            pieces += [text[end:first], str(numbers)]
            end = last
            continue
        for number, (start, stop) in zip(numbers, place.spans, strict=True):
            pieces += [text[end:start], str(number)]
            end = stop
    return "".join([*pieces, text[end:]])
