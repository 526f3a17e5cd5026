"""A step's data: gates, dynamic sampling, demonstrations that do not fit, and the rows made of them."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data.mixture import Mixture, Upcoming
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import Builder
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.trainer.figures import describe
from mmrl.trainer.rows import make_rows
from tests.support.engines import hf
from tests.support.policy import digits, load
from tests.support.scripted import Scripted


def builder_of(tiny_qwen, method, samples, reward, on_bad="stop", objective=None, **stage):
    policy = load(tiny_qwen("qwen2_5_vl"))
    preparer = Preparer(policy, Rewarder([], reward))
    mixture = Mixture([samples], on_bad=on_bad, check=preparer.check)
    stage = {"prompts": 4, "demonstrations": 4, "rollout": {"n": 3, "max_new_tokens": 8}, **stage}
    settings = StageConfig(name="one", method=method, steps=1, **stage)
    return Builder(policy, hf(policy), mixture, preparer, None, settings, resolve_objective(method, objective or {}))


def solved_ids(*ids):
    return lambda text, sample: float(sample.id in ids)


def test_the_gate_swaps_unsolved_prompts_for_their_demonstrations(tiny_qwen):
    samples = digits(4, "ocr")
    samples[3] = replace(samples[3], demonstration=None)
    builder = builder_of(tiny_qwen, "hpt", samples, solved_ids(samples[0].id))
    batch = builder.collect(1)
    assert {g.sample.id for g in batch.rollouts} == {samples[0].id, samples[3].id}
    assert {g.sample.id for g in batch.demonstrations} == {samples[1].id, samples[2].id}
    assert batch.metrics["group/gated"] == 0.5
    assert describe(batch)["accuracy/mean"] == 0.25
    rows, _ = make_rows(batch, builder.objective, builder.stage)
    assert [(row.stream, row.group_size) for row in rows] == [("rl", 3)] * 6 + [("demo", 1)] * 2
    assert len({row.trajectory for row in rows}) == 8
    for row, group in zip(rows[6:], batch.demonstrations):
        assert builder.policy.decode_text(row.decision.tokens) == group.sample.demonstration


def test_a_demonstration_that_does_not_fit_is_a_bad_sample_at_the_gate(tiny_qwen):
    samples = digits(4, "ocr")
    samples[1] = replace(samples[1], demonstration="a long answer " * 5)
    with pytest.raises(BadSample, match="max_new_tokens"):
        builder_of(tiny_qwen, "hpt", samples, solved_ids()).collect(1)
    builder = builder_of(tiny_qwen, "hpt", samples, solved_ids(), on_bad="skip")
    batch = builder.collect(1)
    assert [g.sample.id for g in batch.rollouts] == [samples[1].id]
    assert builder.mixture.skipped == 1


def test_demonstrations_that_do_not_fit_are_replaced_by_others(tiny_qwen):
    samples = digits(6, "ocr")
    samples[:2] = [replace(sample, demonstration="a long answer " * 5) for sample in samples[:2]]
    builder = builder_of(tiny_qwen, "sft", samples, solved_ids(), on_bad="skip")
    for seed in range(3):
        batch = builder.collect(seed)
        assert len(batch.demonstrations) == 4
        assert not {g.sample.id for g in batch.demonstrations} & {s.id for s in samples[:2]}
    assert builder.mixture.skipped >= 2


def test_data_without_a_usable_demonstration_ends_instead_of_looping(tiny_qwen):
    samples = [replace(sample, demonstration="a long answer " * 5) for sample in digits(3, "ocr")]
    with pytest.raises(UserError, match=r"no demonstration can be used.*max_new_tokens"):
        builder_of(tiny_qwen, "sft", samples, solved_ids(), on_bad="skip").collect(0)


def test_dynamic_sampling_keeps_groups_that_teach(tiny_qwen):
    samples = digits(8, "ocr")
    calls = []

    def reward(text, sample):
        calls.append(sample.id)
        uniform = sample.id in {s.id for s in samples[:4]}
        return 1.0 if uniform else float(calls.count(sample.id) % 2)

    builder = builder_of(
        tiny_qwen, "dapo", samples, reward, objective={"reward_transforms": {"overlong": {"cache": 2}}}
    )
    batch = builder.collect(0)
    assert len(batch.rollouts) <= 4
    assert batch.rollouts
    assert not {g.sample.id for g in batch.rollouts} & {s.id for s in samples[:4]}
    assert batch.metrics["group/rounds"] >= 2
    assert 0 < batch.metrics["group/kept"] < 1
    drawn = list(dict.fromkeys(calls))
    solved = sum(1.0 if i in {s.id for s in samples[:4]} else 2 / 3 for i in drawn)
    assert describe(batch)["accuracy/mean"] == pytest.approx(solved / len(drawn))


def test_the_gate_comes_before_the_filter(tiny_qwen):
    """The filter drops groups that are all wrong, which are the ones that HPT has a demonstration for."""
    samples = digits(4, "ocr")
    builder = builder_of(tiny_qwen, "hpt", samples, solved_ids(samples[0].id), objective={"filter": {"rounds": 1}})
    batch = builder.collect(1)
    assert batch.rollouts == (), "the one that is always solved teaches nothing"
    assert {g.sample.id for g in batch.demonstrations} == {s.id for s in samples[1:]}
    assert batch.metrics["group/gated"] == batch.metrics["group/kept"] == 0.75
    nothing = builder_of(tiny_qwen, "hpt", samples, solved_ids(), objective={"filter": {}}).collect(1)
    assert (len(nothing.demonstrations), nothing.metrics["group/gated"], nothing.metrics["group/rounds"]) == (4, 1, 1)
    solved = builder_of(tiny_qwen, "hpt", samples, lambda text, sample: 1.0, objective={"filter": {"rounds": 2}})
    batch = solved.collect(1)
    assert (batch.rollouts, batch.demonstrations, len(batch.sampled)) == ((), (), 8)
    assert batch.metrics["group/gated"] == batch.metrics["group/kept"] == 0


def test_injection_comes_before_the_filter(tiny_qwen):
    """EasyVideoR1 filters the mixed group: one that fails stays for its demonstration, one that is solved goes."""
    samples = digits(4, "ocr")
    golden = {sample.demonstration for sample in samples}

    def reward(text, sample):
        return float(sample.id == samples[0].id or text in golden)

    objective = {"inject": {"below": 0.5}, "filter": {"rounds": 1}}
    batch = builder_of(tiny_qwen, "offline_mix", samples, reward, objective=objective).collect(1)
    assert {g.sample.id for g in batch.rollouts} == {s.id for s in samples[1:]}
    for group in batch.rollouts:
        assert [(t.origin, t.reward) for t in group.trajectories] == [("policy", 0), ("policy", 0), ("demo", 1)]
    assert batch.metrics["group/injected"] == batch.metrics["group/kept"] == 0.75


def test_a_step_that_gates_and_filters_has_no_more_prompts_than_it_asks_for(tiny_qwen):
    samples = digits(8, "ocr")
    half = solved_ids(*(sample.id for sample in samples[::2]))
    batch = builder_of(tiny_qwen, "hpt", samples, half, objective={"filter": {"rounds": 4}}).collect(0)
    assert len(batch.rollouts) + len(batch.demonstrations) == 4
    assert len(batch.sampled) == 4 * batch.metrics["group/rounds"] > 4


def test_an_injected_demonstration_is_scored_at_the_temperature_of_the_rollouts_beside_it(tiny_qwen):
    samples, rollout = digits(2, "ocr"), {"n": 3, "max_new_tokens": 8, "temperature": 0.7}
    builder = builder_of(tiny_qwen, "offline_mix", samples, solved_ids(), rollout=rollout)
    batch = builder.collect(0)
    assert [[t.origin for t in g.trajectories] for g in batch.rollouts] == [["policy", "policy", "demo"]] * 4
    rows, _ = make_rows(batch, builder.objective, builder.stage)
    assert {row.temperature for row in rows} == {0.7}
    alone = builder_of(tiny_qwen, "sft", samples, solved_ids(), rollout=rollout)
    rows, _ = make_rows(alone.collect(0), alone.objective, alone.stage)
    assert {row.temperature for row in rows} == {1.0}


def test_rows_carry_the_advantage_of_the_penalised_reward_and_masked_ones_keep_their_place_in_it(tiny_qwen):
    samples = digits(2, "ocr")
    objective = {
        "reward_transforms": {"overlong": {"cache": 4}},
        "mask_truncated": True,
        "advantage": {"scale": "none"},
    }
    builder = builder_of(tiny_qwen, "grpo", samples, lambda text, sample: len(text) % 3 / 2, objective=objective)
    builder.policy.eos_ids = tuple(range(0, 528, 6))
    batch = builder.collect(3)
    trajectories = [t for g in batch.rollouts for t in g.trajectories]
    assert 0 < sum(t.truncated for t in trajectories) < len(trajectories)
    expected = []
    for group in batch.rollouts:
        shaped = [t.reward - min(1.0, max(0.0, (t.units - 4) / 4)) for t in group.trajectories]
        mean = sum(shaped) / len(shaped)
        expected += [(t, r - mean) for t, r in zip(group.trajectories, shaped)]
    rows, noted = make_rows(batch, builder.objective, builder.stage)
    assert [row.advantage for row in rows] == pytest.approx([a for _, a in expected])
    assert all(torch.equal(row.decision.tokens, t.decisions[0].tokens) for row, (t, _) in zip(rows, expected))
    assert [row.masked for row in rows] == [t.truncated for t, _ in expected]
    notes = [t.info["advantage"] for g in noted for t in g.trajectories]
    assert notes == pytest.approx([a for _, a in expected])
    figures = describe(batch)
    assert figures["length/truncated"] == sum(t.truncated for t in trajectories) / len(trajectories)
    assert figures["reward/mean"] == pytest.approx(sum(t.reward for t in trajectories) / len(trajectories))


def test_rewards_tighten_as_far_as_the_stage_has_come():
    """Vision-R1's bands: an IoU of 0.7 is between 0.5 and 0.75 at first, and below 0.75 in the second half."""
    bands = {"iou": [[0.5, 0.75], [0.75, 0.9]]}
    rewarder = Rewarder([RewardConfig(name="combine", params={"parts": [["iou", 1]], "bands": bands})])
    scripted = Scripted(["[0, 0, 10, 7]", "[0, 0, 10, 9]"])
    preparer = Preparer(scripted, rewarder)
    mixture = Mixture([[Sample("0", (), "rec", {"box": [0, 0, 10, 10]})]], check=preparer.check)
    stage = StageConfig(name="one", method="grpo", steps=1, prompts=1, rollout={"n": 2})
    builder = Builder(scripted, scripted, mixture, preparer, None, stage, stage.objective)
    rewards = {}
    for progress in (0.0, 0.49, 0.5, 1.0):
        (group,) = builder.collect(0, progress).rollouts
        rewards[progress] = [trajectory.reward for trajectory in group.trajectories]
    early, late = pytest.approx([0.7, 1.0]), pytest.approx([0.0, 1.0])
    assert rewards == {0.0: early, 0.49: early, 0.5: late, 1.0: late}


class Drawn:
    """A mixture whose next rows are known by name, and that notes which of them are to be read ahead."""

    def __init__(self, reads_media=True):
        self.reads_media, self.ahead, self.wanted = reads_media, self, []

    def upcoming(self, count, demonstrations=False):
        return [Upcoming(f"{'demo' if demonstrations else 'rl'} {i}", (), i, None) for i in range(count)]

    def want(self, jobs):
        self.wanted.append(list(jobs))


@pytest.mark.parametrize(
    ("count", "reads_media", "wanted"),
    [
        (None, True, [["rl 0", "demo 0", "rl 1", "demo 1", "demo 2"]]),
        (1, False, [["rl 0", "demo 0"]]),
        (None, False, []),
        (0, True, []),
    ],
)
def test_what_the_next_step_draws_is_read_ahead_of_it(count, reads_media, wanted):
    """Two prompts and three demonstrations in turn; of data without media nothing, unless a number is asked for."""
    mixture, stage = Drawn(reads_media), StageConfig(name="s", method="chord_mu", steps=1, prompts=2, demonstrations=3)
    preparer = Preparer(None, Rewarder([RewardConfig(name="route")]))
    Builder(None, None, mixture, preparer, None, stage, stage.objective).read_ahead(count)
    assert mixture.wanted == wanted
