"""Symbolic comparison of two mathematical answers: runs in a worker process of `vision_rewards.pool` only.

Both texts go through math-verify's LaTeX grammar, never through its other reader, which hands text to Python's eval.
"""

from __future__ import annotations

import logging

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Add, Expr, Mul, Pow, Symbol, preorder_traversal

# It warns that its timeouts are off; the pool keeps the time.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_LATEX = LatexExtractionConfig(
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="last", equations=False
    ),
)


def equivalent(gold: str, answer: str, same_form: bool = False) -> bool | None:
    """Whether math-verify takes the answer for the target; None where it cannot read one of the two.

    Args:
        gold: LaTeX without delimiters.
        answer: likewise.
        same_form: a polynomial that is factored is not the expanded one.
    """
    expected, parsed = _parse(gold), _parse(answer)
    if not expected or not parsed:
        return None
    same = bool(verify(expected, parsed, timeout_seconds=None))
    return same and not (same_form and _is_factored(expected[0]) != _is_factored(parsed[0]))


def _is_factored(value: object) -> bool:
    """Whether an expression has a product of sums, or of a sum and a variable, or a power of a sum."""
    if not isinstance(value, Expr):
        return False
    for node in preorder_traversal(value):
        if isinstance(node, Pow) and _is_sum(node.base) and node.exp.is_Integer and node.exp > 1:
            return True
        if isinstance(node, Mul):
            factors = [factor for factor in node.args if _is_factor(factor)]
            if len(factors) > 1 and any(_is_sum(factor) for factor in factors):
                return True
    return False


def _is_sum(value: Expr) -> bool:
    return isinstance(value, Add) and bool(value.free_symbols)


def _is_factor(value: Expr) -> bool:
    if isinstance(value, Pow):
        return value.exp.is_Integer and value.exp > 0 and _is_factor(value.base)
    return isinstance(value, Symbol) or _is_sum(value)


def _parse(text: str) -> list:
    # The whole of the text is the expression: nothing is searched for, so "10 or 12" is not read as 12.
    boxed = f"\\boxed{{{text}}}"
    return parse(boxed, [_LATEX], fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None)
