"""Symbolic comparison of two mathematical answers: runs in a worker process of `vision_rewards.pool` only.

Both texts go through math-verify's LaTeX grammar, never through its other reader, which hands text to Python's eval.
"""

from __future__ import annotations

import logging

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

# It warns that its timeouts are off; the pool keeps the time.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_LATEX = LatexExtractionConfig(
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="last", equations=False
    ),
)


def equivalent(gold: str, answer: str) -> bool | None:
    """Whether math-verify takes the answer for the target; None where it cannot read one of the two.

    Args:
        gold: LaTeX without delimiters.
        answer: likewise.
    """
    expected, given = _parse(gold), _parse(answer)
    if not expected or not given:
        return None
    return bool(verify(expected, given, timeout_seconds=None))


def _parse(text: str) -> list:
    # The whole of the text is the expression: nothing is searched for, so "10 or 12" is not read as 12.
    boxed = f"\\boxed{{{text}}}"
    return parse(boxed, [_LATEX], fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None)
