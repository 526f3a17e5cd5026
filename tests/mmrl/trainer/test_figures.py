"""Figures of a step, from numbers that are added up by hand."""

import pytest
import torch

from mmrl.contracts.types import Decision, EpisodeFacts, Trajectory
from mmrl.objectives.rows import Row
from mmrl.trainer.figures import _episodes, resources


def episode(reward, success_once=False, success_at_end=False, length=1):
    facts = EpisodeFacts(success_once, success_at_end, length)
    return Trajectory((Decision(None, torch.tensor([1])),), reward=reward, episode=facts)


def test_figures_of_episodes_are_means_over_episodes_alone():
    answer = Trajectory((Decision(None, torch.tensor([1])),), reward=100.0)
    played = [episode(2.0, True, True, 6), episode(None, True, False, 3), episode(0.5, False, False, 0)]
    assert _episodes([answer, *played]) == pytest.approx(
        {"episode/success_once": 2 / 3, "episode/success_at_end": 1 / 3, "episode/return": 2.5 / 3, "episode/length": 3}
    )
    assert _episodes([answer]) == {}


def test_throughput_counts_what_is_learned_from():
    rows = [Row(Decision(None, torch.zeros(n, dtype=torch.long)), "rl", 1.0, n, n, masked=n > 4) for n in (3, 4, 5)]
    figures = resources(rows, 4.0, 1.5)
    assert (figures["time/step"], figures["time/update"]) == (4.0, 1.5)
    assert figures["throughput/tokens_per_s"] == 7 / 4
    assert figures["throughput/samples_per_s"] == 2 / 4
