"""Held-out loss: how likely the policy finds the demonstrations of held-out rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from mmrl.contracts.errors import BadSample
from mmrl.contracts.heldout import LOSS
from mmrl.contracts.policy import Policy, without_dropout
from mmrl.contracts.source import Ready
from mmrl.evaluation.rows import BadRows
from mmrl.objectives.batching import micro_batches
from mmrl.objectives.rows import Row, collate
from mmrl.policies.alive import refuse_dead
from mmrl.rollouts.answers import demonstrate

# Demonstrations are measured whole, however long answers may become.
NO_LIMIT = 2**31


@dataclass(slots=True)
class LossSums:
    """-log pi of held-out demonstrations in nats, and their tokens, end tokens included, per dataset."""

    nll: dict[str, float] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)

    def add(self, dataset: str, policy: Policy, ready: Sequence[Ready], budget: int, bad: BadRows) -> None:
        """Adds the demonstrations of some rows of a dataset, at temperature 1 and without dropout.

        Args:
            budget: tokens per forward pass.
            bad: takes rows whose demonstration the policy cannot represent.

        Raises:
            DeadPolicy: log-probs are not finite.
        """
        rows: list[Row] = []
        for number, item in enumerate(ready):
            try:
                (trajectory,) = demonstrate(policy, item, NO_LIMIT).trajectories
            except BadSample as error:
                bad.add_unmeasured(error, item.sample.row)
                continue
            rows += [Row(decision, LOSS, 1.0, number, trajectory.units) for decision in trajectory.decisions]
        if not rows:
            return
        with torch.no_grad(), without_dropout(policy):
            for batch in micro_batches(rows, policy, budget):
                likelihood = policy.log_probs(collate(batch))
                refuse_dead("log-probs of demonstrations", [likelihood.log_probs_RU[likelihood.mask_RU]])
                self.nll[dataset] = self.nll.get(dataset, 0.0) - float(likelihood.log_probs_RU.double().sum())
                self.units[dataset] = self.units.get(dataset, 0) + int(likelihood.mask_RU.sum())

    def figures(self, controls: Collection[str] = ()) -> dict[str, float]:
        """`loss`, the mean over the datasets but `controls`, and `loss/<dataset>` of each where there are several.

        A dataset's is the mean over all of its tokens.
        """
        means = {name: self.nll[name] / self.units[name] for name in self.nll}
        counted = [mean for name, mean in means.items() if name not in controls]
        if len(means) == 1 and counted:
            return {LOSS: counted[0]}
        whole = {LOSS: sum(counted) / len(counted)} if counted else {}
        return whole | {f"{LOSS}/{name}": mean for name, mean in means.items()}
