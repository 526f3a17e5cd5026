"""Agreement within a group as the reward of a run (TTRL), and parts that are only measured."""

from dataclasses import replace

import pytest

import mmrl
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Trajectory
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.rewarding import Rewarder
from tests.support.policy import digits

SAMPLE = replace(digits(1, "counting")[0], target={"count": 3})


def score(rewarder, texts, sample=SAMPLE, grouped=True):
    seen = rewarder.with_group(texts, sample) if grouped else sample
    return rewarder.score_all([(Trajectory((), text=text), seen) for text in texts])


def majority(*more):
    return Rewarder([RewardConfig(name="majority"), *more])


def test_answers_of_the_majority_are_rewarded_whatever_is_true():
    rewarder = majority(RewardConfig(name="route", weight=0.0))
    rewarder.check(SAMPLE)
    scored = score(rewarder, ["4", "four", "3", "4", "no idea"])
    assert [t.reward for t in scored] == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert [t.accuracy for t in scored][:1] == [1.0], "the first part that gives an answer"


def test_a_measured_part_first_gives_the_accuracy_and_no_reward():
    rewarder = Rewarder([RewardConfig(name="route", weight=0.0), RewardConfig(name="majority")])
    scored = score(rewarder, ["4", "4", "3"])
    assert [t.reward for t in scored] == [1.0, 1.0, 0.0]
    assert [t.accuracy for t in scored] == [0.0, 0.0, 1.0]


def test_a_group_without_a_majority_earns_nothing():
    assert [t.reward for t in score(majority(), ["1", "2"])] == [0.0, 0.0]


def test_a_lone_answer_of_an_evaluation_is_measured_by_the_other_part():
    rewarder = majority(RewardConfig(name="route", weight=0.0))
    (right,), (wrong,) = (score(rewarder, [text], grouped=False) for text in ("3", "5"))
    assert (right.accuracy, wrong.accuracy) == (1.0, 0.0)


def test_a_sample_that_no_part_scores_is_still_bad():
    with pytest.raises(BadSample, match="no reward gave a score"):
        score(Rewarder([RewardConfig(name="counting")]), ["3"], replace(SAMPLE, target={"text": "x"}))


def test_rewards_that_all_weigh_nothing_are_refused(tiny_recipe):
    with pytest.raises(UserError, match="every weight is 0"):
        mmrl.load_recipe({**tiny_recipe, "rewards": [{"name": "route", "weight": 0}]})


def test_a_run_on_agreement_needs_no_truth(tiny_recipe, workplace):
    rewards = [{"name": "route", "weight": 0}, {"name": "majority"}]
    summary = mmrl.train({**tiny_recipe, "rewards": rewards}).summary
    assert summary["finished"]
