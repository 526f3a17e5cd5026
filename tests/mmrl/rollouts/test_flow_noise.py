"""Noise of flow policies: by episode and decision, so that no figure depends on how many worlds or rows there are."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.recipe.collecting import Relabel
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import play
from mmrl.rollouts.pipeline import decision_seed
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import flow
from tests.support.flow import DIM, load
from tests.support.openvla import observations
from tests.support.worlds import starts

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 4}


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load(tiny_qwen("pi0"))


def played(policy, samples, worlds, temperature=1.0, rows=64, pipeline=1, n=1, seed=3):
    simulators = Simulators({"table": {**TABLE, "num_envs": worlds}}, pipeline)
    engine = flow(policy, batch_size=rows)
    groups = play(policy, engine, simulators, samples, SamplingConfig(temperature=temperature), n, 2, seed)
    simulators.close()
    return {g.sample.episode: [torch.stack([d.tokens for d in t.decisions]) for t in g.trajectories] for g in groups}


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "other", [{"worlds": 1}, {"worlds": 3}, {"worlds": 4, "pipeline": 2}, {"worlds": 7, "rows": 2}]
)
def test_episodes_do_not_depend_on_worlds_batches_or_lanes(policy, temperature, other):
    whole = played(policy, starts(7), 7, temperature)
    apart = played(policy, starts(7)[::-1], temperature=temperature, **other)
    assert whole.keys() == apart.keys()
    for episode, [units] in whole.items():
        assert torch.allclose(units, apart[episode][0], atol=1e-4), "as far as floats of another batch go"


def test_every_episode_copy_and_decision_has_noise_of_its_own(policy):
    groups = played(policy, [starts(1)[0]] * 2, 4, n=2)
    [(first, second)] = groups.values()
    assert not torch.allclose(first, second, atol=1e-2), "copies of one start"
    assert not torch.allclose(first[0], first[1], atol=1e-2)
    again = played(policy, starts(1), 1)
    other = played(policy, starts(1), 1, seed=4)
    assert torch.allclose(again[40][0], played(policy, starts(1), 1)[40][0])
    assert not torch.allclose(again[40][0], other[40][0], atol=1e-2)


def test_labelled_episodes_do_not_depend_on_worlds(policy):
    seen = []
    for worlds in (1, 5):
        simulators = Simulators({"table": {**TABLE, "num_envs": worlds}})
        engine, labels = flow(policy), Relabel()
        groups = relabelled_episodes(policy, engine, simulators, starts(5), SamplingConfig(), labels, seed=3)
        seen.append([torch.stack([d.tokens for d in g.trajectories[0].decisions]) for g in groups])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*seen, strict=True))


def test_requests_with_seeds_are_denoised_together(policy, monkeypatch):
    prompts = policy.prepare(observations(5))
    sizes, sample = [], policy.sample

    def counted(prompts, *rest, **options):
        sizes.append(len(prompts))
        return sample(prompts, *rest, **options)

    monkeypatch.setattr(policy, "sample", counted)
    engine, sampling = flow(policy, batch_size=4), SamplingConfig(max_new_tokens=DIM)
    seeded = [Request(prompt, restrict="action", seed=10 + i) for i, prompt in enumerate(prompts)]
    together = engine.generate(seeded, sampling, seed=0)
    assert sizes == [4, 1]
    [[alone]] = engine.generate(seeded[3:4], sampling, seed=9)
    assert torch.allclose(together[3][0].tokens, alone.tokens, atol=1e-5)
    assert torch.allclose(together[3][0].log_probs, alone.log_probs, atol=1e-4)


def test_a_seed_depends_on_all_that_tells_decisions_apart():
    start, other = starts(2)
    elsewhere = replace(start, simulator="another")
    facts = [
        (3, start, 0, 0),
        (4, start, 0, 0),
        (3, other, 0, 0),
        (3, elsewhere, 0, 0),
        (3, start, 1, 0),
        (3, start, 0, 1),
    ]
    assert len({decision_seed(*each) for each in facts}) == len(facts)
    assert all(0 <= decision_seed(*each) < 2**63 for each in facts)
