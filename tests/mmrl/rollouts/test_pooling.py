"""More answers than are learned from: how many are sampled, which are kept, and what figures and samplers are told."""

from dataclasses import replace

import pytest
import torch

from mmrl import load_recipe
from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Sample, StopReason, Trajectory
from mmrl.recipe.rollout import Pool, SamplingConfig
from mmrl.rollouts.answers import AnswerSource
from mmrl.rollouts.collect import StepBatch
from mmrl.rollouts.pooling import chosen
from mmrl.trainer.figures import describe
from mmrl.trainer.rows import outcomes

SAMPLE = Sample("easy", (), "counting", {"count": 3}, draw=(0, 0))


def trajectories(*rewards):
    return [Trajectory((), reward=float(reward), accuracy=float(reward)) for reward in rewards]


@pytest.mark.parametrize(
    ("rewards", "keep", "expected"),
    [
        ([0, 0, 0, 1, 1, 1], "balanced", [0, 0, 1, 1]),
        ([0, 0, 0, 0, 0, 1], "balanced", [0, 0, 0, 1]),
        ([1, 1, 1, 1, 0, 1], "balanced", [1, 1, 1, 0]),
        ([1, 1, 1, 1, 1], "balanced", [1, 1, 1, 1]),
        ([0.5, 0.1, 0.9, 0.4, 0.8, 0.2], "extremes", [0.1, 0.9, 0.8, 0.2]),
    ],
)
def test_which_answers_are_kept(rewards, keep, expected):
    assert [t.reward for t in chosen(trajectories(*rewards), 4, keep)] == expected


class Rounds:
    """A policy and engine whose answers are right from a prompt's given number on."""

    config = None
    right_from = {"easy": 1, "late": 6, "never": 99}

    def __init__(self):
        self.asked, self.count = [], {}

    def prepare(self, samples):
        return [sample.id for sample in samples]

    def decode_text(self, tokens):
        return str(tokens.tolist()[0])

    def generate(self, requests, sampling, seed):
        self.asked.append(([request.prompt for request in requests], requests[0].n, seed))
        made = []
        for request in requests:
            answers = []
            for _ in range(request.n):
                number = self.count[request.prompt] = self.count.get(request.prompt, -1) + 1
                units = torch.tensor([int(number >= self.right_from[request.prompt])])
                answers.append(Completion(units, torch.zeros(1), StopReason.END))
            made.append(answers)
        return made


class Scores:
    def with_group(self, texts, sample):
        return sample

    def score_all(self, pairs):
        return [replace(t, reward=float(t.text), accuracy=float(t.text)) for t, _ in pairs]


def pooled(**settings):
    rounds = Rounds()
    rows = [replace(SAMPLE, id=name, draw=(0, i)) for i, name in enumerate(Rounds.right_from)]
    ready = [Ready(row, tuple(rounds.prepare([row]))) for row in rows]
    terms = Terms(SamplingConfig(), 4, seed=3, pool=Pool(**settings))
    return rounds, AnswerSource(Means(rounds, rounds, None, Scores())).plan(ready, terms)


def test_prompts_are_sampled_until_they_have_enough():
    rounds, groups = pooled(size=10, round=4)
    assert [(prompts, n) for prompts, n, _ in rounds.asked] == [
        (["easy", "late", "never"], 4),
        (["late", "never"], 4),
        (["never"], 2),
    ]
    assert len({seed for *_, seed in rounds.asked}) == 3
    assert [len(group.pool) for group in groups] == [4, 8, 10]
    assert [[t.accuracy for t in group.trajectories] for group in groups] == [[0, 1, 1, 1], [0, 0, 1, 1], [0] * 4]


def test_one_round_samples_the_whole_pool():
    rounds, groups = pooled(size=12)
    assert [n for _, n, _ in rounds.asked] == [12]
    assert [len(group.trajectories) for group in groups] == [4, 4, 4]


def test_figures_and_samplers_are_told_of_all_that_were_sampled():
    _, groups = pooled(size=10, round=4)
    figures = describe(StepBatch(sampled=tuple(groups)))
    assert figures["group/pool"] == pytest.approx(22 / 3)
    assert figures["accuracy/mean"] == pytest.approx((3 + 2 + 0) / 22)
    assert [len(outcome.accuracies) for outcome in outcomes(groups, 0)] == [4, 8, 10]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pool": {"size": 2}}, "pool.size 2 leaves nothing to choose: it is not above n 2"),
        ({"pool": {"size": 8, "round": 9}}, "pool.round 9 is above pool.size 8"),
        ({"pool": {"size": 8}, "context": {"name": "reference"}}, "pool beside context"),
        ({"pool": {"size": 8, "keep": "best"}}, "Allowed: 'balanced' or 'extremes'"),
    ],
)
def test_what_is_no_pool_is_refused(tiny_recipe, given, said):
    tiny_recipe["rollout"] |= given
    with pytest.raises(ConfigError) as error:
        load_recipe(tiny_recipe)
    assert said in str(error.value)
