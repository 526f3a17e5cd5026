"""Rewards that nothing calls are refused when a recipe is read; the default follows from the data."""

import pytest

import mmrl
from mmrl.contracts.errors import UserError
from mmrl.recipe.code import code_of
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe

EPISODES = {"type": "episodes", "simulator": "table"}
QUESTIONS = {"type": "digits"}
PYTHON = {"type": "python", "function": "a:b"}
RECORDED = {"type": "libero_hdf5", "path": "x.hdf5", "chunk": 2}


def recipe(train, held_out=(), **more):
    return {
        "name": "r",
        "policy": {"path": "x", "action_bins": 5},
        "simulators": {"table": {"type": "tabletop"}},
        "data": {"train": train, "eval": list(held_out)},
        "method": "sft",
        "steps": 1,
        "rollout": {"action_chunk": 2},
        **more,
    }


@pytest.mark.parametrize("train", [[EPISODES], [RECORDED], [EPISODES, RECORDED]])
@pytest.mark.parametrize("rewards", [[{"name": "route"}], [{"name": "format"}, {"name": "length", "weight": 0}]])
def test_episodes_have_no_use_for_rewards(train, rewards):
    with pytest.raises(UserError, match=r"^rewards: nothing calls them: .* episodes and recorded actions alone"):
        load_recipe(recipe(train, rewards=rewards))
    assert load_recipe(recipe(train)).rewards == []


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ([QUESTIONS], []),
        ([EPISODES, QUESTIONS], []),
        ([EPISODES], [QUESTIONS]),
        ([PYTHON], []),
    ],
)
def test_what_is_answered_is_rewarded_by_its_task_where_nothing_else_is_said(train, held_out):
    assert load_recipe(recipe(train, held_out)).rewards == [RewardConfig(name="route")]
    own = [{"name": "format", "weight": 2.0}]
    assert load_recipe(recipe(train, held_out, rewards=own)).rewards == [RewardConfig(**own[0])]
    with pytest.raises(UserError, match="rewards: at least one is needed"):
        load_recipe(recipe(train, held_out, rewards=[]))
    with pytest.raises(UserError, match="rewards: every weight is 0"):
        load_recipe(recipe(train, held_out, rewards=[{"name": "route", "weight": 0}]))


@pytest.mark.parametrize("train", [[EPISODES], [QUESTIONS]])
def test_a_written_recipe_reads_back(train, tmp_path):
    first = load_recipe(recipe(train))
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    assert load_recipe(tmp_path / "config.yaml") == first


def test_a_reward_from_python_that_nothing_calls_is_refused(tiny_qwen, tmp_path):
    raw = recipe([EPISODES], [EPISODES | {"first": 10**6}], output=str(tmp_path))
    raw["policy"]["path"] = str(tiny_qwen("qwen2_5_vl"))
    for run in (mmrl.train, mmrl.evaluate):
        with pytest.raises(UserError, match="reward: nothing calls it"):
            run(raw, reward=lambda text, sample: 1.0)


@pytest.mark.parametrize("passed", ["train_data", "eval_data"])
def test_data_from_python_may_be_rewarded(passed):
    code = {passed: code_of(load_recipe)}
    assert load_recipe(recipe([EPISODES]), passed=code).rewards == [RewardConfig(name="route")]
    own = recipe([EPISODES], rewards=[{"name": "format"}])
    assert load_recipe(own, passed=code).rewards == [RewardConfig(name="format")]
