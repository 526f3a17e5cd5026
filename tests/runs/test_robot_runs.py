"""Robot policies through the trainer: supervised and RL steps, recorded data, and whose chunks are evaluated."""

import json
import math

import pytest
import torch

import mmrl
from mmrl.data.mixture import open_dataset
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.run import measure
from robotics.tabletop import TabletopEnv
from tests.support.robot_data import write_lerobot

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 4, "reward": "dense"}


def recipe(tiny_qwen, tmp_path, family, **settings):
    episodes = {"type": "episodes", "simulator": "table"}
    return {
        "name": "robot",
        "output": str(tmp_path),
        "threads": 1,
        "seed": 2,
        "policy": {
            "type": family,
            "path": str(tiny_qwen(family)),
            "device": "cpu",
            "value_head": {},
            **settings.pop("policy", {}),
        },
        "simulators": {"table": TABLE},
        "data": {"train": [{**episodes, "size": 64}], "eval": [{**episodes, "first": 1000, "size": 5}]},
        "tracking": {"console": "none", "tensorboard": False},
        **settings,
    }


def steps_of(outcome):
    """The figures of every training step."""
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss/total" in line]


# --- learning


RUNS = {
    "pi05": ("pi05", "pi_rl_sde", {}),
    "openvla_oft": ("openvla_oft", "ppo", {"optim": {"lr": 3e-4, "lr_value": 1e-3}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_supervised_and_rl_steps_learn_and_engine_and_trainer_agree(tiny_qwen, tmp_path, name):
    family, method, settings = RUNS[name]
    stages = [
        {"name": "sft", "method": "sft", "steps": 8, "demonstrations": 8, "optim": {"lr": 2e-3}},
        {"name": "rl", "method": method, "steps": 2, "prompts": 4, "minibatches": 2, "epochs": 2, **settings},
    ]
    raw = recipe(tiny_qwen, tmp_path, family, stages=stages, rollout={"n": 1, "action_chunk": 2})
    outcome = mmrl.train(raw)
    steps = steps_of(outcome)
    assert len(steps) == 10
    assert all(step["optim/skipped"] == 0 and math.isfinite(step["loss/total"]) for step in steps)
    losses = [step["loss/demo"] for step in steps[:8]]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
    for step in steps[8:]:
        assert step["gap/log_prob_max"] < 1e-4
        assert step["optim/grad_norm"] > 0
        assert math.isfinite(step["loss/value"])
    assert set(outcome.summary["start"]) == set(outcome.summary["after_sft"]) == set(outcome.summary["final"])


# --- recorded demonstrations


@pytest.mark.slow
@pytest.mark.parametrize("family", ["pi0", "pi05"])
def test_recorded_actions_give_a_flow_policy_its_statistics(tiny_qwen, tmp_path, family):
    data = {"type": "lerobot", "path": str(write_lerobot(tmp_path / "arm", stored=True)), "chunk": 2}
    policy = {"params": {"statistics": "arm"}, "value_head": None}
    settings = {"method": "sft", "steps": 6, "demonstrations": 6, "optim": {"lr": 3e-3}, "rollout": {"action_chunk": 2}}
    raw = recipe(tiny_qwen, tmp_path, family, policy=policy, data={"train": [data]}, simulators={}, **settings)
    outcome = mmrl.train({**raw, "checkpoint": {"best": None}})
    losses = [step["loss/demo"] for step in steps_of(outcome)]
    assert losses[-1] < losses[0]

    [last] = sorted((outcome.folder / "checkpoints").glob("step_*"))
    exact = open_dataset(load_recipe(outcome.folder / "config.yaml").data.train[0]).statistics()
    saved = json.loads((last / "model" / "dataset_statistics.json").read_text())
    assert saved["arm"] == exact
    assert set(saved) == {"arm", "tabletop"}, "those it came with are kept"
    logged = json.loads((outcome.folder / "environment.json").read_text())["action_statistics"]
    assert logged == {"arm": {"from": "dataset", **exact}}

    again = load_policy(policy_settings(path=str(last / "model"), type=family, device="cpu", params=policy["params"]))
    first, second = (exact["action"][key] for key in (("mean", "std") if family == "pi0" else ("q01", "q99")))
    units = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])
    middle, end = again.actions(units, 3)[0]
    expected = (first, [a + b for a, b in zip(first, second)])
    if family == "pi05":
        expected = ([(a + b) / 2 for a, b in zip(first, second)], second)
    assert middle.tolist() == pytest.approx(expected[0], abs=1e-5)
    assert end.tolist() == pytest.approx(expected[1], abs=1e-5)


# --- the chunk of evaluated episodes


@pytest.fixture
def chunks(monkeypatch):
    """Lengths of the chunks that were played, one after the other, in simulators of 5 worlds: those of evaluation."""
    played = []
    step = TabletopEnv.chunk_step

    def recorded(env, actions):
        if env.num_envs == 5:
            played.append(actions.shape[1])
        return step(env, actions)

    monkeypatch.setattr(TabletopEnv, "chunk_step", recorded)
    return played


def chunks_of(played, call):
    """The one length that every chunk of a call had."""
    played.clear()
    call()
    assert len(set(played)) == 1, played
    return played[0]


@pytest.mark.slow
def test_episodes_are_evaluated_with_the_chunk_of_their_stage(tiny_qwen, tmp_path, chunks):
    stages = [
        {"name": "sft", "method": "sft", "steps": 1, "demonstrations": 2, "rollout": {"action_chunk": 1}},
        {"name": "rl", "method": "pi_rl_sde", "steps": 1, "prompts": 2, "rollout": {"n": 1, "action_chunk": 4}},
    ]
    raw = recipe(tiny_qwen, tmp_path, "pi0", stages=stages, checkpoint={"keep": 2})
    outcome = mmrl.train(raw)
    # Episodes of 4 steps: at the start and after SFT in chunks of 1, after RL in one of 4.
    assert chunks[-1] == 4
    assert set(chunks[:-1]) == {1}
    first, last = sorted((outcome.folder / "checkpoints").glob("step_*"))
    assert chunks_of(chunks, lambda: measure(outcome.folder)) == 4
    assert chunks_of(chunks, lambda: measure(outcome.folder, checkpoint=str(first))) == 1
    assert chunks_of(chunks, lambda: measure(raw, checkpoint=str(last / "model"))) == 4
    assert chunks_of(chunks, lambda: measure(raw)) == 1, "a policy before training"
    assert chunks_of(chunks, lambda: measure(raw, overrides=["evaluation.action_chunk=2"])) == 2
    alone = tmp_path / "alone"
    (last / "model").rename(alone)
    assert chunks_of(chunks, lambda: measure(raw, checkpoint=str(alone))) == 4, "of the last stage, where nothing says"
