"""Offline RL on rewarded demonstrations: AWR's loss by autograd, what demonstrations carry, and runs."""

from dataclasses import dataclass, replace

import pytest
import torch

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.types import DEMO, Decision, Group, Likelihood, Sample, StopReason, Trajectory
from mmrl.data.episodes import Episodes
from mmrl.data.mixture import open_dataset
from mmrl.objectives.advantages import demonstration_weights
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData, LeRobotData, LiberoData, ManiSkillData
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.objective import Offline
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.answers import demonstrate
from mmrl.rollouts.collect import StepBatch
from mmrl.rollouts.episodes import demonstrate_episodes
from mmrl.rollouts.noisy_expert import disturb
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.simulators import Simulators
from mmrl.trainer.figures import metrics_of
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import score_rollouts
from mmrl.trainer.step import accumulate, plan_step
from tests.support.robot_data import write_lerobot, write_libero, write_maniskill

TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 5, "reward": "dense"}
VOCABULARY, UNITS = 7, 2


# --- the loss


@dataclass(frozen=True)
class State:
    """A prompt: the state's number."""

    number: int
    length: int = 1


class Table:
    """A policy that is a table: logits [S, 4, VOCABULARY] of each state's units, and its value [S, 1]."""

    def __init__(self, states: int, seed: int):
        g = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(states, 4, VOCABULARY, generator=g, dtype=torch.float64).requires_grad_()
        self.value = torch.randn(states, 1, generator=g, dtype=torch.float64).requires_grad_()
        self.module = torch.nn.Module()

    def batch_tokens(self, prompts, rows_per_prompt):
        return len(prompts)

    def log_probs(self, batch, entropy="none"):
        numbers = [batch.prompts[p].number for p in batch.prompt_index_R.tolist()]
        every = self.logits[numbers, : batch.tokens_RU.shape[1]].log_softmax(-1)
        found = every.gather(-1, batch.tokens_RU[:, :, None]).squeeze(-1) * batch.mask_RU
        return Likelihood(found, batch.mask_RU, value_RV=self.value[numbers])


def recorded(rewards, first, cut=False):
    """A demonstration whose decisions earn `rewards`, a tuple of each one's steps, in states from `first` on."""
    g = torch.Generator().manual_seed(first)
    decisions = tuple(
        Decision(
            State(first + i),
            torch.randint(0, VOCABULARY, (UNITS * len(steps),), generator=g),
            reward=sum(steps),
            step_rewards=steps,
        )
        for i, steps in enumerate(rewards)
    )
    final = State(first + len(rewards)) if cut else None
    stop = StopReason.TIME if cut else StopReason.TERMINAL
    return Trajectory(decisions, DEMO, reward=sum(map(sum, rewards)), stop=stop, final_prompt=final)


DEMOS = (recorded([(0.5, 1.0), (0.0, 2.0), (1.5,)], 0), recorded([(0.0, 0.0), (-1.0, 0.3)], 3, cut=True))


def lambda_returns(chunks, values, bootstrap, gamma, lam):
    """(1 - lambda) sum_n lambda^(n - 1) G_n, with all that is left on the last n, over chunks as steps."""
    count, after = len(chunks), [*values[1:], bootstrap]
    returns = []
    for t in range(count):
        total, left = 0.0, 1.0
        for n in range(1, count - t + 1):
            reach = sum(gamma**k * chunks[t + k] for k in range(n)) + gamma**n * after[t + n - 1]
            share = left if t + n == count else left * (1 - lam)
            total, left = total + share * reach, left * lam
        returns.append(total)
    return returns


@pytest.mark.parametrize(("weight", "temperature", "cap"), [("exp", 0.7, 20.0), ("exp", 0.3, 2.0), ("positive", 1, 20)])
def test_gradient_is_that_of_advantage_weighted_regression(weight, temperature, cap):
    gamma, lam = 0.9, 0.6
    policy = Table(6, seed=1)
    overrides = {
        "offline": {"weight": weight, "temperature": temperature, "cap": cap},
        "advantage": {"gamma": gamma, "lam": lam},
        "value": {"weight": 0.25, "huber": 50.0},
    }
    objective = resolve_objective("chunked_awr", overrides)
    stage = StageConfig(name="s", method="chunked_awr", steps=1)
    groups = tuple(Group(Sample(str(i), (), "t", {}), (demo,)) for i, demo in enumerate(DEMOS))
    rows, _ = make_rows(StepBatch(demonstrations=groups), objective, stage)
    rows = score_rollouts(rows, objective, stage, policy, 100)
    sums = accumulate(rows, plan_step(objective, rows, 0, 64), policy, 2)
    found = policy.logits.grad.clone(), policy.value.grad.clone()

    with torch.no_grad():
        old = policy.value[:, 0].tolist()
        targets = lambda_returns([1.5, 2.0, 1.5], old[:3], 0.0, gamma, lam)
        targets += lambda_returns([0.0, -0.7], old[3:5], old[5], gamma, lam)
        advantages = torch.tensor(targets, dtype=torch.float64) - policy.value[:5, 0]
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
        weights = (scaled > 0).double() if weight == "positive" else (scaled / temperature).exp().clamp(max=cap)
    decisions = [d for demo in DEMOS for d in demo.decisions]
    units = sum(len(d.tokens) for d in decisions)
    published = 0.25 * (policy.value[:5, 0] - torch.tensor(targets)).square().mean() / 2
    for state, decision in enumerate(decisions):
        chosen = policy.logits[state].log_softmax(-1)[range(len(decision.tokens)), decision.tokens]
        published = published - weights[state] * chosen.sum() / units
    wanted = torch.autograd.grad(published, (policy.logits, policy.value))
    for ours, theirs in zip(found, wanted, strict=True):
        assert float(theirs.abs().max()) > 1e-3
        assert torch.allclose(ours, theirs, atol=1e-7)
    figures = metrics_of(sums, {"demo": 1.0}, objective)
    counts = torch.tensor([len(d.tokens) for d in decisions], dtype=torch.float64)
    assert figures["offline/weight_mean"] == pytest.approx(float((weights * counts).sum() / units), rel=1e-5)
    assert 0 < figures["offline/effective"] < 1
    assert "value/explained_variance" in figures


def test_weights_rise_with_the_advantage_up_to_the_cap():
    advantages = torch.tensor([-3.0, 0.0, 0.5, 9.0])
    found = demonstration_weights(advantages, Offline(cap=5.0)).tolist()
    assert found == pytest.approx([0.0498, 1.0, 1.6487, 5.0], rel=1e-3)
    assert demonstration_weights(advantages, Offline(weight="positive")).tolist() == [0.0, 0.0, 1.0, 1.0]


ROLLED = {"from": "rollouts"}


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("grpo", {"offline": {}}, "offline needs demonstrations: true"),
        ("dagger", {"offline": {}}, "neither relabel nor gate nor buffer, whose demonstrations carry no rewards"),
        (
            "chunked_awr",
            {"rollouts": True, "gate": {}, "streams": {"rl": {"from": "rollouts"}}},
            "neither relabel nor gate",
        ),
        ("sft", {"offline": {}}, "offline needs a critic"),
        ("chunked_awr", {"offline": None}, "value needs rollouts: true"),
        ("chunked_awr", {"offline": {"temperature": 0}}, "temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(method, overrides, message):
    with pytest.raises(UserError, match=message):
        resolve_objective(method, overrides)


# --- what demonstrations carry


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=5))


def starts(count, **settings):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", size=count, **settings)))


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_expert_s_decisions_carry_what_they_earned(policy, chunk):
    simulators = Simulators({"table": TABLE})
    for group in demonstrate_episodes(policy, simulators, starts(6), chunk):
        (trajectory,) = group.trajectories
        rewards = [reward for decision in trajectory.decisions for reward in decision.step_rewards]
        assert len(rewards) == trajectory.episode.length
        assert sum(rewards) == pytest.approx(trajectory.reward, abs=1e-5)
        assert trajectory.reward > 0
        for decision in trajectory.decisions:
            assert len(decision.tokens) == 3 * len(decision.step_rewards)
            assert decision.reward == sum(decision.step_rewards)


def test_an_expert_that_errs_plays_the_same_episode_again_and_earns_less(policy):
    simulators = Simulators({"table": TABLE})
    poor, again, gold = (
        demonstrate_episodes(policy, simulators, starts(24, expert_noise=noise), 2, bootstrap=True)
        for noise in (0.8, 0.8, 0.0)
    )
    success = {"poor": [], "gold": []}
    for a, b, c in zip(poor, again, gold, strict=True):
        (one,), (other,), (best,) = a.trajectories, b.trajectories, c.trajectories
        assert [d.tokens.tolist() for d in one.decisions] == [d.tokens.tolist() for d in other.decisions]
        assert (one.final_prompt is not None) == one.truncated
        success["poor"].append(one.accuracy)
        success["gold"].append(best.accuracy)
    assert sum(success["gold"]) > 20 > 16 > sum(success["poor"])


def test_the_share_of_random_actions_is_the_noise():
    (sample,) = starts(1, expert_noise=0.3)
    expert = torch.full((3,), 9.0)
    drawn = [disturb(expert, replace(sample, episode=i), step) for i in range(40) for step in range(25)]
    random = torch.stack([action for action in drawn if not torch.equal(action, expert)])
    assert len(random) / 1000 == pytest.approx(0.3, abs=0.05)
    assert float(random.min()) >= -1.0
    assert float(random.max()) <= 1.0
    assert random.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.12)
    assert disturb(expert, replace(sample, expert_noise=0.0), 0) is expert


# --- recorded episodes


def test_rewards_are_those_of_the_file_or_a_one_at_the_end(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = write_libero(tmp_path / "task.hdf5", lengths=(6, 4), still=(2, 3))
    with h5py.File(path, "r+") as file:
        file["data/demo_0/rewards"] = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    rows = open_dataset(LiberoData(type="libero_hdf5", path=str(path), chunk=4))
    assert rows[0].rewards == (0.0, 0.25, 0.5, 1.0)
    assert rows[4].rewards == (2.0, 4.0)
    assert rows[6].rewards == (0.0, 0.0, 0.0, 1.0), "no rewards recorded"
    moved = open_dataset(LiberoData(type="libero_hdf5", path=str(path), drop_noops=True, draw="episodes", chunk=2))
    # Step 0 does not move either.
    assert moved.rows.episodes[0].kept_K.tolist() == [1, 4, 5]
    assert [step.rewards for step in moved[0].steps] == [(1.75, 2.0), (4.0,)], "nothing is lost with the steps left out"


def test_a_failed_recording_earns_nothing(tmp_path):
    pytest.importorskip("h5py")
    path = write_maniskill(tmp_path / "t.h5", lengths=(3, 4))
    settings = {"type": "maniskill_h5", "path": str(path), "successful_only": False, "draw": "episodes", "chunk": 2}
    solved, failed = list(open_dataset(ManiSkillData(**settings)))
    assert [step.rewards for step in solved.steps] == [(0.0, 0.0), (1.0,)]
    assert [step.rewards for step in failed.steps] == [(0.0, 0.0), (0.0, 0.0)]


def test_lerobot_names_its_rewards(tmp_path):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    root = write_lerobot(tmp_path / "arm", lengths=(5, 3), stored=True)
    data, info = root / "data/chunk-000/file-000.parquet", root / "meta/info.json"
    table = pq.read_table(data)
    rewards = [0.0, 0.5, 1.0, 1.5, 2.0, 0.0, float("nan"), 1.0]
    pq.write_table(table.append_column("next.reward", pa.array(rewards, pa.float32())), data)
    facts = json.loads(info.read_text())
    facts["features"]["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
    info.write_text(json.dumps(facts))
    rows = open_dataset(LeRobotData(type="lerobot", path=str(root), chunk=2))
    assert rows[2].rewards == (1.0, 1.5)
    with pytest.raises(BadSample, match="its reward is not finite"):
        rows[6]
    plain = open_dataset(LeRobotData(type="lerobot", path=str(root), chunk=2, reward=None))
    assert plain[3].rewards == (0.0, 1.0)
    assert plain[6].rewards == (0.0, 1.0)


def test_a_recorded_episode_is_one_trajectory(policy, tmp_path):
    pytest.importorskip("h5py")
    path = write_libero(tmp_path / "task.hdf5", lengths=(5, 4))
    settings = {"type": "libero_hdf5", "path": str(path), "chunk": 2, "image_size": 28}
    steps = open_dataset(LiberoData(**settings))
    whole = open_dataset(LiberoData(**settings, draw="episodes"))
    assert len(whole) == 2
    policy.set_statistics(whole.name, whole.rows.statistics())
    group = demonstrate(policy, Preparer(policy, None).make(whole[0], rewarded=False), 0)
    (trajectory,) = group.trajectories
    assert (trajectory.origin, trajectory.reward, group.sample.id) == (DEMO, 1.0, whole[0].id)
    for i, decision in enumerate(trajectory.decisions):
        alone = Preparer(policy, None).make(steps[2 * i], rewarded=False)
        (same,) = demonstrate(policy, alone, 0).trajectories
        assert torch.equal(decision.tokens, same.decisions[0].tokens)
        assert torch.equal(decision.prompt.input_ids, same.decisions[0].prompt.input_ids)
    assert [d.step_rewards for d in trajectory.decisions] == [(0.0, 0.0), (0.0, 0.0), (1.0,)]


def test_demonstrations_without_rewards_are_refused_when_the_recipe_is_read():
    raw = {
        "name": "o",
        "policy": {"path": "x", "action_bins": 5, "value_head": {}},
        "data": {"train": [{"type": "lerobot", "path": "arm"}]},
        "method": "chunked_awr",
        "steps": 1,
    }
    with pytest.raises(ConfigError, match=r"those of data.train.0 \(type 'lerobot'\) carry no rewards; set draw: epis"):
        load_recipe(raw)
    load_recipe(raw, ["data.train.0.draw=episodes"])
    raw["data"] = {"train": [{"type": "digits"}]}
    with pytest.raises(ConfigError, match=r"\(type 'digits'\) carry no rewards; set use: rollouts"):
        load_recipe(raw)
