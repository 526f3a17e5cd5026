"""What the policy makes of questions, for samplers that draw by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Policy, Representing
from mmrl.contracts.types import Sample
from mmrl.contracts.world import ALONE, World
from mmrl.rollouts.preparing import Preparer


class PromptFeatures:
    """The hidden state of each sample's prompt, of the preparer's policy with the weights that it has when asked.

    Args:
        preparer: has the policy, also where a stage opens another.
        budget: tokens of one forward pass, padding included.
        world: every process takes what the first one computed.
    """

    def __init__(self, preparer: Preparer, budget: int, world: World = ALONE):
        self.preparer, self.budget, self.world = preparer, budget, world

    def __call__(self, samples: Sequence[Sample]) -> list[np.ndarray | None]:
        """float64 [H] of each; None of one that no prompt can be made of.

        Raises:
            UserError: a policy without such a state, or a row that is no question.
        """
        policy = self.preparer.policy
        if not isinstance(policy, Representing):
            raise UserError(
                f"data.sampler reads the policy's hidden state of prompts, which policy.type '{policy.config.type}' "
                "does not give"
            )
        states: list[np.ndarray | None] = [None] * len(samples)
        waiting: dict[int, Any] = {}
        for i, sample in enumerate(samples):
            prompt = _prompt_of(sample, policy)
            if prompt is None:
                continue
            widest = max([prompt.length, *(each.length for each in waiting.values())])
            if waiting and widest * (len(waiting) + 1) > self.budget:
                _fill(states, waiting, policy)
                waiting = {}
            waiting[i] = prompt
        if waiting:
            _fill(states, waiting, policy)
        return self.world.exchange("features of prompts", states)[0]


def _prompt_of(sample: Sample, policy: Policy) -> Any | None:
    if sample.kind != "answers" or sample.actions is not None or sample.steps:
        raise UserError(f"{sample.where}: data.sampler reads prompts, and this row is an episode or holds actions")
    try:
        return policy.prepare([sample])[0]
    except BadSample:
        # It is told, or ends the run, when it is drawn.
        return None


def _fill(states: list[np.ndarray | None], prompts: dict[int, Any], policy: Representing) -> None:
    rows_BH = policy.prompt_states(list(prompts.values())).double().cpu().numpy()
    for i, row_H in zip(prompts, rows_BH, strict=True):
        states[i] = row_H
