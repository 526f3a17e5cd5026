"""The risk of bundles of questions, against quantiles that are tracked: `mmrl.recipe.advantages` has the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmrl.objectives.scored import Groups, Scored
from mmrl.recipe import advantages as settings


class Risk:
    """Advantages of papers (RiskPO, as its code has it); remembers the low and the high quantile of their scores.

    In a stage's first step each bundle is measured by the quantiles of its own papers.
    """

    def __init__(self, own: settings.Risk):
        self.own = own
        self._levels = torch.tensor([own.low, own.high], dtype=torch.float64)
        self._quantiles: Tensor | None = None

    def __call__(self, groups: Groups, own: settings.Risk) -> list[list[float]]:
        """An advantage per answer; afterwards the quantiles have moved by the step's papers."""
        if not groups:
            return []
        bundles = [groups[i : i + own.bundle] for i in range(0, len(groups), own.bundle)]
        scores = [_papers(bundle, own.bundle) for bundle in bundles]
        advantages: list[list[float]] = []
        for bundle, of_papers in zip(bundles, scores, strict=True):
            values = self._of_papers(of_papers)
            for group in bundle:
                shares = (values / self._spread(group)).tolist()
                advantages.append(shares + [0.0] * (len(group) - len(shares)))
        self._track(torch.cat(scores))
        return advantages

    def _of_papers(self, scores_K: Tensor) -> Tensor:
        """float64 [K]: the advantage of each paper of a bundle."""
        own = self.own
        if bool((scores_K == scores_K[0]).all()):
            # The deviation is 0: what lies below a quantile would be divided by epsilon.
            return torch.zeros_like(scores_K)
        low, high = scores_K.quantile(self._levels) if self._quantiles is None else self._quantiles
        within = (scores_K.clamp(low, high) - high) / (own.high - own.low)
        below = -(low - scores_K).clamp(min=0) / own.low
        mixed = (own.tail * below + within) / (1 + own.tail)
        return mixed if own.scale == "none" else mixed / (scores_K.std() + own.epsilon)

    def _spread(self, group: Sequence[Scored]) -> float:
        """What the advantage of a question's answers is divided by."""
        rewards = torch.tensor([t.reward for t in group], dtype=torch.float64)
        if self.own.credit == "alike" or len(rewards) < 2 or bool((rewards == rewards[0]).all()):
            return 1.0
        return float(rewards.std()) + self.own.epsilon

    def _track(self, scores: Tensor) -> None:
        """A step of SGD on the quantile loss: q moves by rate x (level - the share of scores below it)."""
        if self._quantiles is None:
            self._quantiles = scores.quantile(self._levels)
        else:
            below = (scores[None] < self._quantiles[:, None]).double().mean(1)
            self._quantiles = self._quantiles + self.own.rate * (self._levels - below)

    def state_dict(self) -> dict[str, Any]:
        """The two quantiles, or none before the first step."""
        return {"quantiles": None if self._quantiles is None else self._quantiles.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts them back."""
        known = state["quantiles"]
        self._quantiles = None if known is None else torch.tensor([float(q) for q in known], dtype=torch.float64)


def _papers(bundle: Groups, size: int) -> Tensor:
    """float64 [K]: the score of each paper, K the answers of the smallest group."""
    count = min(len(group) for group in bundle)
    rewards = torch.tensor([[t.reward for t in group[:count]] for group in bundle], dtype=torch.float64)
    return rewards.sum(0) * (size / len(bundle))
