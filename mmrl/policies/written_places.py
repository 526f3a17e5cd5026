"""Boxes and points inside a written answer: found in every form that the rewards read, and moved where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_SPACE = r"\s{0,20}"
_NUMBER = r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?"
_ONE = rf"[\"']?({_NUMBER})[\"']?(?:{_SPACE}(?:px|pixels)\b)?"
_SEPARATOR = rf"(?:{_SPACE},{_SPACE}|\s{{1,20}})"
_COMMA = rf"{_SPACE},{_SPACE}"
_OPEN, _CLOSE = rf"[\[({{]{_SPACE}", rf"{_SPACE}[\])}}]"
_NEXT = rf"{_SEPARATOR}{_ONE}"
_IS = rf"[\"']?{_SPACE}[:=]{_SPACE}"
_AND = rf"{_SPACE}[,;]?{_SPACE}[\"']?"
_CORNERS = (
    *(("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max")),
    ("left", "top", "right", "bottom"),
)
_TAGS = "box|bbox|click|point|coords?|coordinates?|position"
_FORMS = (
    # A list of four, perhaps with a confidence behind it.
    rf"{_OPEN}{_ONE}{_NEXT}{_NEXT}{_NEXT}(?:{_SPACE},{_SPACE}0?\.\d{{1,20}})?{_CLOSE}",
    rf"{_OPEN}{_ONE}{_NEXT}{_CLOSE}",
    rf"<(?:{_TAGS})>{_SPACE}{_ONE}{_NEXT}(?:{_NEXT}{_NEXT})?{_SPACE}</",
    rf'<point\s{{1,20}}x="{_ONE}"\s{{1,20}}y="{_ONE}"',
    *(rf"\b{_AND.join(f'{name}{_IS}{_ONE}' for name in names)}" for names in _CORNERS),
    rf"\bx{_IS}{_ONE}{_SPACE}[,;]{_SPACE}(?:and\s)?[\"']?y{_IS}{_ONE}",
    # A list in quotes.
    rf"[\"']{_SPACE}({_NUMBER}){_COMMA}({_NUMBER})(?:{_COMMA}({_NUMBER}){_COMMA}({_NUMBER}))?{_SPACE}[\"']",
)
_PLACE = re.compile("|".join(_FORMS), re.IGNORECASE)
# An answer that is nothing but its numbers.
_BARE = re.compile(rf"{_SPACE}{_ONE}{_NEXT}(?:{_NEXT}{_NEXT})?{_SPACE}\.?")
# What comes before a place that its form alone does not tell from other lists of numbers.
_KEYED = re.compile(
    r"(?:box|bbox|bbox_2d|box_2d|bounding_box|point|point_2d|points|coord\w*|position|center|click|start_box|end_box"
    r"|<\|box_start\|>|<box>|<point>)[\"']?\s{0,5}[:=(\[]{0,4}\s{0,5}[\"']?$",
    re.IGNORECASE,
)
_OTHER = re.compile(r"(?:time|times|interval|span|segment|frames?|size|range|window)[\"']?\s{0,5}[:=]\s{0,5}\[?$", re.I)
_FULL_WIDTH = str.maketrans("［］【】（），：＝０１２３４５６７８９．－", "[][](),:=0123456789.-")


class WrittenPlace(NamedTuple):
    """A box or point in a text.

    Attributes:
        numbers: [x1, y1, x2, y2] or [x, y], as written.
        spans: where each of them stands in the text.
        whole: where the place with its brackets stands.
        keyed: a name before it says that it is a place.
        timed: a name before it says that it is none.
    """

    numbers: list[float]
    spans: list[tuple[int, int]]
    whole: tuple[int, int]
    keyed: bool
    timed: bool


def answer_start(text: str) -> int:
    """Where a text's answer begins: behind its thinking, or at its last <answer>."""
    tagged, closed = text.rfind("<answer>"), text.rfind("</think>")
    if tagged >= 0:
        return tagged
    return closed + len("</think>") if closed >= 0 else 0


def places_in(text: str) -> list[WrittenPlace]:
    """Every place of a text, in order, whether it is one or a list of numbers that looks alike."""
    # One character for one: what is found stands at the same place.
    plain = text.translate(_FULL_WIDTH)
    matches: Iterator[re.Match[str]] = _PLACE.finditer(plain)
    start = answer_start(plain)
    if not re.search(r"[\[({<]", plain[start:].replace("<answer>", "").replace("</answer>", "")):
        inner = re.compile(r"(?:<answer>)?(.*?)(?:</answer>\s*)?", re.DOTALL).fullmatch(plain, start)
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
