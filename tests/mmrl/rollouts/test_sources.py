"""Sources by kind: a batch of several kinds keeps its order, and a source of one's own plugs in by `module:name`."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Decision, Group, Sample, StopReason, Trajectory
from mmrl.data.mixture import Mixture
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.training import StageConfig
from mmrl.rollouts import preparing
from mmrl.rollouts.collect import Builder, StepBatch
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import SOURCES, by_kind, demonstrate_each, sample_each
from mmrl.trainer.figures import describe
from mmrl.trainer.rows import make_rows
from tests.support.engines import hf
from tests.support.policy import digits, load, text_sample
from tests.support.worlds import TABLE, starts

ECHO = "tests.mmrl.rollouts.test_sources:Echo"


class Echo:
    """Conversations of two decisions that an environment scores by how often a sample was drawn."""

    rewarded: ClassVar[bool] = False
    recorded: ClassVar[bool] = False

    def __init__(self, means):
        self.means = means

    @staticmethod
    def prepare(sample, policy, rewarder, rewarded):
        return Ready(sample, tuple(policy.prepare([replace(sample, kind="answers")])))

    @staticmethod
    def again(group):
        return Ready(group.sample, (group.trajectories[0].decisions[0].prompt,))

    def plan(self, ready, terms):
        groups = []
        for one in ready:
            decisions = [Decision(one.prompts[0], torch.tensor([5, 6]), torch.zeros(2)) for _ in range(2)]
            made = [
                Trajectory(tuple(decisions), reward=float(i), accuracy=float(i == 1), stop=StopReason.TERMINAL)
                for i in range(terms.n)
            ]
            groups.append(Group(one.sample, tuple(made)))
        return groups

    def demonstrate(self, ready, terms, scored):
        return [BadSample(one.sample.where, "nobody demonstrates it") for one in ready]


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load(tiny_qwen("qwen2_5_vl"), action_bins=5)


def means_of(policy):
    return Means(policy, hf(policy), Simulators({"table": TABLE}), Rewarder([], lambda text, sample: len(text) % 2))


def mixed():
    questions, episodes = digits(3, "ocr"), starts(2)
    return [questions[0], episodes[0], questions[1], questions[2], episodes[1]]


def test_the_kind_of_a_sample_is_its_source():
    assert (text_sample("?").kind, starts(1)[0].kind) == ("answers", "episodes")
    assert Sample("s", (), "t", {}, simulator="table").kind == "episodes"
    assert Sample("s", (), "t", {}, kind=ECHO).kind == ECHO


def test_a_batch_of_several_kinds_keeps_its_order(policy):
    means, terms = means_of(policy), Terms(SamplingConfig(max_new_tokens=4), n=2, seed=3, chunk=2)
    preparer = Preparer(policy, means.rewarder)
    ready = [preparer.make(sample) for sample in mixed()]
    assert [len(one.prompts) for one in ready] == [1, 0, 1, 1, 0]
    groups = sample_each(means, ready, terms)
    assert [g.sample.id for g in groups] == [one.sample.id for one in ready]
    assert [g.trajectories[0].episode is not None for g in groups] == [False, True, False, False, True]
    alone = sample_each(means, [ready[1], ready[4]], terms)
    for group, other in zip((groups[1], groups[4]), alone, strict=True):
        for a, b in zip(group.trajectories, other.trajectories, strict=True):
            assert (a.reward, a.stop, a.episode) == (b.reward, b.stop, b.episode)


def test_demonstrations_come_kind_by_kind_and_say_which_cannot_be_used(policy):
    samples = mixed()
    samples[2] = replace(samples[2], demonstration="a long answer " * 5)
    means = means_of(policy)
    preparer = Preparer(policy, means.rewarder)
    terms = Terms(SamplingConfig(max_new_tokens=8), chunk=2)
    shown = demonstrate_each(means, [preparer.make(sample, rewarded=False) for sample in samples], terms)
    assert list(shown) == [1, 4, 0, 2, 3], "episodes first, each kind in the samples' order"
    assert [i for i, demo in shown.items() if isinstance(demo, BadSample)] == [2]
    assert [shown[i].trajectories[0].accuracy is not None for i in (0, 1)] == [False, True]
    scored = demonstrate_each(means, [preparer.make(samples[0])], terms, scored=True)
    assert scored[0].trajectories[0].measured() in (0.0, 1.0)


def test_a_source_of_ones_own_trains(policy):
    samples = [replace(text_sample(f"Say {i}."), id=str(i), kind=ECHO) for i in range(3)]
    preparer = Preparer(policy, Rewarder([], lambda text, sample: 0.0))
    stage = StageConfig(name="s", method="grpo", steps=1, prompts=3, rollout={"n": 2, "max_new_tokens": 4})
    objective = resolve_objective("grpo", {})
    builder = Builder(policy, hf(policy), Mixture([samples], check=preparer.check), preparer, None, stage, objective)
    batch = builder.collect(0)
    assert describe(batch)["accuracy/mean"] == 0.5
    rows, _ = make_rows(batch, objective, stage)
    assert len(rows) == 3 * 2 * 2, "a row per decision"
    assert {row.trajectory_units for row in rows} == {4}


def test_a_kind_that_is_no_source_is_refused(policy):
    sample = replace(text_sample("?"), kind="converations")
    with pytest.raises(ConfigError, match=r"unknown source 'converations'.*Allowed: answers, episodes"):
        Preparer(policy, None).make(sample)


def test_unknown_kinds_follow_those_of_the_table():
    ready = [Ready(Sample(str(i), (), "t", {}, kind=kind)) for i, kind in enumerate(("b", "answers", "a", "episodes"))]
    assert [kind for kind, _ in by_kind(ready)] == ["episodes", "answers", "b", "a"]


def test_an_accuracy_that_nothing_measured_is_an_error_where_it_is_needed(policy):
    class Silent(Echo):
        def plan(self, ready, terms):
            groups = super().plan(ready, terms)
            return [replace(g, trajectories=tuple(replace(t, accuracy=None) for t in g.trajectories)) for g in groups]

    means = means_of(policy)
    ready = [Echo.prepare(text_sample("?"), policy, None, True)]
    (group,) = Silent(means).plan(ready, Terms(SamplingConfig(), n=2))
    batch, stage = StepBatch(rollouts=(group,), sampled=(group,)), StageConfig(name="s", method="filtered_bc", steps=1)
    missing = "a trajectory of origin 'policy' has no accuracy"
    with pytest.raises(ValueError, match=missing):
        describe(batch)
    with pytest.raises(ValueError, match=missing):
        make_rows(batch, resolve_objective("filtered_bc", {}), stage)
    for method, objective in (
        ("hpt", {}),
        ("grpo", {"filter": {"by": "accuracy"}}),
        ("offline_mix", {"inject": {"below": 1.0}}),
    ):
        with pytest.raises(ValueError, match=missing):
            collected(policy, Silent, method, objective)


def collected(policy, source, method, objective):
    """One batch of a stage whose samples are of a source's kind, with demonstrations that nobody draws."""
    SOURCES.entries["silent"] = source
    try:
        samples = [replace(text_sample("Say."), kind="silent", demonstration="7")]
        preparer = Preparer(policy, Rewarder([], lambda text, sample: 0.0))
        stage = StageConfig(name="s", method=method, steps=1, prompts=1, rollout={"n": 2, "max_new_tokens": 4})
        resolved = resolve_objective(method, objective)
        return Builder(policy, hf(policy), Mixture([samples]), preparer, None, stage, resolved).collect(0)
    finally:
        del SOURCES.entries["silent"]


def test_the_first_demonstration_that_names_another_place_is_told_once(monkeypatch):
    ready = SimpleNamespace(prepare=lambda sample, *_: SimpleNamespace(sample=sample))
    monkeypatch.setattr(preparing, "SOURCES", SimpleNamespace(get=lambda kind: ready))
    preparer, told = Preparer(None, Rewarder([])), []
    box = {"box": [0, 0, 10, 10]}
    right, wrong = (
        replace(text_sample("x"), dataset="boxes", row=row, target=box, demonstration=text)
        for row, text in enumerate(("[0, 0, 10, 10]", "[0, 0, 10, 40]"))
    )
    preparer.make(wrong)
    preparer.tell = told.append
    for sample in (right, wrong, right, wrong):
        assert preparer.make(sample).sample is sample
    assert [line.partition(":")[0] for line in told] == [wrong.where]
