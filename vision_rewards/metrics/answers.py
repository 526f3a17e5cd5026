"""Measures of short answers: numbers and sets of labels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from decimal import Decimal
from fractions import Fraction

Number = int | float | Decimal


def _exact(value: Number) -> Fraction | None:
    """The number as it is written in decimal; None if it is not finite."""
    if isinstance(value, float):
        # 0.1 means a tenth, not the float nearest to it.
        return Fraction(repr(float(value))) if math.isfinite(value) else None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    return Fraction(value)


def relative_error(prediction: Number, target: Number) -> Fraction | None:
    """|prediction − target| / |target|, exactly; None where that is not finite (a target of 0 that was missed)."""
    predicted, expected = _exact(prediction), _exact(target)
    if predicted is None or expected is None:
        return None
    if expected == 0:
        return Fraction(0) if predicted == 0 else None
    return abs(predicted - expected) / abs(expected)


def mean_relative_accuracy(prediction: Number, target: Number, *, inclusive: bool = False) -> float:
    """MRA of one number: the mean over θ = 0.50, 0.55, …, 0.95 of [relative error < 1 − θ].

    Of VSI-Bench (Yang et al. 2024). A target of 0 must be met exactly. The comparison is in exact arithmetic: an error
    of just 5 % does not pass θ = 0.95 because 1 − 0.95 is a little above 0.05 in floats.

    Args:
        prediction: a number; NaN and infinity score 0.
        target: a finite number.
        inclusive: compare with ≤, as VSI-Bench's code does; its paper does not.
    """
    error = relative_error(prediction, target)
    if error is None:
        return 0.0
    # θ = 1 − k/20 for k = 1 … 10 passes where 20 · error is below (or at) k.
    steps = 20 * error
    passed = 11 - math.ceil(steps) if inclusive else 10 - math.floor(steps)
    return min(10, max(0, passed)) / 10


def relative_accuracy(prediction: Number, target: Number) -> float:
    """max(0, 1 − |prediction − target| / |target|): Video-R1's regression reward; a target of 0 must be met exactly."""
    error = relative_error(prediction, target)
    return 0.0 if error is None else float(max(Fraction(0), 1 - error))


def jaccard(first: Iterable[Hashable], second: Iterable[Hashable]) -> float:
    """|A ∩ B| / |A ∪ B| of two sets; 1 for two empty ones."""
    first, second = set(first), set(second)
    return len(first & second) / len(first | second) if first or second else 1.0
