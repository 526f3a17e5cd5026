"""Where published figures come from."""

from __future__ import annotations

from mmrl.contracts.benchmark import Reference

REPORTS = "Qwen2.5-VL and Qwen3-VL reports, second hand"
CHART = "read off a chart of EasyVideoR1's report, ±0.3; 2 fps, at most 256 frames"
UNKNOWN = "not known"
EASY = "EasyVideoR1's evaluation files"


def qwen25(score: float) -> Reference:
    """Of Qwen2.5-VL-7B-Instruct, from its report."""
    return Reference("Qwen2.5-VL-7B", score, REPORTS)


def qwen3(score: float) -> Reference:
    """Of Qwen3-VL-8B-Instruct, from its report."""
    return Reference("Qwen3-VL-8B", score, REPORTS)


def easyvideor1(score: float) -> Reference:
    """Of Qwen3-VL-8B-Instruct, as EasyVideoR1 measured it."""
    return Reference("Qwen3-VL-8B", score, CHART)
