"""Forms of an expression that leave the work to the reader."""

from __future__ import annotations

import re

# Each group stands for one another: a target with a logarithm may be answered with one.
_OPERATORS = (
    re.compile(r"\\i{1,3}nt(?![A-Za-z])|\\oint|∫"),
    re.compile(
        r"\\frac\s?\{\s?(?:d|\\mathrm\{d\}|\\partial)[^{}]{0,20}\}\s?\{\s?(?:d|\\mathrm\{d\}|\\partial)\s?[A-Za-z]"
    ),
    re.compile(r"\\lim(?![A-Za-z])|\\lim(?:sup|inf)"),
    re.compile(r"\\sum(?![A-Za-z])|∑|\\prod(?![A-Za-z])|∏"),
    re.compile(
        r"\\(?:det|gcd|max|min|deg|dim|binom|dbinom|tbinom|lfloor|lceil|bmod|pmod|mod)(?![A-Za-z])|\\operatorname"
    ),
    re.compile(r"\w!"),
    re.compile(r"\\(?:log|ln|lg)(?![A-Za-z])"),
    re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![A-Za-z])"),
)
_ROOT = re.compile(r"\\sqrt\s?(?:\[\s?([2-9])\s?\])?\s?(?:\{\s?([0-9]{1,9})\s?\}|([0-9]))")


def unevaluated(text: str, gold: str) -> bool:
    """Whether an answer has an integral, a limit, a sum or the like where the target has none of its kind."""
    return any(operator.search(text) and not operator.search(gold) for operator in _OPERATORS)


def unreduced_root(text: str, gold: str) -> bool:
    """Whether an answer has a root of a number that a square (cube, …) divides, where the target has none."""
    return _has_unreduced(text) and not _has_unreduced(gold)


def _has_unreduced(text: str) -> bool:
    return any(_reducible(int(match[2] or match[3]), int(match[1] or 2)) for match in _ROOT.finditer(text))


def _reducible(number: int, index: int) -> bool:
    factor = 2
    while factor**index <= number:
        if number % factor**index == 0:
            return True
        factor += 1
    return number in (0, 1)
