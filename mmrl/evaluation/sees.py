"""Whether a policy, and the engine that samples from it, sees the pictures and videos that it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from mmrl.contracts.engine import Engine, Request
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.arms import Arm, blank, frames_shuffled, swapped, text_only
from mmrl.policies.unit_scores import unit_log_probs
from mmrl.recipe.engine_settings import ROUNDING
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.rollout import SamplingConfig

READ, ROWS, TOKENS = 8, 4, 8
# What rounding makes of equal sums; a policy that sees anything at all is far above it.
NOTHING = 1e-5


@dataclass(frozen=True, slots=True)
class Sight:
    """Log-probs of answers, in nats: means over their tokens, and largest differences of a token.

    The answers are the engine's own, greedy, to the right pictures and videos.

    Attributes:
        rows: that were looked at.
        right, others, none: the trainer's under the row's own, those of another row (grey ones where no row has
            others), and none at all.
        shuffled: under videos whose frames are out of order; None: there are no videos.
        engine: the engine's under the row's own.
        change: largest difference between right and the same patches negated and in reverse order: a picture of the
            same size, so that nothing but what is seen differs.
        gap: largest difference between engine and right.
    """

    rows: int
    right: float
    others: float
    none: float
    shuffled: float | None
    engine: float
    change: float
    gap: float

    def metrics(self) -> dict[str, float]:
        """As documented metrics."""
        means = {"right": self.right, "other": self.others, "none": self.none, "engine": self.engine}
        means |= {} if self.shuffled is None else {"shuffled": self.shuffled}
        return {f"sees/{name}": value for name, value in {**means, "change": self.change}.items()}

    def figures(self) -> str:
        """The means, for a line."""
        shuffled = "" if self.shuffled is None else f", shuffled {self.shuffled:.5f}"
        return (
            f"trainer: right {self.right:.5f}, other {self.others:.5f}{shuffled}, none {self.none:.5f}; engine: right "
            f"{self.engine:.5f} (nats per token, {self.rows} rows)"
        )


def answers_pictures(policy: Policy) -> bool:
    """Whether a policy answers in tokens to what it is shown."""
    entry = entry_of(policy.config.type)
    return entry.engine is None and "answers" in entry.learns


def look(policy: Policy, engine: Engine, data: Sequence[Sample]) -> Sight | None:
    """What the first rows with pictures or videos show; None where the first ones have none, or are
    bad, and where a policy's prompts do not say which of their fields are pixels (`pixel…`)."""
    rows = _shown(policy, data)
    chosen = range(min(ROWS, len(rows)))
    if not chosen:
        return None
    prompts = policy.prepare([rows[i] for i in chosen])
    if not all(map(_pixels, prompts)):
        return None
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=TOKENS)
    answers = [answer for (answer,) in engine.generate([Request(prompt) for prompt in prompts], greedy, 0)]
    units = [answer.tokens for answer in answers]

    def scored(arm: Arm) -> list[Tensor]:
        return unit_log_probs(policy, policy.prepare([arm(rows, i) for i in chosen]), units)

    right = unit_log_probs(policy, prompts, units)
    others = scored(_others)
    videos = any(rows[i].videos for i in chosen)
    theirs = [answer.log_probs for answer in answers if answer.log_probs is not None]
    return Sight(
        len(chosen),
        _mean(right),
        _mean(others),
        _mean(scored(text_only)),
        _mean(scored(frames_shuffled)) if videos else None,
        _mean(theirs),
        _largest(right, unit_log_probs(policy, [_scrambled(prompt) for prompt in prompts], units)),
        _largest(right, theirs),
    )


def check_sight(sight: Sight, dtype: str, where: str) -> None:
    """Raises UserError where the policy does not see, or the engine sees something else.

    Args:
        where: the data that were looked at.
    """
    if not sight.gap <= ROUNDING[dtype]:
        raise UserError(
            f"{where}: engine and trainer do not see the same: a token's log-prob differs by {sight.gap:.3g} nats; "
            f"{sight.figures()}"
        )
    if sight.change <= NOTHING:
        raise UserError(
            f"{where}: the model does not see what it is shown: with scrambled pictures of the same size no token's "
            f"log-prob changes by more than {NOTHING:g} nats; {sight.figures()}"
        )


def _shown(policy: Policy, data: Sequence[Sample]) -> list[Sample]:
    """The usable rows with pictures or videos among the first."""
    rows = []
    for i in range(min(READ, len(data))):
        try:
            sample = data[i]
            if sample.kind == "answers" and (sample.images or sample.videos) and not sample.steps:
                policy.prepare([sample])
                rows.append(sample)
        except BadSample:
            # Said elsewhere, with what becomes of it.
            continue
    return rows


def _pixels(prompt: Any) -> dict[str, Tensor]:
    """The patches or tiles that a prompt holds, by their names in it."""
    names = [field.name for field in fields(prompt)] if is_dataclass(prompt) else []
    pixels = {name: getattr(prompt, name) for name in names if name.startswith("pixel")}
    return {name: values for name, values in pixels.items() if values is not None}


def _scrambled(prompt: Any) -> Any:
    return replace(prompt, **{name: -values.flip(0) for name, values in _pixels(prompt).items()})


def _others(rows: Sequence[Sample], row: int) -> Sample:
    sample = swapped(rows, row)
    return blank(rows, row) if sample is rows[row] and sample.images else sample


def _mean(log_probs: Sequence[Tensor]) -> float:
    return float(sum(each.sum() for each in log_probs)) / max(1, sum(len(each) for each in log_probs))


def _largest(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))
