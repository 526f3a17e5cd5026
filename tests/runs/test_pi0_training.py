"""π0 in training: recipes that are refused, episodes, critics, and runs that resume bit for bit."""

import json
import math
import shutil

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.data.episodes import Episodes
from mmrl.objectives.rows import Row
from mmrl.recipe.advantages import Standard
from mmrl.recipe.collecting import Relabel
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.simulators import Simulators
from mmrl.run import train
from mmrl.trainer.scoring import weigh
from mmrl.trainer.step import score
from tests.support.engines import flow
from tests.support.flow import DIM, FAMILIES, load
from tests.support.runs import assert_same_run

TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 5, "reward": "dense"}


def starts(count, first=0):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", first=first, size=count)))


@pytest.fixture
def recipe(tiny_qwen, tmp_path):
    return {
        "name": "pi0",
        "output": str(tmp_path),
        "threads": 1,
        "policy": {"type": "pi0", "path": str(tiny_qwen("pi0")), "value_head": {}, "device": "cpu"},
        "simulators": {"table": TABLE},
        "data": {
            "train": [{"type": "episodes", "simulator": "table", "size": 64}],
            "eval": [{"type": "episodes", "simulator": "table", "first": 1000, "size": 4}],
        },
        "stages": [
            {"name": "sft", "method": "sft", "steps": 2, "demonstrations": 4},
            {"name": "rl", "method": "pi_rl_sde", "steps": 3, "prompts": 4, "minibatches": 2, "epochs": 2},
        ],
        "rollout": {"n": 1, "action_chunk": 2},
        "tracking": {"console": "none", "tensorboard": False},
    }


# --- recipes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "stages.0.objective.streams.demo.coefficient.kind=dft",
            r"sft.objective.streams.demo.coefficient.kind: dft does",
        ),
        ("stages.0.objective.streams.demo.coefficient.kind=chord_phi", r"and no likelihood of them. Allowed: one"),
        ("stages.1.objective.streams.rl.coefficient.kind=luffy", r"reads probabilities. Allowed: one, ppo_clip, cispo"),
        ("stages.1.rollout.temperature=0.7", r"stages.rl.rollout.temperature: 0.7 .* Allowed: 0.0, 1.0"),
        ("stages.1.objective.inject={}", r"objective.inject: {} .* method co_train"),
        ("stages.1.method=pi_rl_noise", r"needs policy.params.sampler: noise, and it is sde"),
        ("policy.type=openvla", r"method 'pi_rl_sde' needs a flow policy; set policy.type to one of pi0, pi05"),
    ],
)
def test_recipes_that_a_density_cannot_follow_are_refused(recipe, override, message):
    load_recipe(recipe)
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [override])


# --- episodes


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trained", ["one", "all"])
def test_episodes_play_what_the_units_say(tiny_qwen, family, trained):
    policy = load(tiny_qwen(family), family, params={"trained": trained})
    simulators, samples = Simulators({"table": TABLE}), starts(3)
    groups = play(policy, flow(policy, 64), simulators, samples, SamplingConfig(), 2, 2, seed=4)
    env = simulators.get("table", 6)
    env.reset([s.episode for s in samples for _ in range(2)])
    actions = torch.zeros(6, 5, DIM)
    for i, t in enumerate(t for group in groups for t in group.trajectories):
        units = torch.cat([d.tokens for d in t.decisions])
        assert len(units) == DIM * t.episode.length, "no unit of an action that did not count"
        assert all(d.context is not None and len(d.log_probs) == len(d.tokens) for d in t.decisions)
        actions[i, : t.episode.length] = policy.actions(units[None], DIM)[0]
    returns = env.chunk_step(actions).info["return"]
    assert returns.tolist() == pytest.approx([t.reward for g in groups for t in g.trajectories], abs=1e-5)


def test_the_expert_s_actions_survive_the_units(tiny_qwen):
    policy = load(tiny_qwen("pi0"), awake=False)
    simulators = Simulators({"table": {**TABLE, "max_steps": 16}})
    groups = demonstrate_episodes(policy, simulators, starts(8), 3)
    assert all(g.trajectories[0].episode.success_once for g in groups)
    assert all(d.context is None and d.tokens.is_floating_point() for g in groups for d in g.trajectories[0].decisions)


def test_the_expert_can_relabel_a_flow_policy_s_states(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    engine, simulators = flow(policy, 64), Simulators({"table": TABLE})
    groups = relabelled_episodes(policy, engine, simulators, starts(2), SamplingConfig(), Relabel(), 0)
    assert all(len(d.tokens) == DIM for g in groups for d in g.trajectories[0].decisions)


def test_a_truncated_episode_is_bootstrapped_with_the_observation_s_value(tiny_qwen):
    """Probes have one unit and no context; their value is that of any decision at the same observation."""
    policy = load(tiny_qwen("pi0"), value_head={})
    engine, simulators = flow(policy, 64), Simulators({"table": {**TABLE, "max_steps": 2}})
    groups = play(policy, engine, simulators, starts(6), SamplingConfig(), 1, 2, 0, bootstrap=True)
    (cut,) = [g.trajectories[0] for g in groups if g.trajectories[0].truncated][:1]
    (decision,) = cut.decisions
    row = Row(decision, "rl", 0.0, 0, cut.units, rewards=decision.step_rewards, final_prompt=cut.final_prompt)
    settings = Standard(baseline="value", scale="none", gamma=0.9, lam=0.5)
    (weighed,) = weigh(score([row], "old", policy, 10**6), settings, policy, 10**6)
    with torch.no_grad():
        prefix = policy._prefix([cut.final_prompt])
        states = policy._velocity(prefix, torch.zeros(1, 4, DIM), torch.ones(1))[1]
        final = float(policy.value_head(policy._critic_states(prefix, states)))
    assert float(weighed.targets) == pytest.approx(sum(row.rewards) + 0.9 * final, abs=1e-5)


# --- runs


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["pi_rl_sde", "pi_rl_noise"])
def test_a_run_that_lost_its_last_steps_resumes_bit_for_bit(tiny_qwen, recipe, family, method):
    noise = {"sampler": "noise", "trained": "all"} if method == "pi_rl_noise" else {}
    recipe["policy"] |= {"type": family, "path": str(tiny_qwen(family)), "params": noise}
    recipe["stages"][1]["method"] = method
    recipe["checkpoint"] = {"every": 1, "keep": 9}
    whole = train(recipe)
    cut = train(recipe | {"name": "cut"})
    for step in (4, 5):
        shutil.rmtree(cut.folder / "checkpoints" / f"step_{step:06d}")
    cut = train(recipe | {"name": "cut", "resume": "auto"})
    assert_same_run(whole.folder, cut.folder)


OTHERS = {
    "grpo": {"method": "grpo", "rollout": {"n": 2}},
    "kl": {"method": "grpo", "rollout": {"n": 2}, "objective": {"kl": {"weight": 0.1}}, "minibatches": 2},
    "co_train": {"method": "co_train", "rollout": {"n": 2}, "demonstrations": 2},
    "filtered_bc": {"method": "filtered_bc", "rollout": {"n": 2}},
    "dagger": {"method": "dagger", "demonstrations": 2, "rollout": {"action_chunk": 1}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_methods_run(recipe, name):
    recipe["policy"].pop("value_head")
    recipe["rollout"] = {"action_chunk": 2}
    recipe["stages"] = [{"name": "rl", "steps": 2, "prompts": 4, **OTHERS[name]}]
    outcome = train(recipe)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").open()]
    steps = [line for line in lines if "loss/total" in line]
    assert len(steps) == 2
    assert all(line["optim/skipped"] == 0 and math.isfinite(line["loss/total"]) for line in steps)
    assert all(line.get("gap/log_prob_max", 0.0) < 1e-4 for line in steps)
    if name == "co_train":
        assert all(line["loss/demo"] > 0 and line["stream/rl_units"] > 0 for line in steps)
