"""Flow policies learn real actions over their whole horizon, however few of them are executed."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision
from mmrl.data.episodes import Episodes
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.collecting import Relabel
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.episodes import demonstrate_episodes
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.simulators import Simulators
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import flow
from tests.support.flow import DIM, FAMILIES, HORIZON, load
from tests.support.openvla import observations
from tests.support.policy import log_probs

TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 7, "reward": "dense"}


def starts(count):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", size=count)))


def expert_units(policy, episode):
    """float32 [T, A] units of the expert's actions, each played as its units say, by a loop over one world."""
    env, units, done = Simulators({"table": TABLE}).get("table", 1), [], False
    env.reset([episode])
    while not done:
        units.append(policy.action_units(env.expert_action()[:, None])[0])
        done = bool(env.chunk_step(policy.actions(units[-1][None], DIM)).info["done"])
    return torch.stack(units)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_the_expert_shows_the_actions_of_the_whole_horizon(tiny_qwen, chunk):
    policy = load(tiny_qwen("pi0"), awake=False)
    groups = demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(5), chunk)
    lengths = set()
    for episode, group in enumerate(groups):
        played, (trajectory,) = expert_units(policy, episode), group.trajectories
        assert len(trajectory.decisions) == -(-len(played) // chunk)
        for k, decision in enumerate(trajectory.decisions):
            assert torch.equal(decision.tokens, played[k * chunk :][:HORIZON].flatten())
            assert len(decision.step_rewards) == len(played[k * chunk :][:chunk]), "rewards are the executed actions'"
            lengths.add(len(decision.tokens) // DIM)
    assert max(lengths) == HORIZON > min(lengths), "whole horizons, and those that an episode's end cuts"


def test_an_offline_decision_holds_what_it_is_weighed_by(tiny_qwen):
    policy = load(tiny_qwen("pi0"), awake=False)
    groups = demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(4), 2, bootstrap=True)
    decisions = [d for group in groups for d in group.trajectories[0].decisions]
    assert all(len(d.tokens) == DIM * len(d.step_rewards) for d in decisions)


def test_a_token_policy_is_shown_what_it_executes(tiny_qwen):
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.policies.registry import policy_settings

    policy = load_policy(policy_settings(type="openvla", path=str(tiny_qwen("openvla")), device="cpu"))
    groups = demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(4), 2)
    decisions = [d for group in groups for d in group.trajectories[0].decisions]
    assert all(len(d.tokens) == DIM * len(d.step_rewards) for d in decisions)


@pytest.mark.slow
@pytest.mark.parametrize(("takeover", "known"), [(None, {1}), (1e-9, {1, 2, 3, 4})])
def test_relabelling_shows_the_steps_in_a_row_that_the_expert_played(tiny_qwen, takeover, known):
    policy = load(tiny_qwen("pi0"))
    engine, settings = flow(policy, 64), Relabel(takeover=takeover)
    groups = relabelled_episodes(
        policy, engine, Simulators({"table": TABLE}), starts(5), SamplingConfig(), settings, seed=0
    )
    assert {len(d.tokens) // DIM for group in groups for d in group.trajectories[0].decisions} == known
    for episode, group in enumerate(groups):
        decisions = group.trajectories[0].decisions
        if takeover is not None:
            played = expert_units(policy, episode)
            for step, decision in enumerate(decisions):
                assert torch.equal(decision.tokens, played[step : step + HORIZON].flatten())


def shown_rows(policy, lengths):
    """demo rows that know `lengths` actions."""
    g = torch.Generator().manual_seed(3)
    rows = []
    for i, (prompt, length) in enumerate(zip(policy.prepare(observations(len(lengths))), lengths)):
        units = policy.action_units(torch.rand(1, length, DIM, generator=g) * 2 - 1)[0]
        rows.append(Row(Decision(prompt, units, restrict="action"), "demo", 1.0, i, len(units)))
    return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_mean_over_the_known_actions_and_teaches_nothing_else(tiny_qwen, family, monkeypatch):
    policy, lengths = load(tiny_qwen(family), family), (4, 1, 2)
    rows = shown_rows(policy, lengths)
    seen, velocity = [], policy._velocity

    def watched(prefix, x, time):
        v, states = velocity(prefix, x, time)
        v.retain_grad()
        seen.append((x, time, v))
        return v, states

    monkeypatch.setattr(policy, "_velocity", watched)
    objective = resolve_objective("sft", {})
    torch.manual_seed(2)
    sums = accumulate(rows, plan_step(objective, rows, 0, 1), policy, 10**9)
    errors, taught = [], {}
    for x_EHD, time_E, v_EHD in seen:
        for e in range(len(v_EHD)):
            # x = t eps + (1 - t) a, so eps - a = (x - a) / t; which row a point is of shows in its gradient.
            known = int(v_EHD.grad[e].abs().sum(-1).gt(0).sum())
            row = rows[lengths.index(known)]
            actions = row.decision.tokens.view(-1, DIM)
            assert not v_EHD.grad[e, known:].any(), "actions that are not known teach nothing"
            target = (x_EHD[e, :known] - actions) / time_E[e]
            errors.append((v_EHD[e, :known] - target).square())
            taught[known] = True
    assert set(taught) == set(lengths)
    assert sums["loss_sum"] == pytest.approx(float(torch.cat(errors).mean().detach()), rel=1e-4)


def test_what_is_not_known_tells_nothing_of_what_is(tiny_qwen):
    """Beyond the known actions a point holds scaled noise alone: two rows of other actions share it where noise is."""
    policy = load(tiny_qwen("pi0"))
    (row,) = shown_rows(policy, (1,))
    x, time, velocity = policy._demonstration_point(collate([row]), 0)
    noise = velocity[1:]
    assert torch.equal(x[1:], time * noise)
    assert torch.allclose(x[:1] - time * velocity[:1], row.decision.tokens.view(1, DIM), atol=1e-6)


def test_a_row_s_length_changes_no_other_row(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    rows = shown_rows(policy, (2, 4, 1))
    torch.manual_seed(4)
    together = log_probs(policy, rows)
    alone = torch.cat([log_probs(policy, [row]) for row in rows])
    assert torch.allclose(together, alone, atol=1e-4)


def recorded(tiny_qwen, tmp_path, kind="pi0", **data):
    return {
        "name": "run",
        "method": "sft",
        "steps": 1,
        "policy": {"type": kind, "path": str(tiny_qwen(kind)), "device": "cpu"},
        "data": {"train": [{"type": "lerobot", "path": str(tmp_path), **data}]},
        "rollout": {"action_chunk": 2},
    }


def test_recorded_actions_may_cover_the_horizon_of_a_flow_policy(tiny_qwen, tmp_path):
    load_recipe(recorded(tiny_qwen, tmp_path, chunk=2))
    assert load_recipe(recorded(tiny_qwen, tmp_path, chunk=HORIZON)).data.train[0].chunk == HORIZON
    with pytest.raises(ConfigError, match=r"chunk 1 differs from rollout.action_chunk 2 .* give it at least 2"):
        load_recipe(recorded(tiny_qwen, tmp_path, chunk=1))
    with pytest.raises(ConfigError, match=r"chunk 4 differs from .* give both the same number: 2"):
        load_recipe(recorded(tiny_qwen, tmp_path, chunk=4, draw="episodes"))
    with pytest.raises(ConfigError, match=r"chunk 4 differs from .* give both the same number: 2"):
        load_recipe(recorded(tiny_qwen, tmp_path, "openvla", chunk=4))
