"""vLLM samples what the trainer scores: every family, every modality, every way of asking."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.contracts.errors import ConfigError, EngineError
from mmrl.contracts.types import Span, StopReason
from mmrl.engines.vllm import core as vllm_core
from mmrl.engines.vllm.inputs import vllm_input
from mmrl.recipe.rollout import SamplingConfig
from tests.support.policy import FAMILIES, adapt, load
from tests.support.vllm import SAMPLING, engine_of, gap, sampled, samples

# Rounding of float32, over sums of tens of terms.
ROUNDING = 2e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_are_the_trainers(started, family):
    policy, engine = started(family)
    prompts = dict(zip(samples(), policy.prepare(list(samples().values()))))
    gaps = {name: gap(policy, [prompt], sampled(engine, [prompt])) for name, prompt in prompts.items()}
    assert max(gaps.values()) < ROUNDING, gaps
    together = sampled(engine, list(prompts.values()))
    assert gap(policy, list(prompts.values()), together) < ROUNDING
    again = sampled(engine, list(prompts.values()))
    assert [[a.tokens.tolist() for a in group] for group in together] == [
        [a.tokens.tolist() for a in group] for group in again
    ], "what is found in its caches changes nothing"
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=8)
    answers = sampled(engine, list(prompts.values()), 2, greedy)
    assert gap(policy, list(prompts.values()), answers, SamplingConfig(temperature=1.0)) < ROUNDING
    assert all(torch.equal(first.tokens, second.tokens) for first, second in answers)


def test_completions_keep_the_contract(started):
    policy, engine = started()
    prompts = policy.prepare(list(samples().values())[:3])
    (answers,) = sampled(engine, prompts[:1], 6)
    assert len({tuple(answer.tokens.tolist()) for answer in answers}) > 1
    (alone,) = engine.generate([Request(prompts[1], 2, seed=9)], SAMPLING, 0)
    among = engine.generate([Request(prompts[0], 2), Request(prompts[1], 2, seed=9)], SAMPLING, 4)[1]
    for a, b in zip(alone, among, strict=True):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.allclose(a.log_probs, b.log_probs, atol=1e-5)
    assert {(a.temperature, a.given) for a in answers} == {(0.7, 0)}
    assert all(a.versions == (Span(engine.version, 0, len(a.tokens)),) for a in answers)
    truncated = sampled(engine, prompts[:1], 2, SamplingConfig(max_new_tokens=4, top_p=0.5))
    assert [answer.log_probs for answer in truncated[0]] == [None, None]


def test_stops_bans_and_prefixes(started):
    policy, engine = started()
    prompts = policy.prepare(list(samples().values()))
    settings = SamplingConfig(max_new_tokens=40, temperature=1.7)
    answers = sampled(engine, prompts, 8, settings)
    allowed_V = policy.allowed_tokens(None)
    assert all(bool(allowed_V[a.tokens].all()) for group in answers for a in group)
    ended = [a for group in answers for a in group if a.stop is StopReason.END]
    assert ended
    assert all(int(a.tokens[-1]) in policy.eos_ids for a in ended)
    assert not any(bool(torch.isin(a.tokens[:-1], torch.tensor(policy.eos_ids)).any()) for a in ended)
    assert gap(policy, prompts, answers) < ROUNDING
    cut = [a for group in answers for a in group if a.stop is StopReason.LENGTH]
    assert {len(a.tokens) for a in cut} <= {40}
    given = answers[3][0].tokens[:3]
    (continued,) = sampled(engine, [prompts[3]], 4, SAMPLING, prefix=given)
    assert all(a.tokens[:3].tolist() == given.tolist() and a.given == 3 for a in continued)
    assert all(a.log_probs[:3].tolist() == [0.0] * 3 and a.versions[0].start == 3 for a in continued)
    assert gap(policy, [prompts[3]], [continued]) < ROUNDING
    said = [policy.decode_text(token[None]) for token in answers[1][0].tokens[2:]]
    text = next(each for each in said if each.strip() and each.isascii())
    stopping = SamplingConfig(max_new_tokens=40, temperature=1.7, stop=[text])
    stopped = [a for a in sampled(engine, prompts, 8, stopping)[1] if a.stop is StopReason.TEXT]
    assert stopped
    assert all(text in policy.decode_text(a.tokens) for a in stopped)
    assert not any(text in policy.decode_text(a.tokens[:-1]) for a in stopped)


def test_actions_are_tokens_of_their_set(started, tiny_qwen):
    policy, engine = started()
    policy.config = policy.config.model_copy(update={"action_bins": 5})
    prompts = policy.prepare(list(samples().values())[:2])
    answers = sampled(engine, prompts, 4, restrict="action")
    assert {a.stop for group in answers for a in group} == {StopReason.WHOLE}
    assert all(bool(torch.isin(a.tokens, policy.action_ids()).all()) for group in answers for a in group)
    assert gap(policy, prompts, answers, restrict="action") < ROUNDING


def test_training_beside_it_is_what_it_is_without_it(started):
    policy, engine = started()
    prompts = policy.prepare(list(samples().values())[:2])
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    sampled(engine, prompts)
    engine.sync(policy, engine.version)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]
    assert torch.is_grad_enabled()


def test_a_failure_leaves_nothing_behind(started, monkeypatch):
    policy, engine = started("qwen3_vl")
    prompts = policy.prepare(list(samples().values())[3:4])
    with monkeypatch.context() as patched:
        # A bias for a token that is not there.
        patched.setattr(engine, "_limits", {None: {"logit_bias": {10**6: -1.0}}})
        with pytest.raises(EngineError, match="engine 'vllm' failed while sampling"):
            sampled(engine, prompts)
        # A video whose range begins at its own first token: vLLM looks for a mark that is not there, in its step.
        patched.setattr(vllm_core, "vllm_input", lambda prompt, marks: vllm_input(_one_later(prompt), marks))
        with pytest.raises(EngineError, match="engine 'vllm' failed while sampling"):
            sampled(engine, prompts)
    assert gap(policy, prompts, sampled(engine, prompts)) < ROUNDING


def _one_later(prompt):
    (item,) = prompt.items
    return replace(
        prompt, items=(replace(item, offset=item.offset + 1, length=item.length - 1, embedded=item.embedded[1:]),)
    )


def test_a_prompt_that_is_too_long_is_refused(started):
    policy, engine = started("qwen3_vl")
    prompts = policy.prepare(list(samples().values())[:1])
    with pytest.raises(
        ConfigError, match=r"engine\.max_length: a prompt of \d+ tokens and 2048 new ones are 20\d\d, a"
    ):
        sampled(engine, prompts, 1, SamplingConfig(max_new_tokens=2048))


def test_a_policy_under_adapters_is_sampled_merged(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), lora={"rank": 2, "vision": True})
    engine = engine_of(policy)
    # The trainer adds an adapter's output where vLLM has its weight added: other rounding.
    merged = 1e-4
    report = engine.sync(adapt(policy), 1)
    assert max(report.figures.values()) < merged
    prompts = policy.prepare(list(samples().values())[:2])
    assert gap(policy, prompts, sampled(engine, prompts)) < merged
    engine.close()
