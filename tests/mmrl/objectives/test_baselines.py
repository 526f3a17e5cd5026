"""Baselines of other answers than the group's: a pool's, those without a context, bundles of questions."""

import json
import math
import statistics
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Group, Sample, Trajectory
from mmrl.objectives.advantages import best, standard
from mmrl.objectives.risk import Risk
from mmrl.objectives.scored import Scored
from mmrl.recipe import advantages as settings
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.rows import make_rows
from tests.support.runs import recipe

PLAIN = settings.Standard(baseline="plain_mean", scale="none")
POOL = settings.Standard(baseline="pool_mean", scale="none")
REWARDS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=6)


def group(*rewards, contextual=(), pool=()):
    return [Scored(reward=r, contextual=i in contextual, pool=tuple(pool)) for i, r in enumerate(rewards)]


@given(REWARDS, REWARDS)
def test_a_pool_is_the_baseline_of_what_was_chosen_from_it(chosen, others):
    (got,) = standard([group(*chosen, pool=[*chosen, *others])], POOL)
    mean = statistics.fmean([*chosen, *others])
    assert got == pytest.approx([r - mean for r in chosen], abs=1e-12)


@given(REWARDS, REWARDS)
def test_answers_under_a_context_are_in_no_baseline(plain, contextual):
    places = range(len(plain), len(plain) + len(contextual))
    (got,) = standard([group(*plain, *contextual, contextual=places)], PLAIN)
    mean = statistics.fmean(plain)
    assert got == pytest.approx([r - mean for r in (*plain, *contextual)], abs=1e-12)


def test_equal_rewards_leave_no_residue():
    assert standard([group(*[0.1] * 3, pool=[0.1] * 7)], POOL) == [[0.0] * 3]
    assert standard([group(*[0.1] * 7, contextual=[6])], PLAIN) == [[0.0] * 7]


@pytest.mark.parametrize("own", [PLAIN, POOL])
def test_a_baseline_of_no_answers_is_refused(own):
    with pytest.raises(ConfigError, match="a group has none of the answers that the baseline is a mean of"):
        standard([group(1.0, 0.0, contextual=[0, 1])], own)


def test_the_first_best_answer_weighs_as_its_whole_group():
    groups = [group(0.0, 2.0, 2.0), group(1.0), group(-1.0, -3.0)]
    assert best(groups, settings.Best(kind="best")) == [[0.0, 3.0, 0.0], [1.0], [2.0, 0.0]]


def test_papers_of_a_bundle_by_hand():
    """Two questions, papers 1 + 0, 0 + 0 and 1 + 1: quantiles 0.4 and 1.6 of 0, 1, 2, deviation 1."""
    own = settings.Risk(bundle=2, credit="alike", epsilon=1e-12)
    got = Risk(own)([group(1.0, 0.0, 1.0), group(0.0, 0.0, 1.0)], own)
    middle = (1.0 - 1.6) / 0.6 / 2.5
    worst = (1.5 * -0.4 / 0.2 + (0.4 - 1.6) / 0.6) / 2.5
    assert got[0] == got[1] == pytest.approx([middle, worst, 0.0])
    shared = Risk(settings.Risk(bundle=2, epsilon=1e-12))([group(1.0, 0.0, 1.0), group(0.0, 0.0, 1.0)], own)
    assert shared[0] == pytest.approx([a / math.sqrt(1 / 3) for a in got[0]])


def test_quantiles_move_by_the_share_below_them():
    """0 and 4 in the first step: quantiles 0.8 and 3.2. Then 2 and 3: half and none below 3.2, none below 0.8."""
    own = settings.Risk(bundle=1, rate=0.5, credit="alike", scale="none")
    risk = Risk(own)
    risk([group(0.0, 4.0)], own)
    assert risk.state_dict()["quantiles"] == pytest.approx([0.8, 3.2])
    (got,) = risk([group(2.0, 3.0)], own)
    assert got == pytest.approx([(2.0 - 3.2) / 0.6 / 2.5, (3.0 - 3.2) / 0.6 / 2.5])
    assert risk.state_dict()["quantiles"] == pytest.approx([0.8 + 0.5 * 0.2, 3.2 + 0.5 * (0.8 - 1.0)])


def test_a_short_bundle_counts_as_a_full_one_and_answers_of_no_paper_teach_nothing():
    own = settings.Risk(bundle=2, credit="alike", scale="none")
    risk = Risk(own)
    risk.load_state_dict({"quantiles": [1.0, 2.0]})
    got = risk([group(0.0, 1.0), group(0.0, 0.0, 5.0), group(0.0, 1.0)], own)
    assert got[1] == [*got[0], 0.0]
    # The third question alone: papers of 0 and 2, where the first two have 0 and 1.
    assert got[2] == pytest.approx([got[0][0], 0.0])
    assert got[0][1] == pytest.approx(-1.0 / 0.6 / 2.5)


@given(st.floats(-2, 2), st.integers(1, 6), st.integers(1, 4))
def test_equal_papers_teach_nothing_whatever_the_quantiles(reward, n, count):
    own = settings.Risk(bundle=2)
    risk = Risk(own)
    risk.load_state_dict({"quantiles": [3.0, 4.0]})
    assert risk([group(*[reward] * n)] * count, own) == [[0.0] * n] * count


@given(
    st.lists(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=4), max_size=6), st.integers(0, 6)
)
def test_risk_goes_on_from_its_state(steps, cut):
    own = settings.Risk(bundle=2)
    whole, resumed = Risk(own), Risk(own)
    for i, step in enumerate(steps):
        if i == cut:
            other = Risk(own)
            other.load_state_dict(json.loads(json.dumps(resumed.state_dict())))
            resumed = other
        groups = [group(*map(float, rewards)) for rewards in step]
        assert whole(groups, own) == resumed(groups, own)
    assert whole.state_dict() == resumed.state_dict()


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("reinforce_ada", {}, "baseline pool_mean needs rollout.pool, such as {size: 32, round: 8}"),
        ("prefix_rft", {}, "baseline plain_mean is of answers without a context beside some under one"),
        ("prefix_rft", {"rollout": {"context": {"name": "prefix"}}}, "baseline plain_mean is of answers without"),
        (
            "reinforce_ada",
            {"rollout": {"pool": {"size": 9}}, "objective": {"reward_transforms": {"clip": {"low": 0.0}}}},
            "with baseline pool_mean reads rewards that reward_transforms .clip. do not change; leave them out",
        ),
        (
            "reinforce_ada",
            {
                "rollout": {"pool": {"size": 9}},
                "objective": {"kl": {"weight": 0.1, "kind": "k1", "place": "reward"}},
            },
            "with baseline pool_mean reads rewards that kl.place: reward does not change; set it to loss",
        ),
        ("riskpo", {"objective": {"advantage": {"low": 0.9}}}, "low 0.9 is not below high 0.8"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_recipe_is_read(tmp_path, method, changes, said):
    with pytest.raises(ConfigError, match=said):
        load_recipe(recipe("quickstart", tmp_path, method=method, **changes))


def test_groups_tell_of_their_pool_and_of_their_context():
    """What rewards and accuracies say of a pool, and which answer stood under a context."""
    beside = [Trajectory((), reward=r, accuracy=a) for r, a in ((0.5, 0.0), (1.2, 1.0), (0.0, 0.0))]
    chosen = (beside[0], replace(beside[1], info={"context": True}))
    batch = StepBatch(
        rollouts=(Group(Sample(id="a", messages=(), task="ocr", target="1"), chosen, pool=tuple(beside)),)
    )
    stage = SimpleNamespace(rollout=SimpleNamespace(max_new_tokens=8))
    for of, wanted in (("reward", [0.5 - 1.7 / 3, 1.2 - 1.7 / 3]), ("accuracy", [-1 / 3, 2 / 3])):
        objective = resolve_objective("reinforce_ada", {"advantage": {"of": of}})
        _, (noted,) = make_rows(batch, objective, stage)
        assert [t.info["advantage"] for t in noted.trajectories] == pytest.approx(wanted)
    _, (noted,) = make_rows(batch, resolve_objective("prefix_rft", {}), stage)
    assert [t.info["advantage"] for t in noted.trajectories] == pytest.approx([0.0, 0.7])
