"""Episodes that the policy plays and the scripted expert labels (DAgger, arXiv 1011.0686)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from mmrl.contracts.engine import Engine, Sampling
from mmrl.contracts.policy import ActingPolicy
from mmrl.contracts.source import Labels, Worlds
from mmrl.contracts.types import DEMO, Decision, Group, Sample
from mmrl.recipe.rollout import of_actions
from mmrl.rollouts.episodes import (
    Play,
    deal_to_experts,
    gather_groups,
    lane_seeds,
    refuse_deltas,
    requests_of,
    run_lanes,
)
from mmrl.rollouts.lookahead import actions_taught, look_ahead
from mmrl.rollouts.pipeline import Lane


def relabelled_episodes(
    policy: ActingPolicy,
    engine: Engine,
    simulators: Worlds,
    samples: Sequence[Sample],
    sampling: Sampling,
    settings: Labels,
    seed: int,
) -> list[Group]:
    """One episode from each start state, as groups of one demonstration; an action per decision.

    The policy samples an action in each state and the expert names its own, which is the demonstration. Without
    `takeover` the policy's action is played and every state is labelled (DAgger). With it, the expert's is played and
    labelled where the two differ by more than that in some action dim, and the policy's elsewhere (HG-DAgger's gate).
    A policy that predicts several actions is then shown those of all the steps in a row that the expert played.

    Raises:
        ConfigError: the simulator has no scripted expert, or the policy predicts differences from the state.
    """
    refuse_deltas(policy)
    lanes = deal_to_experts(simulators, samples)
    seeds = lane_seeds(policy, seed, len(lanes))
    run_lanes(
        lanes,
        [_relabel(policy, engine, lane, sampling, settings, seed_of_lane) for lane, seed_of_lane in zip(lanes, seeds)],
    )
    return [_labelled(group) for group in gather_groups(lanes, 1, DEMO)]


def _relabel(
    policy: ActingPolicy, engine: Engine, episodes: Play, sampling: Sampling, settings: Labels, seed: int
) -> Lane:
    action_dim = episodes.env.action_dim
    sampling = of_actions(sampling, policy.units_per_action(action_dim))
    worlds, call = (yield episodes.begin), 0
    taught: dict[int, dict[int, Tensor]] = {}
    while worlds:
        taught |= {i: {} for i in worlds if not episodes.earned[i]}
        prompts = policy.prepare([episodes.view(i) for i in worlds])
        chosen = engine.generate(requests_of(policy, episodes, worlds, prompts, seed), sampling, seed + 7919 * call)
        labels_BU = policy.action_units((yield episodes.expert_action)[:, None])
        expert_BCA = policy.actions(labels_BU, action_dim)
        actions_BCA = expert_BCA.clone()
        for i, prompt, (completion,) in zip(worlds, prompts, chosen):
            own_CA = policy.actions(completion.tokens[None], action_dim)[0]
            apart = float((own_CA - expert_BCA[i]).abs().max())
            takes_over = settings.takeover is not None and apart > settings.takeover
            if not takes_over:
                actions_BCA[i] = own_CA
            if takes_over or settings.takeover is None:
                episodes.decisions[i].append(Decision(prompt, labels_BU[i], restrict="action"))
                taught[i][len(episodes.earned[i])] = labels_BU[i]
        worlds, call = (yield partial(episodes.advance, actions_BCA, credit=False)), call + 1
    # Without takeovers the policy plays, and the next label is no continuation of this one.
    if settings.takeover is not None:
        ahead = actions_taught(policy, 1)
        for i, decisions in enumerate(episodes.decisions):
            episodes.decisions[i] = look_ahead(decisions, list(taught[i]), taught[i], ahead)


def _labelled(group: Group) -> Group:
    """The group with what its demonstration holds noted: how many states the expert labelled."""
    (trajectory,) = group.trajectories
    info = {**trajectory.info, "labelled": len(trajectory.decisions)}
    return replace(group, trajectories=(replace(trajectory, info=info),))
