"""Similarity of LaTeX formulas."""

from __future__ import annotations

from vision_rewards.metrics.text import normalized_edit_similarity
from vision_rewards.parsers import latex_tokens


def formula_similarity(prediction: str, target: str) -> float:
    """1 − token edits / tokens of the longer, in [0, 1], of formulas normalised by `latex_tokens`; 0 without tokens.

    OmniDocBench's normalised edit distance counts characters of less normalised text; its CDM, which compares rendered
    formulas, needs a TeX installation and is not computed here.
    """
    tokens = latex_tokens(prediction)
    return normalized_edit_similarity(tokens, latex_tokens(target)) if tokens else 0.0
