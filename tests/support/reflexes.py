"""Policies that act without a model, and rollouts of them."""

import torch

from mmrl.contracts.engine import Completion
from mmrl.contracts.types import StopReason
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import play
from tests.support.worlds import starts


class Reflex:
    """A policy without a model. Its units are the actions themselves; its prompts are the views."""

    horizon = None

    def check_units(self, units):
        """Any number will do."""

    def units_per_action(self, action_dim):
        return action_dim

    def prepare(self, views):
        return list(views)

    def actions(self, units_BU, action_dim):
        return units_BU.view(len(units_BU), -1, action_dim)

    def action_units(self, actions_BCA):
        return actions_BCA.flatten(1)


class Dice:
    """Its engine: random actions from the seed and what is seen, with `before` called at each inference."""

    def __init__(self, before=lambda views: None):
        self.before, self.seeds = before, []

    def generate(self, requests, sampling, seed):
        views = [request.prompt for request in requests]
        self.before(views)
        self.seeds.append(seed)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.rand(len(views), sampling.max_new_tokens, generator=generator)
        rows = (rows + torch.stack([view.state for view in views])[:, :1]) % 2 - 1
        return [[Completion(row, row, StopReason.WHOLE)] for row in rows]


def roll(simulators, engine, count=4, n=2, seed=3, **options):
    return play(Reflex(), engine, simulators, starts(count), SamplingConfig(), n, 2, seed, **options)
