"""Offline RL beats cloning where half of the demonstrations are poor (slow: two short runs of a tiny π0)."""

import pytest

import mmrl
from mmrl.data.episodes import Episodes
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import play
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import own

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 8, "reward": "dense"}
HELD_OUT = 256


def recipe(model, output, method, seed=0, **objective):
    """60 steps on as many episodes of the expert as of random actions."""
    episodes = {"type": "episodes", "simulator": "table", "size": 65536}
    critic = {} if method == "sft" else {"value_head": {"detach": True}}
    return {
        "name": method,
        "output": str(output),
        "seed": seed,
        "threads": 1,
        "micro_tokens": 16384,
        "policy": {"type": "pi0", "path": str(model), "device": "cpu", **critic},
        "simulators": {"table": TABLE},
        "data": {"train": [episodes, {**episodes, "name": "random", "first": 100_000, "expert_noise": 1.0}]},
        "method": method,
        "steps": 60,
        "demonstrations": 64,
        "objective": objective,
        "optim": {"lr": 2e-3, "lr_value": 1e-3, "warmup": 12, "schedule": "cosine", "min_ratio": 0.1},
        "rollout": {"n": 1, "action_chunk": 2},
        "tracking": {"console": "none", "tensorboard": False, "rollouts_every": 60},
    }


def held_out(outcome):
    """(mean return, success rate) of the run's last policy in starts that it was not shown, along the ODE."""
    [model] = (outcome.folder / "checkpoints").glob("step_*/model")
    policy = load_policy(policy_settings(type="pi0", path=str(model), device="cpu"))
    samples = list(Episodes(EpisodeData(type="episodes", simulator="table", first=1_000_000, size=HELD_OUT)))
    engine, greedy = own(policy, HELD_OUT), SamplingConfig(temperature=0.0)
    played = play(policy, engine, Simulators({"table": TABLE}), samples, greedy, 1, 2, 0)
    found = [group.trajectories[0] for group in played]
    return sum(t.reward for t in found) / HELD_OUT, sum(t.accuracy for t in found) / HELD_OUT


@pytest.mark.slow
def test_weighing_by_advantage_beats_cloning_everything(tiny_qwen, tmp_path):
    model = tiny_qwen("pi0")
    cloned = held_out(mmrl.train(recipe(model, tmp_path, "sft")))
    offline = {"advantage": {"gamma": 0.8, "lam": 0.9}, "offline": {"temperature": 0.5}}
    weighed = held_out(mmrl.train(recipe(model, tmp_path, "chunked_awr", **offline)))
    assert weighed[0] > cloned[0] + 0.02, (cloned, weighed)
    assert weighed[1] > cloned[1], (cloned, weighed)
