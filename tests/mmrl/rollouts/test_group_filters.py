"""Which groups of episodes teach: filters by success rate and by return, alone and in a GRPO run."""

import json

import pytest

from mmrl import train
from mmrl.contracts.errors import UserError
from mmrl.data.episodes import Episodes
from mmrl.data.mixture import Mixture
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import Builder
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import hf
from tests.support.runs import recipe

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 8, "reward": "dense"}
DIGITS = {"name": "m", "policy": {"path": "x"}, "data": {"train": [{"type": "digits"}]}, "method": "sft", "steps": 1}


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=3))


@pytest.fixture(scope="module")
def collect(policy):
    """collect(**filter) -> (kept groups, sampled groups, metrics)"""

    def run(**settings):
        samples = list(Episodes(EpisodeData(type="episodes", simulator="table", size=64)))
        preparer = Preparer(policy, Rewarder(load_recipe(DIGITS).rewards))
        stage = StageConfig(name="s", method="grpo", steps=1, prompts=20, rollout={"n": 6, "action_chunk": 8})
        objective = resolve_objective("grpo", {"filter": settings})
        simulators = Simulators({"table": TABLE})
        builder = Builder(policy, hf(policy), Mixture([samples]), preparer, simulators, stage, objective)
        batch = builder.collect(1)
        return batch.rollouts, batch.sampled, batch.metrics

    return run


def mean(group, of):
    return sum(of(t) for t in group.trajectories) / len(group.trajectories)


def kept_by(groups, of, low, high):
    return [g.sample.id for g in groups if low < mean(g, of) < high]


def test_only_groups_with_successes_and_failures_stay(collect):
    kept, sampled, metrics = collect(rounds=1)
    rates = [mean(g, lambda t: t.episode.success_once) for g in sampled]
    assert 0.0 in rates, "a group of failures"
    assert any(0 < rate < 1 for rate in rates), "a group that teaches"
    wanted = kept_by(sampled, lambda t: t.episode.success_once, 0, 1)
    assert [g.sample.id for g in kept] == wanted
    assert metrics["group/kept"] == len(wanted) / len(sampled)


@pytest.mark.slow
def test_groups_are_drawn_until_enough_teach(collect):
    kept, sampled, metrics = collect(rounds=3)
    assert metrics["group/rounds"] > 1
    assert len(sampled) == 20 * metrics["group/rounds"]
    assert [g.sample.id for g in kept] == kept_by(sampled, lambda t: t.episode.success_once, 0, 1)[:20]


@pytest.mark.slow
def test_returns_have_bounds_of_their_own(collect):
    """A group of failures that came near stays, which its success rate would not show."""
    _, sampled, _ = collect(rounds=1)
    returns = sorted(mean(g, lambda t: t.reward) for g in sampled)
    low, high = (returns[4] + returns[5]) / 2, (returns[14] + returns[15]) / 2
    kept, again, _ = collect(by="reward", low=low, high=high, rounds=1)
    assert [g.sample.id for g in again] == [g.sample.id for g in sampled]
    assert [g.sample.id for g in kept] == kept_by(sampled, lambda t: t.reward, low, high)
    assert len(kept) == 10
    assert [g.sample.id for g in kept] != kept_by(sampled, lambda t: t.episode.success_once, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["accuracy", "reward"])
def test_a_filtered_grpo_run_trains_on_what_stays(tiny_qwen, tmp_path, by):
    bounds = {"low": 0.0, "high": 1.0} if by == "accuracy" else {"low": -0.1, "high": 0.1}
    raw = recipe(tiny_qwen(), tmp_path, steps=2, prompts=6, simulators={"table": TABLE})
    raw["policy"]["action_bins"] = 3
    raw["data"] = {"train": [{"type": "episodes", "simulator": "table", "size": 64}]}
    raw["rollout"], raw["rewards"] = {"n": 4, "action_chunk": 8}, []
    raw["objective"] = {"filter": {"by": by, **bounds, "rounds": 2}}
    raw["evaluation"], raw["tracking"] = {}, {**raw["tracking"], "rollouts_groups": 12}
    folder = train(raw).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "group/kept" in line]
    assert len(steps) == 2
    assert all(0 < line["group/kept"] < 1 for line in steps)
    assert all(line["stream/rl_units"] > 0 for line in steps)
    groups: dict = {}
    for file in (folder / "rollouts").glob("step_*.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            groups.setdefault((file.name, line["group"]), []).append(
                line["info"]["accuracy"] if by == "accuracy" else line["reward"]
            )
    assert groups
    assert all(bounds["low"] < sum(values) / 4 < bounds["high"] for values in groups.values())


def test_bounds_that_keep_nothing_are_refused():
    with pytest.raises(UserError, match=r"low 0\.9 is not below high 0\.1"):
        resolve_objective("grpo", {"filter": {"by": "reward", "low": 0.9, "high": 0.1}})
