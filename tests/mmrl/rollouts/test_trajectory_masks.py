"""Actions after an episode's end count for nothing: not in the loss, not in its gradient, not in any normaliser."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Completion
from mmrl.contracts.types import StopReason
from mmrl.data.episodes import Episodes
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.rollouts.episodes import play
from mmrl.rollouts.simulators import Simulators
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import score_rollouts
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import hf
from tests.support.policy import distance, gradients, load

STEPS, DIM, BINS = 5, 3, 5
TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": STEPS, "reward": "dense"}


class Dictated:
    """An engine that plays given actions, int64 [episodes, steps, DIM]; `after` follows where they end."""

    def __init__(self, policy, actions, after):
        self.first, self.actions, self.after, self.calls = int(policy.action_ids()[0]), actions, after, {}

    def generate(self, requests, sampling, seed):
        start = self.calls.setdefault("steps", 0)
        count = sampling.max_new_tokens // DIM
        self.calls["steps"] += count
        made = []
        for row in range(len(requests)):
            known = self.actions[row, start : start + count]
            rest = torch.full((count - len(known), DIM), self.after)
            tokens = self.first + torch.cat([known, rest]).flatten()
            made.append([Completion(tokens, torch.full((len(tokens),), -1.5), StopReason.WHOLE)])
        return made


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    torch.manual_seed(0)
    made = load(tiny_qwen(), action_bins=BINS, value_head={"width": 8})
    torch.nn.init.normal_(made.value_head.layers[-1].weight, std=0.3)
    made.module.value_head = made.value_head  # so that `gradients` sees it
    return made


def outcome(policy, method, chunk, after, normalise=None):
    """Loss, gradient and rows of four episodes of the same actions, the last of which is cut by the time limit."""
    samples = list(Episodes(EpisodeData(type="episodes", simulator="table", size=4)))
    g = torch.Generator().manual_seed(3)
    actions = torch.randint(0, BINS, (4, STEPS, DIM), generator=g)
    engine = Dictated(policy, actions, after)
    groups = play(policy, engine, Simulators({"table": TABLE}), samples, SamplingConfig(), 1, chunk, 0, method == "ppo")
    if method == "grpo":  # one group, so that it has advantages
        groups = [replace(groups[0], trajectories=tuple(t for group in groups for t in group.trajectories))]
    overrides = {"streams": {"rl": {"normalise": normalise, "max_units": 99}}} if normalise else {}
    objective = resolve_objective(method, overrides)
    stage = StageConfig(name="s", method=method, steps=1, rollout={"n": 4, "action_chunk": chunk})
    rows, _ = make_rows(StepBatch(rollouts=tuple(groups)), objective, stage)
    rows = score_rollouts(rows, objective, stage, policy, 10_000)
    sums = accumulate(rows, plan_step(objective, rows, 0, 64), policy, 10_000)
    return sums, gradients(policy), rows


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "ppo"])
@pytest.mark.parametrize("normalise", ["token", "sequence", "constant", "decision"])
def test_the_loss_does_not_see_actions_after_the_end(policy, method, normalise):
    """Chunks of 3 in episodes of 5 steps: the sixth action of each is never played."""
    (a, one, rows), (b, other, _) = (outcome(policy, method, 3, after, normalise) for after in (0, BINS - 1))
    assert a == b
    assert distance(one, other) == 0.0
    assert any(float(x.norm()) > 0 for x in one.values())
    assert all(row.units % DIM == 0 and row.units <= 3 * DIM for row in rows)
    lengths = {}
    for row in rows:
        lengths[row.trajectory] = lengths.get(row.trajectory, 0) + row.units
        assert row.trajectory_units <= STEPS * DIM
    assert all(lengths[row.trajectory] == row.trajectory_units for row in rows), "the length of the played part"


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_the_loss_does_not_depend_on_how_far_a_chunk_reaches_beyond_the_end(policy, method):
    (a, one, short), (b, other, long) = (outcome(policy, method, chunk, 2) for chunk in (STEPS, STEPS + 4))
    assert [row.units for row in short] == [row.units for row in long]
    assert a == pytest.approx(b, rel=1e-6)
    assert distance(one, other) < 1e-5


def test_long_and_short_episodes_weigh_alike_under_grpo(policy):
    """Length normalisation: the factors of an episode's units add up to one share of the trajectories."""
    _, _, rows = outcome(policy, "grpo", 2, 0)
    objective = resolve_objective("grpo", {})
    scale = plan_step(objective, rows, 0, 64).normalisers["rl"].scale
    shares: dict[int, float] = {}
    for row in rows:
        shares[row.trajectory] = shares.get(row.trajectory, 0.0) + row.units * scale(row)
    assert list(shares.values()) == pytest.approx([0.25] * 4)


def test_a_real_engine_s_units_are_cut_with_its_log_probs(policy):
    samples = list(Episodes(EpisodeData(type="episodes", simulator="table", size=3)))
    simulators = Simulators({"table": TABLE})
    for group in play(policy, hf(policy), simulators, samples, SamplingConfig(), 2, 4, 0):
        for trajectory in group.trajectories:
            for decision in trajectory.decisions:
                assert len(decision.tokens) == len(decision.log_probs) == DIM * len(decision.step_rewards)
            assert trajectory.units == DIM * trajectory.episode.length
