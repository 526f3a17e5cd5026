"""Demonstrations among rollouts: injected into groups, and labelled by the expert along the policy's own episodes."""

from dataclasses import replace

import pytest
import torch

from mmrl import train
from mmrl.contracts.errors import UserError
from mmrl.contracts.types import DEMO, POLICY
from mmrl.data.digits import Digits
from mmrl.data.mixture import Mixture
from mmrl.policies.opening import load_policy
from mmrl.recipe.collecting import Relabel
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import Builder
from mmrl.rollouts.episodes import demonstrate_episodes
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import score_rollouts
from tests.support.engines import hf
from tests.support.runs import recipe

TABLE = {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 6, "reward": "dense"}


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=5))


@pytest.fixture
def simulators():
    return Simulators({"table": TABLE})


def builder(policy, simulators, samples, method, max_new_tokens=12, context=None, **objective):
    stage = StageConfig(
        name="s",
        method=method,
        steps=1,
        prompts=4,
        demonstrations=4,
        rollout={"n": 3, "max_new_tokens": max_new_tokens, "context": context},
    )
    preparer = Preparer(policy, Rewarder(load_recipe({**MINIMAL, "policy": {"path": "x"}}).rewards))
    mixture = Mixture([samples], on_bad="skip")
    resolved = resolve_objective(method, objective)
    return Builder(policy, hf(policy), mixture, preparer, simulators, stage, resolved), stage


MINIMAL = {"name": "m", "data": {"train": [{"type": "digits"}]}, "method": "sft", "steps": 1}


def digit_samples():
    from mmrl.recipe.data import DigitsData

    return list(Digits(DigitsData(type="digits", tasks=["classification", "ocr"], size=8)))


def episode_samples(count=8):
    from mmrl.data.episodes import Episodes
    from mmrl.recipe.data import EpisodeData

    return list(Episodes(EpisodeData(type="episodes", simulator="table", size=count)))


# --- injection


def test_the_last_rollout_of_every_group_is_the_demonstration(policy, simulators):
    made, stage = builder(policy, simulators, digit_samples(), "offline_mix")
    batch = made.collect(0)
    assert batch.metrics["group/injected"] == 1.0
    for group, sampled in zip(batch.rollouts, batch.sampled, strict=True):
        assert [t.origin for t in group.trajectories] == [POLICY, POLICY, DEMO]
        assert [t.origin for t in sampled.trajectories] == [POLICY] * 3, "figures describe the policy"
        demo = group.trajectories[-1]
        assert demo.reward == demo.accuracy == 1.0
        assert int(demo.decisions[0].tokens[-1]) == policy.end_of_turn
        assert demo.decisions[0].prompt is group.trajectories[0].decisions[0].prompt
    rows, _ = make_rows(batch, made.objective, stage)
    assert {row.stream for row in rows} == {"rl"}
    demos = [row for row in rows if row.decision.log_probs is None]
    assert len(demos) == 4
    assert all(row.advantage > 0 for row in demos), "a right answer among wrong ones"


def test_a_demonstration_beside_answers_has_their_form_once(policy, simulators):
    forms = {"name": "templates", "templates": [{"text": "Look: {question}"}]}
    for method in ("offline_mix", "hpt"):
        made, _ = builder(policy, simulators, digit_samples(), method, context=forms)
        batch = made.collect(0)
        demos = [(g, t) for g in [*batch.rollouts, *batch.demonstrations] for t in g.trajectories if t.origin == DEMO]
        assert demos
        for group, demo in demos:
            text = policy.processor.tokenizer.decode(demo.decisions[0].prompt.input_ids)
            assert text.count("Look: ") == 1
            assert group.sample.question.count("Look: ") == 1


def test_an_injected_demonstration_starts_at_ratio_one(policy, simulators):
    """Its behaviour is the policy before the first update, however many updates follow."""
    made, stage = builder(policy, simulators, digit_samples(), "offline_mix")
    rows, _ = make_rows(made.collect(0), made.objective, stage)
    several = stage.model_copy(update={"minibatches": 2})
    scored = score_rollouts(rows, made.objective, several, policy, 10_000)
    again = score_rollouts(scored, made.objective, several, policy, 10_000)
    for a, b in zip(scored, again, strict=True):
        assert torch.allclose(a.old, b.old, atol=1e-5)
        if a.decision.log_probs is not None:
            assert torch.allclose(a.old, a.decision.log_probs, atol=1e-4)


def test_a_threshold_spares_groups_that_the_policy_solves(policy, simulators):
    made, _ = builder(policy, simulators, digit_samples(), "offline_mix", inject={"below": 0.5})
    made.preparer.rewarder.score_all = lambda pairs: [
        replace(t, reward=0.5, accuracy=float(sample.task == "ocr")) for t, sample in pairs
    ]
    made.preparer.rewarder.at = lambda progress: made.preparer.rewarder
    batch = made.collect(0)
    sources = {group.sample.task: group.trajectories[-1].origin for group in batch.rollouts}
    assert sources == {"ocr": POLICY, "classification": DEMO}
    assert 0 < batch.metrics["group/injected"] < 1


def test_a_demonstration_above_the_limit_is_counted_and_leaves_the_rollouts(policy, simulators):
    made, _ = builder(policy, simulators, digit_samples(), "offline_mix", max_new_tokens=1)
    batch = made.collect(0)
    assert batch.metrics["group/injected"] == 0.0
    assert made.mixture.skipped == len(batch.rollouts) == 4


def test_episodes_take_the_experts_episode_from_the_same_start(policy, simulators):
    made, _ = builder(policy, simulators, episode_samples(), "offline_mix")
    batch = made.collect(0)
    for group in batch.rollouts:
        demo = group.trajectories[-1]
        assert (demo.origin, demo.episode.success_once) == (DEMO, True)
        first = [t.decisions[0].prompt.pixel_values for t in group.trajectories]
        assert torch.equal(first[0], first[-1])


# --- relabelling


def relabelled(policy, simulators, samples, **settings):
    return relabelled_episodes(policy, hf(policy), simulators, samples, SamplingConfig(), Relabel(**settings), seed=3)


def test_every_state_of_the_policys_episode_is_labelled_with_the_experts_action(policy, simulators):
    samples = episode_samples(4)
    groups = relabelled(policy, simulators, samples)
    expert = demonstrate_episodes(policy, simulators, samples, 1)
    for group, shown in zip(groups, expert, strict=True):
        (trajectory,), (gold,) = group.trajectories, shown.trajectories
        assert trajectory.origin == DEMO
        assert len(trajectory.decisions) == trajectory.episode.length == trajectory.info["labelled"]
        assert torch.equal(trajectory.decisions[0].tokens, gold.decisions[0].tokens), "the first state is the same"
    lengths = [g.trajectories[0].episode.length for g in groups]
    assert lengths != [g.trajectories[0].episode.length for g in expert], "random actions are not the expert's"


def test_an_expert_that_always_takes_over_plays_its_own_episode(policy, simulators):
    samples = episode_samples(4)
    groups = relabelled(policy, simulators, samples, takeover=1e-6)
    for group, shown in zip(groups, demonstrate_episodes(policy, simulators, samples, 1), strict=True):
        (trajectory,), (gold,) = group.trajectories, shown.trajectories
        assert trajectory.episode.success_once
        assert trajectory.episode.length == gold.episode.length
        assert trajectory.info["labelled"] < 3 * gold.episode.length


def test_an_expert_that_never_takes_over_labels_nothing(policy, simulators):
    for group in relabelled(policy, simulators, episode_samples(3), takeover=100.0):
        assert group.trajectories[0].decisions == ()


def test_relabelling_chunks_is_refused(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen(), tmp_path, method="dagger", rollout={"action_chunk": 2}, simulators={"table": TABLE})
    raw["data"] = {"train": [{"type": "episodes", "simulator": "table"}]}
    del raw["rewards"]
    raw["policy"]["action_bins"] = 5
    with pytest.raises(
        UserError, match=r"relabelling asks the expert in every state, so rollout.action_chunk must be 1"
    ):
        train(raw)


@pytest.mark.slow
def test_a_dagger_run_learns_the_experts_labels(tiny_qwen, tmp_path):
    import json

    raw = recipe(tiny_qwen(), tmp_path, method="dagger", steps=8, demonstrations=6, simulators={"table": TABLE})
    raw["data"] = {"train": [{"type": "episodes", "simulator": "table"}]}
    del raw["rewards"]
    raw["policy"]["action_bins"] = 5
    raw["optim"] = {"lr": 3e-3}
    # Episodes have no limit of tokens.
    del raw["rollout"]["max_new_tokens"]
    folder = train({**raw, "evaluation": {}}).folder
    losses = [json.loads(line).get("loss/demo") for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [x for x in losses if x is not None]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    "context",
    [
        {"name": "templates", "templates": [{"text": "Now: {question}"}]},
        {"name": "corrupted", "arms": [{"pictures": "blank"}]},
    ],
)
def test_both_answers_of_a_pair_share_the_prompt_of_their_form(policy, simulators, context):
    pairs = [replace(sample, rejected="no") for sample in digit_samples()]
    made, stage = builder(policy, simulators, pairs, "dpo", context=context)
    rows, _ = make_rows(made.collect(0), made.objective, stage)
    assert len(rows) == 8
    assert all(chosen.group == rejected.group for chosen, rejected in zip(rows[::2], rows[1::2], strict=True))
    assert [row.advantage for row in rows] == [1.0, -1.0] * 4
