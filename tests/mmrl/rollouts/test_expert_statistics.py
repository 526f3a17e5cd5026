"""Normalisation statistics of the scripted expert's episodes, and the record of those that a run follows."""

import json

import numpy as np
import pytest
import torch

import mmrl
import robotics
from mmrl.commands.dry_run import dry_run
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.data.episodes import Episodes
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.expert_statistics import expert_statistics
from mmrl.rollouts.noisy_expert import disturb
from robotics.wrapper import Wrapper

TABLE = {"type": "tabletop", "tasks": ["push"], "num_blocks": 1, "image_size": 28, "max_steps": 6}
EPISODES = {"type": "episodes", "simulator": "table", "size": 64}


def recipe(tiny_qwen, output, family="openvla", train=EPISODES, policy=None, **settings):
    return {
        "name": "run",
        "output": str(output),
        "threads": 1,
        "policy": {"type": family, "path": str(tiny_qwen(family)), "device": "cpu", **(policy or {})},
        "simulators": {"table": TABLE},
        "data": {"train": train if isinstance(train, list) else [train]},
        "method": "sft",
        "steps": 1,
        "demonstrations": 2,
        "checkpoint": {"best": None},
        "tracking": {"console": "none", "tensorboard": False},
        **settings,
    }


def samples(count, **config):
    rows = Episodes(EpisodeData(**{**EPISODES, **config}))
    return [rows[i] for i in range(count)]


def played(starts):
    """(actions, states) of the expert's episodes, each in a simulator of one world."""
    actions, states = [], []
    for sample in starts:
        env = robotics.make({**TABLE, "num_envs": 1})
        seen, done, step = env.reset([sample.episode]), False, 0
        while not done:
            action = disturb(env.expert_action()[0], sample, step)
            actions.append(action.numpy())
            states.append(seen.state[0].numpy())
            result = env.chunk_step(action[None, None])
            seen, done, step = result.observation, bool(result.info["done"]), step + 1
    return np.stack(actions).astype(np.float64), np.stack(states).astype(np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("worlds", [1, 3, 5, 8])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_statistics_are_numpys_over_every_step_played(worlds, noise):
    starts = samples(5, first=7, expert_noise=noise)
    found = expert_statistics(robotics.make({**TABLE, "num_envs": worlds}), starts)
    actions, states = played(starts)
    assert (found["num_transitions"], found["num_trajectories"]) == (len(actions), 5)
    assert found["action"]["mask"] == [True] * 3
    for part, values in (("action", actions), ("proprio", states)):
        wanted = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
        wanted |= {"q01": np.quantile(values, 0.01, axis=0), "q99": np.quantile(values, 0.99, axis=0)}
        for name, value in wanted.items():
            np.testing.assert_allclose(found[part][name], value, rtol=1e-6, atol=1e-6, err_msg=f"{part} {name}")


class Failing(Wrapper):
    """Fails in some worlds at the second step of every episode."""

    def __init__(self, env, worlds):
        super().__init__(env)
        self.worlds = worlds

    def reset(self, ids, worlds=None):
        self.steps = 0
        return super().reset(ids, worlds)

    def chunk_step(self, actions):
        result, self.steps = self.env.chunk_step(actions), self.steps + 1
        result.info["dropped"][self.worlds] = self.steps == 2
        return result


def test_an_episode_in_which_the_simulator_fails_does_not_count():
    env, starts = robotics.make({**TABLE, "num_envs": 3}), samples(3)
    found = expert_statistics(Failing(env, [1]), starts)
    assert found["num_trajectories"] == 2
    assert found["action"]["mean"] == pytest.approx(played([starts[0], starts[2]])[0].mean(0).tolist(), abs=1e-6)
    with pytest.raises(UserError, match="'table' failed in all 3 episodes"):
        expert_statistics(Failing(env, [0, 1, 2]), starts)


def environment(outcome):
    return json.loads((outcome.folder / "environment.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", "pi0"])
def test_a_run_computes_follows_saves_and_logs_them(tiny_qwen, tmp_path, family):
    train = {**EPISODES, "statistics": 4, "name": "pushing"}
    raw = recipe(tiny_qwen, tmp_path, family, train, {"params": {"statistics": "pushing"}})
    outcome = mmrl.train(raw)
    exact = expert_statistics(robotics.make({**TABLE, "num_envs": 4}), samples(4))
    known = environment(outcome)
    assert known["statistics_in_use"] == "pushing"
    assert known["action_statistics"] == {"pushing": {"from": "expert", **exact}}

    [last] = sorted((outcome.folder / "checkpoints").glob("step_*"))
    saved = json.loads((last / "model" / "dataset_statistics.json").read_text())
    assert saved["pushing"] == exact
    assert set(saved) == {"pushing", "tabletop"}, "those it came with are kept"
    again = load_policy(policy_settings(**raw["policy"] | {"path": str(last / "model")}))
    low, high = (torch.tensor(exact["action"][key]) for key in ("q01", "q99"))
    if family == "openvla":
        units = again.action_units(torch.stack([low, high])[None])
        assert torch.allclose(again.actions(units, 3)[0], torch.stack([low, high]), atol=0.02)

    resumed = mmrl.train({**raw, "name": "more", "policy": {**raw["policy"], "path": str(last / "model")}})
    assert environment(resumed)["action_statistics"] == {"pushing": {"from": "checkpoint", **exact}}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", "openvla_oft", "pi0", "pi05"])
def test_those_of_the_checkpoint_are_logged_where_no_dataset_has_any(tiny_qwen, tmp_path, family):
    grpo = {"method": "grpo", "prompts": 1, "rollout": {"n": 2}}
    known = environment(mmrl.train(recipe(tiny_qwen, tmp_path, family, **grpo)))
    own = load_policy(policy_settings(type=family, path=str(tiny_qwen(family)), device="cpu")).statistics
    assert known["statistics_in_use"] == "tabletop"
    assert known["action_statistics"] == {"tabletop": {"from": "checkpoint", **own["tabletop"]}}


def test_a_policy_that_does_not_act_has_none(tiny_recipe, tmp_path):
    known = environment(mmrl.train({**tiny_recipe, "steps": 1, "output": str(tmp_path)}))
    assert "action_statistics" not in known
    assert "statistics_in_use" not in known


def test_a_dry_run_plays_the_expert_too(tiny_qwen, tmp_path):
    policy = {"params": {"statistics": "table"}}
    raw = recipe(tiny_qwen, tmp_path, train={**EPISODES, "statistics": 2}, policy=policy)
    assert "episodes" in dry_run(load_recipe(raw))
    with pytest.raises(UserError, match=r"unknown dataset 'table'\. Did you mean 'tabletop'"):
        dry_run(load_recipe(recipe(tiny_qwen, tmp_path, policy=policy)))


def test_a_checkpoint_with_statistics_of_its_own_must_be_told_which(tiny_qwen, tmp_path):
    with pytest.raises(UserError, match=r"policy\.params\.statistics is unset, .* Allowed: table, tabletop"):
        mmrl.train(recipe(tiny_qwen, tmp_path, train={**EPISODES, "statistics": 2}))
    assert not (tmp_path / "run").exists()


def test_what_cannot_give_statistics_is_refused(tiny_qwen, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="statistics 65 is more episodes than the 64 of size"):
        load_recipe(recipe(tiny_qwen, tmp_path, train={**EPISODES, "statistics": 65}))
    raw = recipe(tiny_qwen, tmp_path)
    raw["data"]["eval"] = [{**EPISODES, "first": 100, "statistics": 2}]
    with pytest.raises(ConfigError, match=r"data\.eval\.0\.statistics: held-out episodes give no statistics"):
        load_recipe(raw)
    twice = [{**EPISODES, "statistics": 2}, {**EPISODES, "first": 64, "statistics": 2}]
    with pytest.raises(UserError, match="two datasets with statistics are called 'table'"):
        mmrl.train(recipe(tiny_qwen, tmp_path, train=twice))
    monkeypatch.setattr("mmrl.rollouts.normalisation.Simulators.get", lambda *args: Inexpert())
    with pytest.raises(ConfigError, match=r"statistics of 'table' need .*, and simulators\.table has none"):
        mmrl.train(recipe(tiny_qwen, tmp_path, train={**EPISODES, "statistics": 2}))


class Inexpert:
    has_expert = False


@pytest.mark.slow
def test_an_evaluation_computes_what_the_recipe_chooses(tiny_qwen, tmp_path):
    """As the evaluation that opens a training run does."""
    held_out = {"eval": [{**EPISODES, "first": 100, "size": 4}], "train": [{**EPISODES, "statistics": 4}]}
    policy = {"params": {"statistics": "table"}}
    raw = {**recipe(tiny_qwen, tmp_path, policy=policy), "data": held_out}
    found = mmrl.evaluate(raw)
    outcome = mmrl.train(raw)
    assert found == outcome.summary["start"]
    assert mmrl.evaluate(outcome.folder) == outcome.summary["final"]


def test_an_evaluation_opens_no_training_data_for_statistics_that_the_checkpoint_has(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen, tmp_path, train={"type": "lerobot", "path": "not there"})
    raw["data"]["eval"] = [{**EPISODES, "first": 100, "size": 2}]
    assert "mean" in mmrl.evaluate(raw)


def test_an_evaluation_refuses_statistics_that_nothing_gives(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen, tmp_path, policy={"params": {"statistics": "tabel"}})
    raw["data"]["train"] = [{**EPISODES, "statistics": 2}]
    raw["data"]["eval"] = [{**EPISODES, "first": 100, "size": 2}]
    with pytest.raises(UserError, match=r"unknown dataset 'tabel'. Did you mean 'table'\?"):
        mmrl.evaluate(raw)


def test_one_episode_is_enough():
    env = robotics.make({**TABLE, "num_envs": 2})
    assert expert_statistics(env, samples(1))["num_trajectories"] == 1
    assert expert_statistics(env, samples(3))["num_trajectories"] == 3
