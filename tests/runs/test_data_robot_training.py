"""Supervised training on recorded actions, from a recipe to a checkpoint that keeps their statistics."""

import json

import pytest
import torch

import mmrl
from mmrl.commands.dry_run import dry_run
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.source import Ready
from mmrl.data.mixture import open_dataset
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import ManiSkillData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.answers import demonstrate
from tests.support.robot_data import write_lerobot, write_libero, write_maniskill

pytest.importorskip("h5py")
BINS = 33


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """type -> path of a dataset of it."""
    folder = tmp_path_factory.mktemp("sources")
    return {
        "lerobot": str(write_lerobot(folder / "arm")),
        "libero_hdf5": str(write_libero(folder / "task.hdf5")),
        "maniskill_h5": str(write_maniskill(folder / "trajectory.h5")),
    }


def recipe(model, output, kind, path, name="run", chunk=2, **settings):
    data = {"type": kind, "path": path, "chunk": chunk, "image_size": 28, **settings.pop("data", {})}
    return {
        "name": name,
        "output": str(output),
        "threads": 1,
        "seed": 5,
        "method": "sft",
        "steps": 10,
        "demonstrations": 6,
        "policy": {"path": str(model), "device": "cpu", "action_bins": BINS, **settings.pop("policy", {})},
        "data": {"train": [data]},
        "rollout": {"action_chunk": chunk},
        "optim": {"lr": 5e-3},
        "checkpoint": {"best": None},
        "tracking": {"console": "none", "tensorboard": False},
        **settings,
    }


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss/demo"] for line in lines if "loss/demo" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lerobot", "libero_hdf5", "maniskill_h5"])
def test_a_tiny_policy_learns_from_each_format(kind, sources, tiny_qwen, tmp_path):
    outcome = mmrl.train(recipe(tiny_qwen(), tmp_path, kind, sources[kind]))
    found = losses(outcome.folder)
    uniform = torch.tensor(float(BINS)).log().item()
    assert found[0] < uniform + 1.5, "restricted to the action bins: ln 600 = 6.4 would be that of the vocabulary"
    assert sum(found[-3:]) / 3 < found[0] - 0.7, found

    [last] = sorted((outcome.folder / "checkpoints").glob("step_*"))
    saved = json.loads((last / "model" / "dataset_statistics.json").read_text())
    logged = json.loads((outcome.folder / "environment.json").read_text())["action_statistics"]
    [name] = saved
    assert logged == {name: {"from": "dataset", **saved[name]}}
    assert {"q01", "q99", "mask"} <= set(saved[name]["action"])
    rollouts = (outcome.folder / "rollouts").glob("step_*.jsonl")
    [line, *_] = next(rollouts).read_text().splitlines()
    assert len(json.loads(line)["info"]["actions"]) in (1, 2)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_itself(sources, tiny_qwen, tmp_path):
    settings = {"steps": 4, "checkpoint": {"every": 2, "keep": 3, "best": None}}
    path = sources["maniskill_h5"]
    whole = mmrl.train(recipe(tiny_qwen(), tmp_path, "maniskill_h5", path, name="whole", **settings))
    half = whole.folder / "checkpoints" / "step_000002"
    again = recipe(tiny_qwen(), tmp_path, "maniskill_h5", path, name="again", resume=str(half), **settings)
    outcome = mmrl.train(again)
    files = [f.folder / "checkpoints/step_000004/model/model.safetensors" for f in (whole, outcome)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_units_of_a_demonstration_read_back_as_its_actions(sources, tiny_qwen):
    policy = load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))
    rows = open_dataset(ManiSkillData(type="maniskill_h5", path=sources["maniskill_h5"], chunk=3))
    for row, actions in ((0, 3), (10, 1)):
        sample = rows[row]
        [prompt] = policy.prepare([sample])
        [trajectory] = demonstrate(policy, Ready(sample, (prompt,)), max_units=1).trajectories
        [decision] = trajectory.decisions
        assert (trajectory.origin, decision.restrict, len(decision.tokens)) == ("demo", "action", 4 * actions)
        read = policy.actions(decision.tokens[None], 4)[0]
        assert (read - sample.actions).abs().max() <= 1 / (BINS - 1) + 1e-6, "half a bin"


def test_actions_outside_the_bins_are_refused(sources, tiny_qwen, tmp_path):
    policy = load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))
    entry = {"action": {"min": [-1.0, -3.14], "max": [1.0, 2.5]}}
    with pytest.raises(ConfigError, match=r"bins from -1 to 1, and actions of dataset 'arm' run from -3\.14 to 2\.5"):
        policy.set_statistics("arm", entry)


def test_openvla_follows_and_saves_the_statistics(sources, tmp_path):
    from mmrl.policies.tiny import write_tiny

    model = write_tiny("openvla", tmp_path / "openvla")
    changes = {"policy": {"type": "openvla", "path": str(model), "action_bins": None, "params": {"statistics": "arm"}}}
    settings = {"steps": 1, "demonstrations": 2, "data": {"cameras": {"observation.images.top": "top"}}, **changes}
    outcome = mmrl.train(recipe(model, tmp_path, "lerobot", sources["lerobot"], chunk=1, **settings))
    [last] = (outcome.folder / "checkpoints").glob("step_*")
    saved = json.loads((last / "model" / "dataset_statistics.json").read_text())
    exact = open_dataset(load_recipe(outcome.folder / "config.yaml").data.train[0]).statistics()
    assert saved["arm"] == exact
    policy = load_policy(
        policy_settings(type="openvla", path=str(last / "model"), device="cpu", params={"statistics": "arm"})
    )
    bounds = policy.tokens.bounds
    assert bounds.low_A.tolist() == exact["action"]["q01"]
    assert bounds.high_A.tolist() == exact["action"]["q99"]


def test_a_recipe_that_cannot_work_is_refused_when_it_is_read(sources, tiny_qwen, tmp_path):
    good = recipe(tiny_qwen(), tmp_path, "lerobot", sources["lerobot"])
    load_recipe(good)
    for change, said in (
        (["rollout.action_chunk=8"], r"data\.train\.0\.chunk 2 differs from rollout\.action_chunk 8 of stage 'sft'"),
        (["policy.action_bins=null"], r"policy\.action_bins is unset, and data of type 'lerobot' needs it"),
        (["data.train.0.use=all"], r"data\.train\.0\.use: 'all' is not allowed.*demonstrations"),
        (["data.train.0.episodes=3-5"], r"episodes '3-5' is no range; write first:end"),
        (["data.train.0.gripper_to=open_fraction"], r"gripper, how the file has it, is unset"),
        (["data.train.0.camera=top"], r"unknown key 'camera'\. Did you mean 'cameras'"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_recipe(good, change)
    held_out = {**good, "data": {"train": good["data"]["train"], "eval": good["data"]["train"]}}
    with pytest.raises(ConfigError, match=r"data\.eval\.0: recorded actions are no test of a policy"):
        load_recipe(held_out)


def test_a_dry_run_counts_the_actions(sources, tiny_qwen, tmp_path):
    plan = recipe(tiny_qwen(), tmp_path, "maniskill_h5", sources["maniskill_h5"])
    said = dry_run(load_recipe(plan))
    assert "19 demonstrations of actions, 4/8/8 units each" in said
    assert "above rollout.max_new_tokens" not in said


def test_recorded_actions_are_not_rolled_out(sources, tiny_qwen, tmp_path):
    """From Python, a dataset of them may be given to a method that samples answers."""
    rows = open_dataset(ManiSkillData(type="maniskill_h5", path=sources["maniskill_h5"]))
    plan = recipe(tiny_qwen(), tmp_path, "maniskill_h5", sources["maniskill_h5"], method="grpo", prompts=2)
    with pytest.raises(UserError, match="is a demonstration of actions, which nothing rewards"):
        mmrl.train(plan, train_data=rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_a_flow_policy_learns_recorded_actions_over_its_horizon(sources, tmp_path, kind):
    """Chunks of 4 where 2 are executed; a dataset's last steps have fewer."""
    from mmrl.policies.tiny import write_tiny

    model = write_tiny(kind, tmp_path / "model")
    cameras = {"observation.images.top": "top"}
    policy = {"type": kind, "action_bins": None, "params": {"statistics": "arm"}}
    settings = {"steps": 6, "data": {"cameras": cameras, "chunk": 4}, "policy": policy, "optim": {"lr": 3e-3}}
    raw = recipe(model, tmp_path, "lerobot", sources["lerobot"], **settings)
    outcome = mmrl.train(raw)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    units = [line["stream/demo_units"] for line in lines if "loss/demo" in line]
    assert max(units) == 6 * 4 * 3, "six demonstrations of four actions of three dimensions"
    assert all(value > 0 for value in losses(outcome.folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pi0", "pi05", "openvla_oft"])
def test_a_dry_run_refuses_more_actions_than_the_policy_predicts(sources, tiny_qwen, tmp_path, kind):
    """Where nothing is rolled out, demonstrations alone show it."""
    policy = {"type": kind, "action_bins": None, "params": {"statistics": "arm"}}
    data = {"cameras": {"observation.images.top": "top"}, "chunk": 8}
    executed = 2 if kind != "openvla_oft" else 8

    def plan(name, **settings):
        raw = recipe(tiny_qwen(kind), tmp_path, "lerobot", sources["lerobot"], name, data=data, policy=policy)
        return load_recipe({**raw, "rollout": {"action_chunk": executed}, **settings})

    for run in (dry_run, mmrl.train):
        with pytest.raises(ConfigError, match=r"set .* to at most 4$"):
            run(plan(run.__name__))
    data["chunk"], executed = 4, min(executed, 4)
    assert "demonstrations of actions, 3/12/12 units each" in dry_run(plan("fits"))
