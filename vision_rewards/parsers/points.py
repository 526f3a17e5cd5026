"""Points in an answer, as [x, y] in whatever coordinates the answer is written."""

from __future__ import annotations

import re

from vision_rewards.parsers.geometry import LIST, NUMBER, PAIR, SPACE, in_brackets, is_coordinate, is_truncated

# `[x, y]`, `(x, y)`; UI-TARS-1.5's `<point>x y</point>`; Molmo's `<point x="…" y="…" alt="…">name</point>`.
_POINT = re.compile(
    rf"{PAIR}"
    rf"|<point>{SPACE}({NUMBER})(?:{SPACE},{SPACE}|\s{{1,20}})({NUMBER}){SPACE}</point>"
    rf'|<point\s{{1,20}}x="({NUMBER})"\s{{1,20}}y="({NUMBER})"(?:\s{{1,20}}alt="[^"<>]{{0,200}}")?>[^<>]{{0,200}}</point>'
)


# The usual answer, read without the pattern above, which agrees.
_USUAL = re.compile(r"[\[(](-?[0-9]{1,9}(?:\.[0-9]{1,9})?), ?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)[\])]")


def parse_points(text: str) -> tuple[list[list[float]], str]:
    """Read every point in the text: `[x, y]` (bare, or as a JSON value such as Qwen's `point_2d`), `(x, y)`, `<point>`.

    And the spellings of `geometry.in_brackets`: `140, 50`, `x=140, y=50`, `<click>140, 50</click>`.

    Returns:
        (points, reason). Reason is "ok", "unparsable" where there is no point or a bracketed list of numbers that is
        not one (a box, say), "truncated" where a bracket or a code fence stays open, or "bad_point" where a coordinate
        is beyond ±1e9.
    """
    if text[:1] + text[-1:] in ("[]", "()") and (usual := _USUAL.fullmatch(text)):
        return [[float(usual[1]), float(usual[2])]], "ok"
    text = in_brackets(text)
    points = [[float(number) for number in match.groups() if number is not None] for match in _POINT.finditer(text)]
    rest = _POINT.sub(" ", text)
    if not points or LIST.search(rest) or "<point" in rest:
        return points, "unparsable"
    if is_truncated(text):
        return points, "truncated"
    return points, "ok" if all(is_coordinate(value) for point in points for value in point) else "bad_point"
