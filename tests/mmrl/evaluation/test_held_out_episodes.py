"""Held-out episodes: they begin where training does not, and success at the end stands beside success at any step."""

import json

import pytest
import torch

import mmrl
import robotics
from mmrl.contracts.errors import ConfigError
from mmrl.data.episodes import Episodes
from mmrl.evaluation.runner import evaluate
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.setup import open_eval_sets
from robotics.tabletop import TabletopEnv
from tests.support.engines import hf

EPISODES = {"type": "episodes", "simulator": "table"}
TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 3}


def recipe(train, held_out, **simulators):
    return {
        "name": "x",
        "policy": {"type": "openvla", "path": "anywhere"},
        "simulators": {"table": TABLE, **simulators},
        "data": {"train": [EPISODES | one for one in train], "eval": [EPISODES | one for one in held_out]},
        "method": "grpo",
        "steps": 1,
    }


OTHERS = {
    "same": {**TABLE, "num_envs": 3},
    "other": {**TABLE, "tasks": ["push"]},
}
OVERLAPS = {
    "by default": ([{}], [{}], "data.eval.0: starts 0 to 1023 of simulator 'table' are also trained on .data.train.0"),
    "in part": ([{"size": 100}], [{"first": 99, "size": 9}], "data.eval.0: starts 99 to 99 of simulator 'table' are"),
    "demonstrations": ([{"size": 4}, {"first": 50, "use": "demonstrations"}], [{"first": 60}], "data.train.1"),
    "worlds in another number": ([{}], [{"simulator": "same"}], "starts 0 to 1023 of simulator 'same'"),
    "the second set": ([{"size": 4}], [{"first": 4}, {"first": 3}], "data.eval.1: starts 3 to 3"),
}
APART = {
    "apart": ([{"size": 100}], [{"first": 100}]),
    "limited": ([{"limit": 8}], [{"first": 8}]),
    "marked": ([{}], [{"seen": True}]),
    "another simulator": ([{}], [{"simulator": "other"}]),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_held_out_starts_that_are_trained_on_are_refused(name):
    train, held_out, line = OVERLAPS[name]
    with pytest.raises(ConfigError, match=line) as found:
        load_recipe(recipe(train, held_out, **OTHERS))
    assert "\n" not in str(found.value)
    assert "seen: true" in str(found.value)


@pytest.mark.parametrize("name", APART)
def test_others_are_taken(name):
    load_recipe(recipe(*APART[name], **OTHERS))


LIBERO = {"type": "libero", "suite": "libero_goal", "tasks": [8, 1], "init_first": 10}


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [
        ({"first": 80, "size": 4}, "starts 80 to 83 of simulator .goal., which has 80 starts and then repeats them"),
        ({"first": 76, "size": 4}, None),
        ({"first": 1_000_000, "size": 4}, "starts 1000000 to 1000003"),
        ({"first": 1_000_000, "size": 4, "seen": True}, None),
    ],
)
def test_ids_that_come_round_to_trained_starts_are_refused_when_a_run_opens(held_out, expected):
    """Two tasks with 40 of their 50 recorded states: id 80 is id 0 again."""
    episodes = {"simulator": "goal", "size": 40}
    opened = load_recipe(recipe([episodes], [episodes | held_out], goal=LIBERO))
    if expected is None:
        assert list(open_eval_sets(opened)) == ["episodes"]
        return
    with pytest.raises(ConfigError, match=expected):
        open_eval_sets(opened)


def test_start_counts_are_those_of_the_simulators():
    assert robotics.start_count({"type": "tabletop"}) is None
    assert robotics.start_count({"type": "maniskill"}) is None
    assert robotics.start_count({"type": "libero"}) == 500
    assert robotics.start_count(LIBERO) == 80
    assert robotics.start_count(LIBERO | {"init_count": 3}) == 6
    with pytest.raises(ConfigError, match=r"simulators\.table: .*reechable"):
        Simulators({"table": {"type": "tabletop", "reechable": 1}}).start_count("table")


@pytest.fixture
def brief(monkeypatch):
    """A tabletop in which the episodes of ids 40 and 41 are in success after the first step, and id 41 at the end."""
    reset = TabletopEnv.reset

    def noting(env, ids, worlds=None):
        env.marked = torch.as_tensor(ids)
        return reset(env, ids, worlds)

    def success(env, world):
        first = env._tracker.length_B == 0
        return (first & (env.marked == 40)) | (env.marked == 41)

    monkeypatch.setattr(TabletopEnv, "reset", noting)
    monkeypatch.setattr(TabletopEnv, "_success", success)


def test_success_at_the_end_is_told_apart_and_left_out_of_the_mean(tiny_qwen, brief):
    policy = load_policy(policy_settings(type="openvla", path=str(tiny_qwen("openvla")), device="cpu"))
    sets = {
        name: Episodes(EpisodeData(type="episodes", simulator="table", first=first, size=size))
        for name, first, size in (("all", 40, 4), ("half", 41, 2))
    }
    simulators = Simulators({"table": {**TABLE, "terminate_on_success": False}})
    preparer = Preparer(policy, Rewarder([]))
    results = evaluate(policy, hf(policy), {"all": sets["all"]}, EvalConfig(), preparer, simulators).accuracy
    assert results == {"table": 0.5, "mean": 0.5, "table/success_at_end": 0.25}
    results = evaluate(policy, hf(policy), sets, EvalConfig(), preparer, simulators, controls={"half"}).accuracy
    expected = {"table": 0.5, "mean": 0.5, "half/table": 0.5}
    assert results == expected | {"table/success_at_end": 0.25, "half/table/success_at_end": 0.5}


def test_a_run_logs_it_at_every_evaluation(tiny_qwen, tmp_path):
    raw = recipe([{"size": 8}], [{"first": 100, "size": 2}])
    raw |= {"output": str(tmp_path), "threads": 1, "prompts": 1, "rollout": {"n": 2}}
    raw["policy"] = {"type": "openvla", "path": str(tiny_qwen("openvla")), "device": "cpu"}
    raw["tracking"] = {"console": "none", "tensorboard": False}
    outcome = mmrl.train(raw)
    figures = {"table", "mean", "table/success_at_end"}
    assert set(outcome.summary["start"]) == set(outcome.summary["final"]) == figures
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert all({f"eval/{name}" for name in figures} <= set(line) for line in lines)
    assert "table/success_at_end" in (outcome.folder / "report.html").read_text()
