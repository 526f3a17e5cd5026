"""Pure functions of a step's scored groups to their rewards. `mmrl.recipe.reward_transforms` has names and sources."""

from __future__ import annotations

from statistics import fmean

from mmrl.objectives.scored import Groups
from mmrl.recipe import reward_transforms as settings


def overlong(groups: Groups, own: settings.Overlong) -> list[list[float]]:
    """Rewards with the soft overlong punishment."""
    return [[t.reward + overlong_penalty(t.units, t.limit, own) for t in group] for group in groups]


def overlong_penalty(units: int, limit: int, own: settings.Overlong) -> float:
    """In [-weight, 0]: 0 up to `limit - cache` units, then linearly down to -weight at `limit`."""
    excess = units - (limit - own.cache)
    return -own.weight * min(1.0, max(0.0, excess / own.cache))


def clip(groups: Groups, own: settings.RewardClip) -> list[list[float]]:
    """Rewards between the bounds."""
    return [[min(max(t.reward, own.low), own.high) for t in group] for group in groups]


def group_length(groups: Groups, own: settings.GroupLength) -> list[list[float]]:
    """Rewards with the length reward of each answer among those of its group."""
    rewards = []
    for group in groups:
        shortest, longest = min(t.units for t in group), max(t.units for t in group)
        span = longest - shortest
        shares = [0.5 - (t.units - shortest) / span if span else 0.0 for t in group]
        right = [t.measured("reward_transforms: group_length") >= own.threshold for t in group]
        bonuses = [share if solved else min(0.0, share) for solved, share in zip(right, shares)]
        rewards.append([t.reward + own.weight * bonus for t, bonus in zip(group, bonuses)])
    return rewards


def ground_truth(groups: Groups, own: settings.GroundTruth) -> list[list[float]]:
    """Rewards with those of demonstrations held down."""
    rewards = []
    for group in groups:
        answers = [t.reward for t in group if not t.demonstrated]
        changed = []
        for t in group:
            reward = t.reward
            if t.demonstrated:
                reward -= sum(weight * (t.parts.get(name) or 0.0) for name, weight in own.without.items())
                if own.smooth and answers and max(answers) >= reward:
                    reward = fmean(answers)
            changed.append(reward)
        rewards.append(changed)
    return rewards
