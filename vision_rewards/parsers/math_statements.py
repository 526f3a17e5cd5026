"""What a mathematical statement gives as its answer: `x = 3`, `AB = 5`, `x \\in [1, 2)`, `x = 1 or x = 2`."""

from __future__ import annotations

import re

from vision_rewards.parsers.math_text import parse_math_number, same_number

_SUBSCRIPT = r"(?:_(?:\{[\\A-Za-z0-9 ,]{1,20}\}|[A-Za-z0-9]))?'{0,2}"
_POINTS = r"[A-Z]{1,4}'?"
_NAME = re.compile(
    rf"(?:(?:[A-Za-z]|\\(?!frac|sqrt|text|int|sum|lim|left|right|begin|times|cdot|pm|infty|pi\b)[A-Za-z]{{2,12}})"
    rf"{_SUBSCRIPT}"
    r"(?:\(\s?-?[A-Za-z0-9]{1,6}(?:\s?,\s?[A-Za-z0-9]{1,6})?\s?\)|\s?\([A-Z]\))?"
    rf"|\\?\|?\s?{_POINTS}\s?\\?\|?"
    rf"|m?\s?\\(?:angle|overline|overrightarrow|widehat|triangle|vec|hat|measuredangle)\s?\{{?\s?[A-Za-z0-9]{{1,4}}\s?\}}?"
    rf"|(?:m\s?)?\\angle\s?{_POINTS}"
    rf"|\\(?:sin|cos|tan|cot|sec|csc)\s?(?:\\angle\s?)?\{{?{_POINTS}\}}?"
    r"|\(\s?[a-z]\s?(?:,\s?[a-z]\s?){1,3}\)"
    r"|(?:\\text\{)?[A-Za-z][A-Za-z' ]{1,40}(?:\s\\triangle\s?[A-Z]{3})?\}?(?:_\{?[A-Za-z0-9]{1,10}\}?)?)",
)
_EQUALS = re.compile(r"(?<![<>!\\:])=")
_OR = re.compile(r"\s?(?:\\(?:text|mbox|mathrm)\s?\{\s?,?\s?(?:and|or)\s?\}|\b(?:and|or)\b|\\quad|\\vee|\\lor)\s?")
_MEMBER = re.compile(r"(?:[a-z]|\\theta|\\alpha)\s?\\in(?![A-Za-z])\s?(.+)", re.DOTALL)
_SIDE = r"[^<>=]{1,60}?"
_BELOW = r"(<|\\lt(?![A-Za-z])|\\leq?q?(?![A-Za-z])|\\leqslant(?![A-Za-z]))"
_BETWEEN = re.compile(rf"({_SIDE})\s?{_BELOW}\s?(?:[a-z]|\\theta)\s?{_BELOW}\s?({_SIDE})")
_BELOW_ONE = re.compile(rf"(?:[a-z]|\\theta)\s?{_BELOW}\s?({_SIDE})")
_ABOVE_ONE = re.compile(
    rf"(?:[a-z]|\\theta)\s?(>|\\gt(?![A-Za-z])|\\geq?(?![A-Za-z])|\\geqslant(?![A-Za-z]))\s?({_SIDE})"
)


def solutions(text: str) -> str | None:
    """The right-hand side of a statement, the list of several, or the text where it states nothing.

    `x = 3` and the chain `x = 1 + 2 = 3` give 3, `x = -3 or x = 7` gives `-3, 7`, `6 and 8` gives `6, 8`.

    Returns:
        None where the left side of an equation is no name (`5 = 3`, `2x = 6`), where several statements name different
        things (`x = 8, y = 7`), or where the numbers of a chain differ (`x = 6 = 7`).
    """
    parts = [part.strip() for part in _split(text)]
    if not all(parts):
        return None if "=" in text else text
    if len(parts) == 1:
        return _right_side(parts[0])
    if "=" not in text:
        return ", ".join(parts) if _OR.search(text) else text
    names = {_base_name(part) for part in parts if "=" in part}
    if len(names) != 1:
        return None
    sides = [_right_side(part) for part in parts]
    return None if None in sides else ", ".join(sides)


def as_set(text: str, *, half_lines: bool = False) -> str:
    """`x \\in S` as S, and `a < x \\le b` as `(a, b]`; with `half_lines` also `x < a` as `(-\\infty, a)`."""
    if member := _MEMBER.fullmatch(text):
        return member[1].strip()
    if between := _BETWEEN.fullmatch(text):
        left, right = ("(" if _is_strict(between[2]) else "["), (")" if _is_strict(between[3]) else "]")
        return f"{left}{between[1].strip()}, {between[4].strip()}{right}"
    if half_lines and (below := _BELOW_ONE.fullmatch(text)):
        return f"(-\\infty, {below[2].strip()}{')' if _is_strict(below[1]) else ']'}"
    if half_lines and (above := _ABOVE_ONE.fullmatch(text)):
        return f"{'(' if above[1] in ('>', chr(92) + 'gt') else '['}{above[2].strip()}, \\infty)"
    return text


def _is_strict(sign: str) -> bool:
    return sign in ("<", "\\lt")


def _split(text: str) -> list[str]:
    """The parts of a text between "and", "or" and commas outside brackets; a comma before three digits is none."""
    parts, start, depth = [], 0, 0
    text = _OR.sub(" \x00 ", text)
    for place, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and (character in ";\x00" or (character == "," and not _is_thousands(text, place))):
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    # "1, and 2" has an empty part between its two separators.
    return [part for part in parts if part.strip()] if any(part.strip() for part in parts) else parts


def _is_thousands(text: str, comma: int) -> bool:
    after = text[comma + 1 : comma + 5]
    return text[:comma][-1:].isdigit() and len(after) >= 3 and after[:3].isdigit() and not after[3:].isdigit()


def _right_side(part: str) -> str | None:
    sides = [side.strip() for side in _EQUALS.split(part)]
    if len(sides) == 1:
        return part
    if not all(sides) or not _NAME.fullmatch(sides[0]):
        return None
    numbers = [number for side in sides[1:] if (number := parse_math_number(side))]
    if any(not same_number(number, numbers[-1]) for number in numbers):
        return None
    return sides[-1]


def _base_name(part: str) -> str:
    """The name on the left of an equation without its subscript: x_1 and x_2 are solutions for x."""
    return re.sub(r"(?:_(?:\{[^{}]*\}|\w)|[0-9]|')+\Z", "", _EQUALS.split(part)[0].strip())
