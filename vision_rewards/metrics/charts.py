"""Relaxed accuracy of answers about charts."""

from __future__ import annotations


def relaxed_accuracy(prediction: str, target: str, *, tolerance: float = 0.05) -> float:
    """ChartQA's relaxed accuracy of one answer, 0 or 1, as lmms-eval, VLMEvalKit and pix2struct compute it.

    Where both are numbers (`%` divides by 100) and the target is not 0: |x − y| / |y| ≤ tolerance; else equality
    without case (Masry et al. 2022). For their numbers, not for training: 2014 passes for 2019; "1,000", "$5" and, for
    the target "0", "0.0" are wrong; "1_000" is 1000. The reward `chart` closes these.
    """
    predicted, expected = _number(prediction), _number(target)
    if predicted is None or not expected:
        return float(prediction.lower() == target.lower())
    return float(abs(predicted - expected) / abs(expected) <= tolerance)


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
