"""An order of given items: jigsaw pieces, frames, events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import normalize_label, parse_distinct, readings
from vision_rewards.plain import Plain, scalar_of, structure_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

MAX_ITEMS = 200
_NOUN = re.compile(
    r"(?:frames?|images?|pictures?|photos?|clips?|scenes?|panels?|pieces?|tiles?|steps?|events?|options?|items?|"
    r"no|number) (?=\S)|#"
)
_MARKS = re.compile(r"[*`]{1,3}")
_THEN = re.compile(r"(?:,\s{0,3})?\b(?:and then|then|followed by|before|and finally|finally)\b|\|")
_BETWEEN = re.compile(r"[\s,;>→-]+")
_DASHES = re.compile(r"(?<=\w)\s?[-–—|/]\s?(?=\w)")


@dataclass(frozen=True, kw_only=True)
class Ordering(AnswerReward):
    """How far the answer, a permutation of the target's items, has the target's order."""

    name = "ordering"
    summary = "The order of given items: exact, by position, or by pairs."
    target_keys: ClassVar = {"order": "list of distinct int or str, 2 to 200, in the right order"}
    formula = (
        "o the answer, g the target, n items. exact: [o = g]; position: (1/n) Σ [oᵢ = gᵢ]; pairwise: share of the "
        "n(n − 1)/2 pairs in g's order; kendall: max(0, τ) = max(0, 2 · pairwise − 1). A graded score that is not "
        "exact is multiplied by `partial`. What is no permutation of g scores 0"
    )
    source = (
        "position: Jigsaw-R1 (Wang et al. 2025), and with partial = 0.2 Visual Jigsaw (Wu et al. 2025); kendall: "
        "Kendall 1938"
    )
    closes = (
        "every item once: a repeated, missing or foreign item scores 0, also where the rest is right",
        "a second list after the first one is no permutation either",
        "kendall gives the reversed order 0 and a random one little, where pairwise gives a random one 1/2",
    )
    tasks = ("ordering", "jigsaw", "event ordering", "temporal ordering", "sorting", "frame ordering")
    plain = (Plain("the items in their order, as list or text", "B, A, C"),)
    part_defaults: ClassVar = {"exact": 0.0, "position": 0.0, "pairwise": 0.0}
    metric_part = "exact"
    examples = (
        ({"order": [3, 1, 2]}, "<answer>[3, 1, 2]</answer>", "the order"),
        ({"order": ["A", "C", "B"]}, "A -> B -> C", "one position of three", {"metric": "position"}),
        ({"order": [1, 2, 3, 4]}, "1 2 4 3", "five pairs of six, τ = 2/3", {"metric": "kendall"}),
        ({"order": [1, 2, 3, 4]}, "1 2 2 4", "no permutation", {"metric": "position"}),
        ({"order": [1, 2]}, "2, 1", "reversed", {"metric": "pairwise"}),
    )

    metric: str = param("exact", "which measure is the score", choices=("exact", "position", "pairwise", "kendall"))
    partial: float = param(1.0, "factor of a graded score below 1", low=0, high=1)

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        if isinstance(answer, str) and not answer.lstrip().startswith("["):
            answer = [part for part in _BETWEEN.split(answer) if part]
        items = structure_of(answer)
        if not isinstance(items, Sequence) or len(items) < 2:
            raise ValueError(f"{answer!r:.80} is not an order of at least 2 items")
        return {"order": [item if isinstance(item, int) else scalar_of(item) for item in items]}

    def check_target(self, target):
        order = target["order"]
        if not isinstance(order, (list, tuple)) or not all(type(item) in (int, str) for item in order):
            raise TargetError(f"'order' is {str(order)[:60]!r}, not a list of int or str")
        names = [normalize_label(str(item)) for item in order]
        if not 2 <= len(names) <= MAX_ITEMS or not all(names) or len(set(names)) != len(names):
            raise TargetError(f"'order' has {len(names)} items, not 2 to {MAX_ITEMS} distinct names")

    def gold_answer(self, target):
        return dumps(list(target["order"]), ensure_ascii=False)

    def score_answer(self, answer, target):
        expected = [normalize_label(str(item)) for item in target["order"]]
        order, reason = _read_order(answer, expected)
        if order is None:
            return self.failed(reason)
        if set(order) != set(expected):
            return self.failed("not_a_permutation", order)
        parts = {
            "exact": float(order == expected),
            "position": metrics.position_accuracy(order, expected),
            "pairwise": metrics.pairwise_order_accuracy(order, expected),
        }
        score = max(0.0, 2.0 * parts["pairwise"] - 1.0) if self.metric == "kendall" else parts[self.metric]
        return RewardResult(score if parts["exact"] else self.partial * score, parts, order, "ok")


def _read_order(answer: str, expected: list[str]) -> tuple[list[str] | None, str]:
    """The answer's normalised items: of the outermost layer that has the target's, else of the last one."""
    short = all(len(name) <= 2 for name in expected)
    order, reason = None, "unparsable"
    for layer in readings(answer):
        text = _MARKS.sub("", layer)
        if all(len(name) == 1 for name in expected) and len(text) == len(expected) and text.isalnum():
            # "312" or "CAB": one character each.
            text = " ".join(text)
        for listing in (text, _THEN.sub(", ", text), *((_DASHES.sub(", ", text),) if short else ())):
            order, reason = parse_distinct(listing, lambda item: _name(item, expected), spaces=True)
            if order is not None and set(order) == set(expected):
                return order, "ok"
    return order, reason


def _name(item: str, expected: list[str]) -> str | None:
    """An item's normalised name, without a noun before it (`Frame 3`) where the target's items have none."""
    if len(item) > 2 * max(map(len, expected)) + 100:
        # Too long to be one of them; kept as it is, for normalising such items takes long.
        return item
    name = normalize_label(item)
    bare_name = _NOUN.sub("", name)
    return (bare_name if bare_name in expected and name not in expected else name) or None
