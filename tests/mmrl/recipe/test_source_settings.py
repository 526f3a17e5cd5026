"""What no source of a recipe's data reads of `rollout` and `evaluation` is refused when it is read."""

import pytest
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe

EPISODES = {"type": "episodes", "simulator": "table"}
ANSWERS = {"type": "digits"}
RECORDED = {"type": "libero_hdf5", "path": "x.hdf5"}
PYTHON = {"type": "python", "function": "module:function"}
HELD_OUT = {**EPISODES, "first": 5000}


def recipe(*train, eval=(), method="grpo"):
    return {
        "name": "x",
        "policy": {"path": "anywhere", "action_bins": 5},
        "simulators": {"table": {"type": "tabletop"}},
        "data": {"train": list(train), "eval": list(eval)},
        "method": method,
        "steps": 1,
    }


def refused(raw, *overrides) -> str:
    with pytest.raises(ConfigError) as found:
        load_recipe(raw, overrides)
    return str(found.value)


@pytest.mark.parametrize(
    ("raw", "override", "said"),
    [
        (
            recipe(EPISODES),
            "rollout.stop=[x]",
            'stages.grpo.rollout.stop: ["x"] is read by answers alone, and data.train holds episodes; leave it out',
        ),
        (recipe(EPISODES), "rollout.max_new_tokens=8", "rollout.max_new_tokens: 8 is read by answers alone, and"),
        (
            recipe(ANSWERS, eval=[ANSWERS]),
            "rollout.action_chunk=3",
            "action_chunk: 3 is read by episodes and recorded actions alone, and",
        ),
        (recipe(ANSWERS, eval=[ANSWERS]), "rollout.pipeline=2", "rollout.pipeline: 2 is read by episodes alone"),
        (
            recipe(RECORDED, method="sft"),
            "rollout.n=2",
            "n: 2 is read by answers and episodes alone, and data.train holds r",
        ),
        (recipe(RECORDED, method="sft"), "rollout.top_p=0.9", "top_p: 0.9 is read by answers and episodes alone"),
        (
            recipe(ANSWERS, eval=[HELD_OUT]),
            "evaluation.sampling.stop=[x]",
            'evaluation.sampling.stop: ["x"] is read by answers alone, and data.eval holds episodes; leave it out',
        ),
        (
            recipe(EPISODES, eval=[HELD_OUT]),
            "evaluation.sparse_to_dense={}",
            'evaluation.sparse_to_dense: {"start": 32',
        ),
        (
            recipe(ANSWERS, eval=[ANSWERS]),
            "evaluation.action_chunk=2",
            "evaluation.action_chunk: 2 is read by episodes al",
        ),
        (recipe(ANSWERS, eval=[ANSWERS]), "evaluation.videos=2", "evaluation.videos: 2 is read by episodes alone"),
    ],
)
def test_what_nothing_reads_is_refused(raw, override, said):
    assert said in refused(raw, override)


@pytest.mark.parametrize(
    ("raw", "overrides"),
    [
        (recipe(EPISODES, eval=[HELD_OUT]), ["rollout.temperature=0.7", "rollout.top_k=3", "rollout.pipeline=2"]),
        (recipe(ANSWERS, EPISODES), ["rollout.stop=[x]", "rollout.action_chunk=2", "rollout.max_new_tokens=9"]),
        (recipe(ANSWERS, eval=[HELD_OUT]), ["rollout.action_chunk=2", "rollout.pipeline=2", "evaluation.videos=1"]),
        (recipe(ANSWERS), ["rollout.action_chunk=2", "evaluation.sampling.max_new_tokens=3", "evaluation.videos=1"]),
        (recipe(PYTHON), ["rollout.stop=[x]", "rollout.action_chunk=2"]),
        (recipe(ANSWERS, eval=[PYTHON]), ["evaluation.videos=1", "rollout.pipeline=2"]),
        (recipe(EPISODES, eval=[HELD_OUT]), ["rollout.stop=[]", "rollout.max_new_tokens=64"]),
    ],
)
def test_what_something_may_read_is_not(raw, overrides):
    """Without held-out data in the recipe, Python may bring some of any kind."""
    read = load_recipe(raw, overrides)
    assert load_recipe(yaml.safe_load(to_yaml(read))) == read


@pytest.mark.parametrize("key", ["top_p=0.9", "top_k=3", "min_p=0.1"])
def test_limits_of_tokens_have_no_effect_on_greedy_answers(key):
    raw = recipe(ANSWERS, eval=[ANSWERS])
    said = refused(raw, f"evaluation.sampling.{key}")
    assert said.startswith(
        f"evaluation.sampling.{key.replace('=', ': ')} has no effect, since evaluation.sampling.temp"
    )
    load_recipe(raw, [f"evaluation.sampling.{key}", "evaluation.sampling.temperature=0.5"])
    load_recipe(raw, [f"evaluation.sampling.{key}", "evaluation.sparse_to_dense={}"])


@pytest.mark.parametrize("normalise", ["constant", "sum"])
def test_a_constant_normaliser_of_episodes_does_not_fall_back_on_the_tokens_of_answers(normalise):
    line = refused(recipe(EPISODES, method="sft"), f"objective.streams.demo.normalise={normalise}")
    assert line.endswith(
        "objective.streams.demo.max_units is needed for episodes: steps x action_dim of the longest one"
    )
    load_recipe(recipe(ANSWERS, method="sft"), [f"objective.streams.demo.normalise={normalise}"])


@pytest.mark.parametrize("key", ["top_p=0.9", "top_k=3", "min_p=0.1"])
@pytest.mark.parametrize("place", ["rollout", "evaluation.sampling"])
def test_a_choice_of_moments_has_no_limits_of_tokens(key, place):
    raw = {**recipe({"type": "video_digits"}), "policy": {"type": "frame_selector", "path": "anywhere"}}
    assert "which draws moments, whose spread is rollout.temperature" in refused(raw, f"{place}.{key}")
