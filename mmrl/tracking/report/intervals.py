"""How sure a held-out accuracy is."""

from __future__ import annotations

import math

# The quantile of the normal distribution that leaves 2.5 % on either side.
Z = 1.959963984540054


def wilson(share: float, rows: float) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a share; of a mean of scores in [0, 1] it is no narrower than it should be.

    Args:
        share: in [0, 1].
        rows: that it was measured on; of a mean of shares, the number that gives it the same variance.

    Returns:
        its ends, or None where `share` is no share or nothing was measured.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not 0.0 <= share <= 1.0 or rows <= 0:
        return None
    shrink = 1.0 + Z * Z / rows
    centre = (share + Z * Z / (2.0 * rows)) / shrink
    half = Z / shrink * math.sqrt(share * (1.0 - share) / rows + Z * Z / (4.0 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)
