"""Plotting code that redraws a chart."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from vision_rewards.metrics.plots import feature_similarity, picture_similarity
from vision_rewards.parsers import MAX_ANSWER
from vision_rewards.plain import Plain, text_of
from vision_rewards.pool import Exceeded, bounded
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_FENCE = re.compile(r"```[a-zA-Z0-9]{0,20}[ \t]{0,20}\n(.*?)```", re.DOTALL)
_METRICS = ("structure", "image", "mean")
_BARS = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [3, 5], color='red')\nplt.title('Sales')\n"


@dataclass(frozen=True, kw_only=True)
class ChartToCode(AnswerReward):
    """How alike the code's calls, texts and numbers are, and how alike its picture."""

    name = "chart_to_code"
    summary = "Likeness of matplotlib code to a reference: what it says, what it draws, or both."
    target_keys: ClassVar = {
        "code": "str: reference code in Python, no fence; for pictures, of matplotlib and numpy only"
    }
    formula = (
        "structure: mean F1 of the multisets of calls, keywords, texts and numbers in the syntax trees, over those "
        "that either has; image: Σ 2 cov / Σ (var + var + (difference of means)²) of the drawn pictures, averaged over "
        "five resolutions; mean: half each"
    )
    source = "ChartMimic's low-level elements (Yang et al. 2024), by syntax; image: concordance (Lin 1989)"
    closes = (
        "code that is no Python, or does not draw, scores 0 for that part",
        "an empty page, of whatever colour, is like nothing, though most of a plot is paper",
        "repeated or superfluous calls, texts and numbers cost precision; comments and loose values do not count",
        "code is parsed in a worker and run in a child without files, network, environment or other processes",
        "that child is a copy of a process that never holds a picture or any code, and targets are drawn elsewhere",
        "code that uses names which it binds nowhere cannot run and scores 0, unless the reference uses them so",
        "functions that nothing names do not count; other dead code does for `structure`: `image` sees what is drawn",
    )
    waits = True
    tasks = ("chart to code", "chart2code", "plot to code")
    plain = (Plain("code, bare or in one fence", "plt.bar([1, 2], [3, 5])"),)
    part_defaults: ClassVar = {"structure": 0.0, "image": None}
    examples: ClassVar = (
        ({"code": _BARS}, f"```python\n{_BARS}```", "the same code in a fence"),
        ({"code": _BARS}, _BARS.replace("5", "4"), "one number of two differs: (1 + 1 + 1 + 1/2) / 4"),
        ({"code": _BARS}, _BARS.replace("bar(", "barh("), "another chart: one of two calls, no keyword in common"),
        ({"code": _BARS}, "plt.bar(", "no Python"),
        ({"code": _BARS}, "import os\nos.remove('x')", "parsed, never run"),
    )

    metric: str = param(
        "structure", "which measure is the score; a picture needs matplotlib and Linux", choices=_METRICS
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        text = text_of(answer)
        block = _FENCE.fullmatch(text)
        return {"code": block[1] if block else text}

    def check_target(self, target):
        code = target["code"]
        if not isinstance(code, str) or len(code) > MAX_ANSWER or "```" in code:
            raise TargetError(f"'code' is {str(code)[:60]!r}, not a str of at most {MAX_ANSWER} characters, unfenced")
        features = _target_features(code)
        if features is None or not features["calls"]:
            raise TargetError(f"'code' {code[:60]!r} is not Python that calls something")
        if self.metric != "structure" and (reason := _picture_problem(code)):
            raise TargetError(f"'code' {code[:60]!r} cannot be drawn: {reason}")

    def gold_answer(self, target):
        return target["code"]

    def score_answer(self, answer, target):
        code, reason = _code(answer)
        if code is None:
            return self.failed(reason)
        features, reason = _features(code)
        if features is None:
            return self.failed(reason)
        expected = _target_features(target["code"])
        if features["undefined"] - expected["undefined"]:
            return self.failed("undefined_names", sorted(features["undefined"]))
        structure = feature_similarity(features, expected)
        parts = {"structure": structure, "image": None}
        if self.metric != "structure":
            parts["image"], reason = _image_score(code, target["code"])
        score = {"structure": structure, "image": parts["image"]}.get(self.metric)
        score = (structure + parts["image"]) / 2 if score is None else score
        counts = {kind: features[kind].total() for kind in features if kind != "undefined"}
        return RewardResult(score, parts, counts, reason)


def _code(answer: str) -> tuple[str | None, str]:
    """The one fenced block of the answer, or all of it where there is no fence."""
    if "```" not in answer:
        return answer, "ok"
    if answer.count("```") > 2:
        return None, "many_blocks"
    block = _FENCE.search(answer)
    return (block[1], "ok") if block else (None, "unparsable")


def _features(code: str) -> tuple[dict[str, Counter] | None, str]:
    try:
        features = bounded("vision_rewards.metrics.plots:plot_features", code)
    except Exceeded as error:
        return None, error.kind
    return features, "ok" if features is not None else "unparsable"


@lru_cache(maxsize=64)
def _target_features(code: str) -> dict[str, Counter] | None:
    return _features(code)[0]


def _picture_problem(code: str) -> str | None:
    from vision_rewards.plot_sandbox import draw_target

    image, reason = draw_target(code)
    if image is None:
        return reason
    return None if (image != image[:1, :1]).any() else "it draws nothing"


def _image_score(code: str, target_code: str) -> tuple[float, str]:
    from vision_rewards.plot_sandbox import draw, draw_target

    image, reason = draw(code)
    return (0.0 if image is None else picture_similarity(image, draw_target(target_code)[0])), reason
