"""Sampled answers on their way to rewards: what a group agrees on reaches the reward of each of its answers."""

import pytest

from mmrl.contracts.source import Ready
from mmrl.contracts.types import Sample
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.answers import answer
from mmrl.rollouts.rewarding import Rewarder
from tests.support.scripted import Scripted


def rewards_of(*texts):
    """The rewards of a group of each of `texts` under agreement alone; whatever they say, the truth is 3."""
    scripted, rewarder = Scripted(*texts), Rewarder([RewardConfig(name="majority")])
    ready = [Ready(Sample(str(i), (), "counting", {"count": 3}), (f"prompt {i}",)) for i in range(len(texts))]
    groups = answer(scripted, scripted, ready, SamplingConfig(), max(map(len, texts)), 0, rewarder)
    return [[trajectory.reward for trajectory in group.trajectories] for group in groups]


def test_three_of_four_that_agree_are_rewarded():
    """TTRL (Zuo et al. 2025): 1 for the answer that most of the group give, whatever is true."""
    assert rewards_of(["4", "four", "3", "4"]) == [[1.0, 1.0, 0.0, 1.0]]


def test_each_group_agrees_by_itself():
    """Over both groups together 4 would win, with four votes of eight."""
    assert rewards_of(["4", "4", "4", "7"], ["7", "4", "7", "9"]) == [[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]]


def test_two_that_agree_are_a_majority():
    assert rewards_of(["4", "4"]) == [[1.0, 1.0]]


@pytest.mark.parametrize("texts", [["3"], ["3", "4"]])
def test_no_reward_without_agreement(texts):
    assert rewards_of(texts) == [[0.0] * len(texts)]
